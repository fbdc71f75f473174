"""The networks of the study of contradictions: one small family in which depth, normalisation and B-cos are options.

All see 32 x 32 pixels and have a last map of 8 x 8 positions, four for each of 4 x 4 cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xaibench.models.base import Encoding
from xaibench.models.bcos_nets import convolution_class

WIDTHS = (12, 24)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Shape:
    """What a network is built of. blocks: residual blocks in each of two stages, two convolutions each; norm: `batch`,
    `fixup` (scalars in its place) or `bcos` (B-cos convolutions and uncentred normalisation); b: the exponent B, 1 for
    a network that is linear but for its normalisation; six: whether the input is x and 1 - x of pixels in [0, 1], so
    that the zero baseline is black, and not the mean colour."""

    blocks: int = 1
    norm: str = "batch"
    b: float = 2.0
    six: bool = False

    @property
    def encoding(self) -> Encoding:
        """From displayed pixels to its inputs."""
        return Encoding((0.0,) * 3, (1.0,) * 3, True) if self.six or self.norm == "bcos" else Encoding(MEAN, STD)

    def build(self, classes: int, seed: int) -> nn.Module:
        """A network without training; the seed decides its weights."""
        torch.manual_seed(seed)
        return BcosNet(self, classes) if self.norm == "bcos" else Residual(self, classes)


class Scalar(nn.Module):
    """Adds one learned number, as Fixup does around each convolution, and may multiply by another."""

    def __init__(self, multiplies: bool):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))
        self.scale = nn.Parameter(torch.ones(1)) if multiplies else None

    def forward(self, x: Tensor) -> Tensor:
        return (x if self.scale is None else x * self.scale) + self.bias


class Block(nn.Module):
    """Two 3 x 3 convolutions around which a shortcut goes; of Fixup, the second one starts at zero."""

    def __init__(self, taken: int, given: int, norm: str, branches: int):
        super().__init__()
        fixup = norm == "fixup"
        self.conv1 = nn.Conv2d(taken, given, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(given, given, 3, padding=1, bias=False)
        self.before = nn.ModuleList([Scalar(False), Scalar(False)] if fixup else [nn.Identity(), nn.Identity()])
        self.after = nn.ModuleList([Scalar(False), Scalar(True)] if fixup else [nn.BatchNorm2d(given) for _ in "ab"])
        self.shortcut = nn.Identity() if taken == given else nn.Conv2d(taken, given, 1, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        if fixup:
            with torch.no_grad():
                self.conv1.weight.mul_(branches**-0.5)
            nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        out = torch.relu(self.after[0](self.conv1(self.before[0](x))))
        return torch.relu(self.after[1](self.conv2(self.before[1](out))) + self.shortcut(x))


class Residual(nn.Module):
    """A convolution of 7 x 7 and stride 4, blocks of 12 and of 24 channels at 8 x 8 positions, a linear map."""

    def __init__(self, shape: Shape, classes: int):
        super().__init__()
        fixup, branches = shape.norm == "fixup", 2 * shape.blocks
        self.stem = nn.Sequential(
            nn.Conv2d(shape.encoding.channels, WIDTHS[0], 7, 4, 3, bias=False),
            Scalar(False) if fixup else nn.BatchNorm2d(WIDTHS[0]), nn.ReLU(),
        )  # fmt: skip
        stages = [*([WIDTHS[0]] * shape.blocks), *([WIDTHS[1]] * shape.blocks)]
        layers, taken = [], WIDTHS[0]
        for given in stages:
            layers.append(Block(taken, given, shape.norm, branches))
            taken = given
        self.features = nn.Sequential(*layers)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(taken, classes)
        if fixup:
            nn.init.zeros_(self.fc.weight)
            nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.features(self.stem(x))))


class BcosNet(nn.Module):
    """As many B-cos convolutions in the same places, without shortcuts and ReLUs; a B-cos classifier at each position,
    whose logits are averaged."""

    def __init__(self, shape: Shape, classes: int):
        super().__init__()
        Convolution = convolution_class(classes)
        from bcos.modules import LogitLayer, norms

        norm = norms.NoBias(norms.BatchNormUncentered2d)
        layers, taken = [Convolution(6, WIDTHS[0], 7, 4, 3, b=shape.b), norm(WIDTHS[0])], WIDTHS[0]
        for width in WIDTHS:
            for _ in range(2 * shape.blocks):
                layers += [Convolution(taken, width, 3, 1, 1, b=shape.b), norm(width)]
                taken = width
        self.features = nn.Sequential(*layers)
        self.classifier = Convolution(taken, classes, 1, b=shape.b)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.logits = LogitLayer(logit_bias=-math.log(classes - 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.pool(self.classifier(self.features(x))))
