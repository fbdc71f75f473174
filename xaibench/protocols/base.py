"""The base class of protocols: which classes are explained, what is prepared for all methods, how a map is scored."""

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
from xaibench.models.outputs import usable
from xaibench.protocols.statistics import constant_or_not_finite

OK, UNDEFINED_MAP, UNDEFINED_REFERENCE = "ok", "undefined-map", "undefined-reference"


TARGETS = ("label", "prediction", "labels", "predictions")


@dataclass(frozen=True)
class Scores:
    """One score per pair: values (P,) float64, NaN where undefined, and status, for each pair one of the three above.

    also holds further scores of the same pairs by the name of their metric, such as `intensity`.
    """

    values: Tensor
    status: list[str]
    also: Mapping[str, Scores] = field(default_factory=dict)


class Protocol(ABC):
    """A measure of attribution maps. Settings are keyword parameters of the constructor and part of every key.

    Class variables and fields that a protocol may set:

    - target: which classes are explained: `label`, `prediction`, `labels` (every labelled class) or `predictions`
      (every predicted class: the highest logit, or, for models with a sigmoid, each probability of at least 0.5).
    - attribution_output: whether a `logit` or a `probability` is explained.
    - needs: the annotations that the data set must have, in `Evidence.annotations`: `boxes`, `masks`, `instances`,
      `objects`, `parts`, `redraw`.
    - has_oracle: the protocol can draw its own best map, see `oracle`.
    - without_method: it measures the model alone; `score` then gets None for maps.
    - needs_reference: it compares the model with a second one (`--reference-model`), see `Evidence.reference`.
    - shows_others: it also shows images of the data set that are not in the batch, so its keys hash all image ids.
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
        """What scores are computed from besides the maps: computed once per batch, the same for all methods."""

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
        """The protocol's own best map (P, 1, H, W), for protocols with `has_oracle`; raises XaibenchError otherwise."""
        raise XaibenchError(f"{type(self).__name__} has no oracle")

    def regions(self, size: tuple[int, int]) -> Tensor | None:
        """(H, W) int64: the number of each pixel's region, for a protocol that perturbs regions; None otherwise.

        A method that perturbs exactly these regions is listed as an oracle, without a rank.
        """
        return None

    @property
    def held_out_images(self) -> int:
        """How many held-out images `fit` needs before images of a run are scored; 0 where nothing is fitted."""
        return 0

    def fit(self, prepared: Sequence[Any], maps: Sequence[Tensor]) -> Protocol:
        """This protocol with settings chosen for a method, from batches of held-out images.

        prepared holds what `prepare` returned and maps the method's maps (P, 1, H, W), one of each for a batch. Raises
        XaibenchError for a protocol without such settings.
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
        """The settings as a short text, for titles."""
        return ", ".join(f"{field.name.replace('_', ' ')} {getattr(self, field.name)}" for field in fields(self))

    @property
    def key_fields(self) -> dict[str, Any]:
        """What a key says besides the card's version and the settings: how a setting has changed, where only keys of
        runs with that setting are to move."""
        return {}

    def check(self, size: tuple[int, int]) -> None:  # noqa: B027  (nothing to check is a fair default)
        """Raises XaibenchError where images of size (H, W) do not suit the settings."""

    @property
    def alignment(self) -> Alignment | None:
        """The deletions that weights should have been trained on for this protocol; None where it needs none."""
        return None

    def check_weights(self, alignment: Alignment | None) -> str | None:
        """Why weights of this alignment (None for plain weights) do not suit the protocol; None where they do."""
        return None


def misaligned(needed: Alignment, present: Alignment | None) -> str | None:
    """Why weights with the alignment `present` do not suit a protocol that needs `needed`; None where they do."""
    if present is None:
        return "they were not trained on deletions"
    return None if needed.suits(present) else f"they were trained on others ({present})"


def validate_scores(scores: object, pairs: int, protocol: str, further: Collection[str] = ()) -> Scores:
    """The scores that a protocol returned, unchanged: one value and one status per pair, NaN where undefined.

    further names the metrics that its card declares. Raises XaibenchError for anything else, and says what it was.
    """
    if not isinstance(scores, Scores):
        raise XaibenchError(f"protocol {protocol} gave {type(scores).__name__}, not Scores")
    values, status = scores.values, scores.status
    if not isinstance(values, Tensor) or values.shape != (pairs,) or len(status) != pairs:
        raise XaibenchError(
            f"protocol {protocol} gave {len(values)} scores and {len(status)} statuses for {pairs} maps"
        )
    for value, one in zip(values.tolist(), status, strict=True):
        if one not in (OK, UNDEFINED_MAP, UNDEFINED_REFERENCE):
            raise XaibenchError(f"protocol {protocol} gave the status {one!r}; `xaibench.status_of` makes them")
        if (one == OK) != math.isfinite(value):
            raise XaibenchError(f"protocol {protocol} gave the score {value} with status {one!r}")
    for name, also in scores.also.items():
        if not any(fnmatchcase(name, pattern) for pattern in further):
            raise XaibenchError(f"protocol {protocol} gave the score {name!r}, which its card does not list as further")
        validate_scores(also, pairs, f"{protocol} ({name})")
    return scores


def without_logits(e: Evidence, maps: Tensor) -> Tensor:
    """(P,) bool: where maps (P, 1, H, W) are constant or not finite, and the logits of what they explain not finite."""
    lost = constant_or_not_finite(maps)
    return lost & ~usable(e.logits())[e.owner] if lost.any() else lost


def status_of(values: Tensor, bad_map: Tensor, bad_reference: Tensor) -> Scores:
    """Scores with their status.

    values (P,), bad_map and bad_reference (P,) bool. A pair is `undefined-reference` where bad_reference is true (then
    no method has a score), else `undefined-map` where bad_map is true, else `ok`; undefined values become NaN.
    """
    status = [
        UNDEFINED_REFERENCE if r else UNDEFINED_MAP if m else OK
        for r, m in zip(bad_reference.tolist(), bad_map.tolist(), strict=True)
    ]
    return Scores(torch.where(bad_map | bad_reference, torch.nan, values.double()), status)
