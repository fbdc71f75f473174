"""Networks compiled by hand: convolutions that detect badges without error, and a rule in linear layers and ReLUs.

Inputs are images as (pixel / 255 - 0.5) / 0.25, so that channels at 0 and 255 are -2 and 2. All weights are multiples
of powers of two, and a badge is 32 pixels, so logits are exact in float32 and in TF32, in whatever order they are
added up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from xaibench.judging.badges import BADGE, GROUND, MASS, SHAPES, SIDE, Badge

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
CELL = 8  # pixels a side of a cell of the last map
GAIN = 4.0  # logits of two classes are +-GAIN * (f - 1/2)
_EDGE = 2.0  # |encoded channel| at 0 and 255
_NEAR = 3.0  # a detector is 0 from a distance of 1/3 of a channel's range from its colour
_NEAR_GROUND = 16.0
_SHARP = 8.0  # a template is 0 where the mean over its pixels is 1 - 1/8
_GROUND_UNIT = 2048


class Detectors(nn.Module):
    """From images (N, 3, 64, 64) to the evidence of each feature (N, P): 1 for a badge that is there, 0 for none.

    see: a 1x1 convolution and ReLU, 1 at each pixel of a feature's colour and 0 at all pixels of a scene. gather: sums
    over 8x8 cells; its map (N, P, 8, 8) is what class activation methods use. Evidence of `ground` is the number of
    its pixels divided by 2048.
    """

    def __init__(self, features: Sequence[str], badges: Mapping[str, Badge]):
        super().__init__()
        count = len(features)
        self.see, self.relu = nn.Conv2d(3, count, 1), nn.ReLU()
        self.gather = nn.Conv2d(count, count, CELL, CELL, groups=count, bias=False)
        self.pool, self.flat = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        cells = (SIDE // CELL) ** 2
        with torch.no_grad():
            for i, name in enumerate(features):
                weight, bias = _colour_detector(None if name == GROUND else badges[name].colour)
                self.see.weight[i, :, 0, 0], self.see.bias[i] = weight, bias
                self.gather.weight[i] = cells / (_GROUND_UNIT if name == GROUND else MASS)

    def forward(self, images: Tensor) -> Tensor:
        return self.flat(self.pool(self.gather(self.relu(self.see(images)))))


def _colour_detector(colour: tuple[int, int, int] | None) -> tuple[Tensor, float]:
    """Weights (3,) and bias of 1 - near * (distance to a colour); None is the dye of the ground, green at 255."""
    signs = torch.tensor([0.0, 1.0, 0.0]) if colour is None else _signs(colour)
    near = (_NEAR_GROUND if colour is None else _NEAR) / (2 * _EDGE)
    return near * signs, 1 - near * _EDGE * float(signs.abs().sum())


def _signs(colour: tuple[int, int, int]) -> Tensor:
    return torch.tensor([1.0 if channel else -1.0 for channel in colour])


def two_logits(inputs: Sequence[float], bias: float) -> nn.Linear:
    """A linear layer whose logits are -g and g of g = GAIN * (weights . h + bias - 1/2)."""
    layer = nn.Linear(len(inputs), 2)
    with torch.no_grad():
        weights = GAIN * torch.tensor(inputs)
        layer.weight[0], layer.weight[1] = -weights, weights
        layer.bias[0], layer.bias[1] = -GAIN * (bias - 0.5), GAIN * (bias - 0.5)
    return layer


def hidden(weights: Sequence[Sequence[float]], bias: Sequence[float]) -> nn.Linear:
    """A linear layer of given weights (hidden units, features) and biases."""
    layer = nn.Linear(len(weights[0]), len(weights))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights))
        layer.bias.copy_(torch.tensor(bias))
    return layer


def compiled(features: Sequence[str], badges: Mapping[str, Badge], *logic: nn.Module) -> nn.Sequential:
    """Detectors of features, then layers that join them: images (N, 3, 64, 64) to logits (N, K)."""
    net = nn.Sequential()
    net.detectors = Detectors(features, badges)
    net.logic = nn.Sequential(*logic)
    return frozen(net)


def frozen(net: nn.Module) -> nn.Module:
    """The network in evaluation mode, without gradients of its parameters."""
    return net.eval().requires_grad_(False)


def linear_in_pixels(places: Mapping[str, tuple[Badge, Tensor]], weights: Tensor, bias: Tensor) -> nn.Sequential:
    """A linear network of pixels: images (N, 3, 64, 64) to logits (N, K).

    places: for each feature its badge and the pixels (64, 64) bool where it always is. weights (K, P) and bias (K,):
    the evidence of a feature is 1 for its colour on all these pixels and about 0 for grey.
    """
    templates = torch.stack(
        [_signs(badge.colour)[:, None, None] * mask / (3 * _EDGE * MASS) for badge, mask in places.values()]
    )
    net = nn.Sequential()
    net.flat, net.linear = nn.Flatten(), nn.Linear(3 * SIDE * SIDE, len(bias))
    with torch.no_grad():
        net.linear.weight.copy_(weights @ templates.flatten(1))
        net.linear.bias.copy_(bias)
    return frozen(net)


def patch_sum(badges: Mapping[str, Badge], weights: Tensor, bias: Tensor) -> nn.Sequential:
    """A network that adds up the scores of all 8x8 patches, as BagNet does (Brendel and Bethge 2019).

    `see` holds a template of each badge's shape and colour and gives 1 at the patch that matches it in every pixel, and
    0 where four or more of the 32 do not match; `score` gives each patch its logits; `add` adds them up, and `bias`
    (K,) once. weights (K, P). Images (N, 3, 64, 64) to logits (N, K).
    """
    net = nn.Sequential()
    net.see, net.relu = nn.Conv2d(3, len(badges), BADGE), nn.ReLU()
    net.score = nn.Conv2d(len(badges), len(bias), 1, bias=False)
    net.add, net.flat = nn.AvgPool2d(SIDE - BADGE + 1, divisor_override=1), nn.Flatten()
    net.offset = nn.Linear(len(bias), len(bias))
    with torch.no_grad():
        for i, badge in enumerate(badges.values()):
            weight, offset = _colour_detector(badge.colour)
            shape = torch.from_numpy(SHAPES[badge.shape])
            net.see.weight[i] = _SHARP * weight[:, None, None] * shape / MASS
            net.see.bias[i] = _SHARP * offset - (_SHARP - 1)
        net.score.weight.copy_(weights[:, :, None, None])
        net.offset.weight.copy_(torch.eye(len(bias)))
        net.offset.bias.copy_(bias)
    return frozen(net)
