"""Whether a trained network follows a rule, on pairs of scenes that differ in one feature and in nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import binomtest
from torch import nn

from xaibench.datasets.critters.dice import Dice
from xaibench.errors import XaibenchError
from xaibench.judging.badges import Badged
from xaibench.judging.law import State
from xaibench.judging.networks import MEAN, STD
from xaibench.models.base import Encoding

ENOUGH = 0.99
LEVEL = 0.95


@dataclass(frozen=True)
class Obedience:
    """How many of `pairs` counterfactual pairs obey the rule, and the exact 95 % interval of their share (Clopper and
    Pearson 1934)."""

    obeyed: int
    pairs: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """The share of pairs that obey, in [0, 1]."""
        return self.obeyed / self.pairs

    @property
    def known(self) -> bool:
        """Whether the network counts as one whose function is known: at least 99 % of pairs obey."""
        return self.share >= ENOUGH


@torch.no_grad()
def obeys(
    network: nn.Module, dataset: Badged, images: Sequence[str], rule: Callable[[State], int] | None = None,
    encoding: Encoding | None = None, seed: int = 0,
) -> Obedience:  # fmt: skip
    """The share of counterfactual pairs on both scenes of which a network predicts the class of a rule.

    One pair for each image id, so that pairs are independent: the image, and the same scene with one feature switched
    on or off, drawn among those whose switching gives a scene that the data may show. rule: from a state of features
    to a class, by default the data set's label. encoding: of the network's inputs, by default that of the compiled
    networks. Raises XaibenchError without images, and where no image has a feature that can be switched.
    """
    rule, encoding = rule or dataset.law.label, encoding or Encoding(MEAN, STD)
    obeyed = pairs = 0
    for image_id in images:
        state = dataset.state(image_id)
        switched = [s for s in _one_switched(state) if dataset.law.probability(s) > 0]
        if not switched:
            continue
        states = state, Dice(seed, "judging", "switched feature", image_id).pick(switched)
        drawn = np.stack([dataset.show(image_id, _names(dataset, s)) for s in states])
        predicted = network(encoding(drawn)).argmax(1).tolist()
        obeyed, pairs = obeyed + (predicted == [rule(s) for s in states]), pairs + 1
    if not pairs:
        raise XaibenchError("no counterfactual pair: give images with a feature whose switching the data may show")
    ends = binomtest(obeyed, pairs).proportion_ci(LEVEL)
    return Obedience(obeyed, pairs, float(ends.low), float(ends.high))


def _one_switched(state: State) -> list[State]:
    return [tuple(1 - v if i == j else v for j, v in enumerate(state)) for i in range(len(state))]


def _names(dataset: Badged, state: State) -> list[str]:
    return [name for name, value in zip(dataset.law.features, state, strict=True) if value]
