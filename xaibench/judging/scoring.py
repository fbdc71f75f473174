"""A protocol that scores any map on a network whose function is known."""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from xaibench import registry
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.runner import ModelRunner
from xaibench.cards import ProtocolCard
from xaibench.datasets.base import Annotation
from xaibench.datasets.image_annotations import ImageAnnotations
from xaibench.datasets.reading import tight_boxes
from xaibench.datasets.wrapped import Wrapped
from xaibench.errors import XaibenchError
from xaibench.evaluation.plugin_errors import in_one_line
from xaibench.judging.untouched import Untouched
from xaibench.models.base import ModelView
from xaibench.protocols.base import UNDEFINED_MAP, Protocol, Scores, validate_scores

if TYPE_CHECKING:
    from xaibench.judging.known import Known

CHUNK = 256
SAME = 1e-4  # absolute or relative: scores that differ by less are equal but for rounding
FEATURES = frozenset({"boxes", "masks", "instances"})


class Annotated(Wrapped):
    """The scenes of a known network as an annotator sees them who does not know which features the network uses.

    Every feature that an image shows is an instance of the explained class, with its box and its pixels.
    """

    def __init__(self, known: Known):
        super().__init__(known.dataset)
        self.known, self.knows = known, known.dataset.knows | FEATURES

    def label(self, image_id: str) -> int:
        """The explained class."""
        return self.known.target(image_id)

    def labels(self, image_id: str) -> tuple[int, ...]:
        """The explained class alone."""
        return (self.label(image_id),)

    def annotate(self, image_id: str) -> Annotation:
        """Features as instances, and as parts and objects."""
        given, masks, label = self.dataset.annotate(image_id), self.known.masks(image_id), self.label(image_id)
        shown = [mask for mask in masks.values() if mask.any()]
        stack = np.stack(shown) if shown else np.zeros((0, *self._size(image_id)), dtype=bool)
        return Annotation(
            labels=(label,), boxes=tight_boxes(stack), box_labels=np.full(len(shown), label, dtype=np.int64),
            instances=stack, objects={"features": stack}, parts=masks, background=given.background,
            masks={label: stack.any(0)},
        )  # fmt: skip

    def _size(self, image_id: str) -> tuple[int, int]:
        return self.load(image_id).image.shape[:2]


@contextmanager
def evidence_about(known: Known, image_ids: Sequence[str], seed: int, device: str = "cpu") -> Iterator[Evidence]:
    """Evidence about the explained classes of some images of a known network, with their annotations.

    It is about a copy of the network on the device, so that no protocol can change the network of another.
    """
    network, known = copy.deepcopy(known.network).to(device), replace(known, network=copy.deepcopy(known.network))
    module = network.get_submodule(known.cam_layer) if known.cam_layer else None
    view = ModelView(module, zero=known.encoding.zero, encoding=known.encoding)
    dataset = Annotated(known)
    samples = [dataset.load(image_id) for image_id in image_ids]
    targets = torch.tensor([known.target(image_id) for image_id in image_ids])
    with ModelRunner(network, chunk=CHUNK) as runner, runner.arithmetic():
        annotations = ImageAnnotations(samples, dataset, lambda images: known.encode(images).to(device))
        images = known.encode([sample.image for sample in samples]).to(device)
        yield Evidence(runner, images, targets, list(image_ids), view=view, seed=seed, annotations=annotations)


def perturbed(e: Evidence, noise: float, purpose: str) -> Evidence:
    """Evidence about the same pairs at images with normal noise of a standard deviation, with their annotations."""
    drawn = e.random(purpose, e.images.shape[1:])
    return Evidence(
        e.runner, e.images + noise * drawn, e.targets, e.image_ids, view=e.view, seed=e.seed, annotations=e.annotations
    )


def reason_against(card: ProtocolCard, protocol: Protocol, known: Known) -> str | None:
    """Why a protocol cannot score single maps on a known network, in one line; None where it can."""
    if protocol.without_method:
        return "measures the model alone, and scores no map"
    if protocol.needs_reference:
        return "compares two models"
    if protocol.shows_others:
        return "shows other images of the data set with the explained one, so a single map has no score"
    if protocol.held_out_images:
        return "is fitted to held-out images first; set its threshold"
    missing = set(protocol.needs) - Annotated(known).knows
    if missing:
        return f"needs annotations of {', '.join(sorted(missing))}, which the scenes do not have"
    return None


@dataclass(frozen=True)
class Asked:
    """Qualities (images,) float64 and the status of each."""

    quality: np.ndarray
    status: list[str]


@dataclass
class Scorer:
    """One protocol on the images of some evidence: prepared once, then any number of maps.

    Quality is the score, or its negative where lower is better. A map that is undefined by its own fault counts with
    the cost that the card declares, as on every board; NaN where the reference is at fault.
    """

    card: ProtocolCard
    protocol: Protocol
    e: Evidence

    @cached_property
    def _untouched(self) -> Untouched:
        return Untouched(self.e)

    @cached_property
    def _prepared(self) -> Any:
        untouched = self._untouched
        prepared = self._ask(self.protocol.prepare, self.e)
        untouched.check(self.card.name)
        return prepared

    def _ask(self, part: Callable, *arguments: Any) -> Any:
        """What a part of the protocol returns; an error of other people's code becomes one line with its name."""
        try:
            with contextlib.redirect_stdout(sys.stderr):  # what it prints is no part of the table
                return part(*arguments)
        except (Exception, SystemExit) as error:
            if not registry.source(self.card) or isinstance(error, XaibenchError):
                raise
            raise XaibenchError(f"protocol {self.card.name} failed: {in_one_line(error)}") from error

    @property
    def sign(self) -> int:
        """1 where higher scores are better, else -1."""
        return 1 if self.card.higher_is_better else -1

    def __call__(self, maps: Tensor) -> Asked:
        """The qualities of maps (images, 1, H, W) of any floating dtype.

        Raises XaibenchError where the protocol changes the network or the images, or returns no scores.
        """
        prepared = self._prepared
        # a copy, as maps of methods are those that the next protocol gets
        copied = maps.to(self.e.images.device, self.e.images.dtype, copy=True)
        scores = self._ask(self._valid, prepared, copied)
        self._untouched.check(self.card.name)
        values = scores.values.numpy(force=True).astype(np.float64)
        lost = np.array([status == UNDEFINED_MAP for status in scores.status])
        values = np.where(lost, self.card.undefined_cost, values)
        return Asked(self.sign * values, list(scores.status))

    def _valid(self, prepared: Any, maps: Tensor) -> Scores:
        scores = self.protocol.score(prepared, maps)
        return validate_scores(scores, len(self.e.targets), self.card.name, self.card.further)

    def prepare(self) -> None:
        """Computes what all maps share."""
        _ = self._prepared


def bounds_of(card: ProtocolCard) -> tuple[float, float]:
    """The least and the largest quality by the card."""
    low, high = card.range
    return (low, high) if card.higher_is_better else (-high, -low)


def trial(card: ProtocolCard, protocol: Protocol, known: Known, image_ids: Sequence[str]) -> str | None:
    """`reason_against`, and where there is none what is wrong with the protocol's scores of a map of two images: they
    must be the same when it is asked again, and when each image is alone."""
    reason = reason_against(card, protocol, known)
    if reason is None:
        try:
            protocol.check(known.inputs(image_ids[:1]).shape[-2:])
            first, again = _trial_scores(card, protocol, known, [list(image_ids[:2])] * 2)
            alone = _trial_scores(card, protocol, known, [[image_id] for image_id in image_ids[:2]])
        except XaibenchError as error:
            return f"fails: {error}"
        if not np.allclose(first, again, rtol=SAME, atol=SAME, equal_nan=True):
            return "gives the same map another score each time; draw with Evidence.random instead"
        if not np.allclose(first, np.concatenate(alone), rtol=SAME, atol=SAME, equal_nan=True):
            return "gives a map another score when its image is alone; score each map by itself"
    return reason


def _trial_scores(
    card: ProtocolCard, protocol: Protocol, known: Known, batches: Sequence[Sequence[str]]
) -> list[np.ndarray]:
    """The qualities of a random map for each image, asked batch by batch."""
    found = []
    for image_ids in batches:
        with evidence_about(known, image_ids, 0) as e:
            maps = e.random("trial of a protocol", (1, *e.images.shape[-2:]))
            found.append(Scorer(card, protocol, e)(maps).quality)
    return found
