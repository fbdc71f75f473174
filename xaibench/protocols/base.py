"""What a protocol is: what it explains, what it prepares once for all methods, and how it scores a map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError

OK, UNDEFINED_MAP, UNDEFINED_REFERENCE = "ok", "undefined-map", "undefined-reference"


@dataclass(frozen=True)
class Scores:
    """One score per pair: values (P,) float64, NaN where undefined, and status, P words of the three above."""

    values: Tensor
    status: list[str]


class Protocol(ABC):
    """A way of judging attribution maps. Settings are keyword parameters of the constructor and part of every key.

    target says which class is explained, `label` or `prediction`; attribution_output whether its logit or its
    probability is; has_oracle whether the protocol can draw its own best map.
    """

    target: str = "label"
    attribution_output: str = "logit"
    has_oracle: ClassVar[bool] = False

    @abstractmethod
    def prepare(self, e: Evidence) -> Any:
        """What is the same for all methods, once per batch."""

    @abstractmethod
    def score(self, prepared: Any, maps: Tensor) -> Scores:
        """Scores of maps (P, 1, H, W), one per pair."""

    def oracle(self, prepared: Any, size: tuple[int, int]) -> Tensor:
        """The protocol's own best map (P, 1, H, W); protocols that have one say so in `has_oracle`."""
        raise XaibenchError(f"{type(self).__name__} has no oracle")

    @property
    def words(self) -> str:
        """The settings in a few words, for titles."""
        return ", ".join(f"{field.name.replace('_', ' ')} {getattr(self, field.name)}" for field in fields(self))

    def check(self, size: tuple[int, int]) -> None:  # noqa: B027  (nothing to check is a fair default)
        """Raises XaibenchError where images of size (H, W) do not suit the settings."""

    def check_weights(self, alignment: dict | None) -> str | None:
        """What is wrong with judging weights of this alignment (grid, baseline, probability); None where nothing is."""
        return None


def status_of(values: Tensor, bad_map: Tensor, bad_reference: Tensor) -> Scores:
    """Scores with their status: the reference's fault first (it is the same for all methods), then the map's."""
    words = [
        UNDEFINED_REFERENCE if r else UNDEFINED_MAP if m else OK
        for r, m in zip(bad_reference.tolist(), bad_map.tolist(), strict=True)
    ]
    return Scores(torch.where(bad_map | bad_reference, torch.nan, values.double()), words)
