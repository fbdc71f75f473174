"""Networks of which half use a planted shortcut: detectors of badges beside random convolutions, mixed by weights.

A suspect adds up the evidence of three badges with weights of its own, as if it had learned a rule of its own, and what
a random convolutional branch gives, so that its maps are noisy, as those of trained networks are; a cheat also uses a
mark in the corner. They are compiled, not trained, so what each uses is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor, nn

from xaibench import seeds
from xaibench.datasets.critters.dice import Dice
from xaibench.judging.badges import Badged
from xaibench.judging.known import LOOKS, MARK, YES_NO
from xaibench.judging.law import with_shortcut
from xaibench.judging.networks import GAIN, MEAN, STD, Detectors, frozen
from xaibench.models.base import Encoding

FEATURES = ("red", "blue", "magenta", MARK)
CHANNELS = 8
SCENES = 16  # scenes over which the random branch has its standard deviation
NOISE = 0.3  # standard deviation of the random branch in units of the rule's whole evidence
SHARE = (0.1, 0.5)  # of the mark, in units of the rule's whole evidence
ENCODING = Encoding(MEAN, STD)


@dataclass(frozen=True)
class Suspect:
    """A network, images (N, 3, 64, 64) encoded as `ENCODING` to two logits, and what it is.

    mark: the weight of the mark in units of the weight of all three badges together; 0 for an honest one.
    """

    name: str
    network: nn.Module
    cheats: bool
    mark: float


class Beside(nn.Module):
    """The maps (N, P + 8, 8, 8) of detectors and of a random branch, one after the other."""

    def __init__(self, detectors: Detectors, branch: nn.Module):
        super().__init__()
        self.see, self.relu, self.gather, self.branch = detectors.see, detectors.relu, detectors.gather, branch

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([self.gather(self.relu(self.see(images))), self.branch(images)], 1)


def scenes(count: int = 5000, seed: int = 0) -> Badged:
    """The scenes: two of three badges make the label 1, and 95 % of labels agree with the mark."""
    law = with_shortcut(FEATURES, lambda s: int(sum(s[:3]) >= 2), Fraction(1, 2), Fraction(19, 20))
    return Badged("suspects", law, {name: LOOKS[name] for name in FEATURES}, YES_NO, count=count, seed=seed)


def folds(count: int) -> np.ndarray:
    """The fold (0 or 1) of each suspect, (count,) int64: as many cheats in one as in the other."""
    return np.arange(count) // 2 % 2


def suspects(dataset: Badged, count: int = 40, seed: int = 0, noise: float = NOISE) -> list[Suspect]:
    """Suspects by their numbers: every second one cheats. The same number is the same network whatever the count."""
    images = ENCODING(np.stack([dataset.load(i).image for i in dataset.image_list(SCENES)])).contiguous()
    return [_suspect(number, images, seed, noise) for number in range(count)]


def _suspect(number: int, images: Tensor, seed: int, noise: float) -> Suspect:
    dice = Dice(seed, "judging", "suspect", number)
    cheats = number % 2 == 1
    badges = np.array([dice.between(0.5, 1.5) for _ in range(3)])
    share = dice.between(*SHARE)
    mark = share if cheats else 0.0
    net = nn.Sequential()
    net.features = Beside(Detectors(FEATURES, LOOKS), _branch(seed, number))
    net.pool, net.flat = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    net.logits = nn.Linear(len(FEATURES) + CHANNELS, 2)
    with torch.no_grad():
        mixed = seeds.normal(seeds.generator(seed, "judging", "mix of a suspect", number), CHANNELS)
        branch = net.flat(net.pool(net.features(images)))[:, len(FEATURES) :] @ mixed
        mixed = mixed * (noise / branch.std())
        weights = torch.cat([torch.tensor([*(badges / badges.sum()), mark]).float(), mixed])
        threshold = 0.5 * (1 + mark) + float(branch.mean() * noise / branch.std())
        net.logits.weight.copy_(GAIN * torch.stack([-weights, weights]))
        net.logits.bias.copy_(GAIN * threshold * torch.tensor([1.0, -1.0]))
    return Suspect(f"suspect-{number:03d}", frozen(net), cheats, mark)


def _branch(seed: int, number: int) -> nn.Sequential:
    """Two random convolutions with ReLUs, from images to (N, 8, 8, 8)."""
    dice = seeds.generator(seed, "judging", "branch of a suspect", number)
    first, second = nn.Conv2d(3, CHANNELS, 7, 4, 3), nn.Conv2d(CHANNELS, CHANNELS, 3, 2, 1)
    with torch.no_grad():
        for layer in (first, second):
            fan_in = layer.weight[0].numel()
            layer.weight.copy_(seeds.normal(dice, *layer.weight.shape) * (2 / fan_in) ** 0.5)
            layer.bias.zero_()
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
