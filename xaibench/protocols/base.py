"""What a protocol is: what it explains, what it prepares once for all methods, and how it scores a map."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.cards import Alignment
from xaibench.errors import XaibenchError

OK, UNDEFINED_MAP, UNDEFINED_REFERENCE = "ok", "undefined-map", "undefined-reference"


TARGETS = ("label", "prediction", "labels", "predictions")


@dataclass(frozen=True)
class Scores:
    """One score per pair: values (P,) float64, NaN where undefined, and status, P words of the three above.

    also holds further scores of the same pairs by the name of their metric, such as `intensity`.
    """

    values: Tensor
    status: list[str]
    also: Mapping[str, Scores] = field(default_factory=dict)


class Protocol(ABC):
    """A way of judging attribution maps. Settings are keyword parameters of the constructor and part of every key.

    target says which classes are explained: `label`, `prediction`, `labels` (every labelled class) or `predictions`
    (every predicted class: the highest logit, or, for models with a sigmoid, each probability of at least 0.5).
    attribution_output says whether a logit or a probability is explained; needs what the data set must know (`boxes`,
    `masks`, `instances`, `objects`, `parts`, `redraw`, in `Evidence.annotations`); has_oracle whether the protocol can draw
    its own best map; without_method that it judges the model alone: then `score` gets None for maps; needs_reference
    that it compares the model with a second one (`--reference-model`), which `Evidence.reference` is about;
    shows_others that it also shows images of the data set that are not in the batch, so that its keys hash them all.
    """

    target: str = "label"
    attribution_output: str = "logit"
    needs: ClassVar[tuple[str, ...]] = ()
    has_oracle: ClassVar[bool] = False
    without_method: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = False
    shows_others: ClassVar[bool] = False

    @abstractmethod
    def prepare(self, e: Evidence) -> Any:
        """What is the same for all methods, once per batch."""

    @abstractmethod
    def score(self, prepared: Any, maps: Tensor) -> Scores:
        """Scores of maps (P, 1, H, W), one per pair."""

    def score_method(self, prepared: Any, maps: Tensor, again: Callable[[Evidence], Tensor]) -> Scores:
        """Scores of a method, whose maps of the batch are given; `again` makes its maps (P', 1, H, W) of other
        evidence.

        For protocols that explain changed images or networks (`Evidence.at`, `Evidence.with_model`); others score maps.
        """
        return self.score(prepared, maps)

    def oracle(self, prepared: Any, size: tuple[int, int]) -> Tensor:
        """The protocol's own best map (P, 1, H, W); protocols that have one say so in `has_oracle`."""
        raise XaibenchError(f"{type(self).__name__} has no oracle")

    def regions(self, size: tuple[int, int]) -> Tensor | None:
        """(H, W) int64: the region of each pixel, where the protocol itself measures what regions do; None elsewhere.

        A method that perturbs exactly these is listed as an oracle, without a rank.
        """
        return None

    @property
    def held_out_images(self) -> int:
        """How many held-out images `fit` needs before images of a run are judged; 0 where nothing is fitted."""
        return 0

    def fit(self, prepared: Sequence[Any], maps: Sequence[Tensor]) -> Protocol:
        """This protocol with settings chosen for a method, from batches of held-out images.

        prepared as `prepare` gives it and the method's maps (P, 1, H, W), one of each for a batch.
        """
        raise XaibenchError(f"{type(self).__name__} fits nothing")

    def fitted(self) -> dict[str, float]:
        """The settings that `fit` chose, by name, for the record of the run."""
        return {}

    def with_fitted(self, chosen: Mapping[str, float]) -> Protocol:
        """This protocol with settings that `fit` chose before."""
        return replace(self, **chosen)

    @property
    def description(self) -> str:
        """The settings in a few words, for titles."""
        return ", ".join(f"{field.name.replace('_', ' ')} {getattr(self, field.name)}" for field in fields(self))

    def check(self, size: tuple[int, int]) -> None:  # noqa: B027  (nothing to check is a fair default)
        """Raises XaibenchError where images of size (H, W) do not suit the settings."""

    @property
    def alignment(self) -> Alignment | None:
        """The deletions that weights should have been trained on for this protocol; None where it asks for none."""
        return None

    def check_weights(self, alignment: Alignment | None) -> str | None:
        """What is wrong with judging weights of this alignment (None for plain ones); None where nothing is."""
        return None


def misaligned(wanted: Alignment, found: Alignment | None) -> str | None:
    """What is wrong with weights of the alignment `found` where `wanted` is needed; None where nothing is."""
    if found is None:
        return "they were not trained on deletions"
    return None if wanted.suits(found) else f"they were trained on others ({found})"


def validate_scores(scores: object, pairs: int, protocol: str, further: Collection[str] = ()) -> Scores:
    """What a protocol gave, if it is one score and one status per pair, NaN where undefined.

    further names the metrics that its card declares. Raises XaibenchError that says what came.
    """
    if not isinstance(scores, Scores):
        raise XaibenchError(f"protocol {protocol} gave {type(scores).__name__}, not Scores")
    values, status = scores.values, scores.status
    if not isinstance(values, Tensor) or values.shape != (pairs,) or len(status) != pairs:
        raise XaibenchError(
            f"protocol {protocol} gave {len(values)} scores and {len(status)} statuses for {pairs} maps"
        )
    for value, word in zip(values.tolist(), status, strict=True):
        if word not in (OK, UNDEFINED_MAP, UNDEFINED_REFERENCE):
            raise XaibenchError(f"protocol {protocol} gave the status {word!r}; `xaibench.status_of` makes them")
        if (word == OK) != math.isfinite(value):
            raise XaibenchError(f"protocol {protocol} gave the score {value} with status {word!r}")
    for name, also in scores.also.items():
        if not any(fnmatchcase(name, pattern) for pattern in further):
            raise XaibenchError(f"protocol {protocol} gave the score {name!r}, which its card does not list as further")
        validate_scores(also, pairs, f"{protocol} ({name})")
    return scores


def status_of(values: Tensor, bad_map: Tensor, bad_reference: Tensor) -> Scores:
    """Scores with their status: the reference's fault first (it is the same for all methods), then the map's."""
    words = [
        UNDEFINED_REFERENCE if r else UNDEFINED_MAP if m else OK
        for r, m in zip(bad_reference.tolist(), bad_map.tolist(), strict=True)
    ]
    return Scores(torch.where(bad_map | bad_reference, torch.nan, values.double()), words)
