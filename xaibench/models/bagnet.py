"""BagNets: the logits of an image are the mean of the logits of its patches. Brendel and Bethge 2019.

A ResNet-50 whose 3x3 convolutions, at most one a stage, have no padding: the receptive field of a position of the last
map is a square of 9, 17 or 33 pixels. Names of parameters are those of the published weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from torch import Tensor, nn
from torch.nn import functional as F

from xaibench.models.outputs import two_sided

BLOCKS, STRIDES = (3, 4, 6, 3), (2, 2, 2, 1)
EXPANSION = 4
WIDE_STAGES = {9: 2, 17: 3, 33: 4}  # stages that begin with a 3x3 convolution, by the side of a patch


class Bottleneck(nn.Module):
    """Convolutions of 1x1, kernel x kernel and 1x1 without padding; the shortcut is the upper left part of their
    input."""

    def __init__(self, taken: int, width: int, kernel: int, stride: int):
        super().__init__()
        given = EXPANSION * width
        self.conv1, self.bn1 = nn.Conv2d(taken, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, kernel, stride, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, given, 1, bias=False), nn.BatchNorm2d(given)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or taken != given:
            self.downsample = nn.Sequential(nn.Conv2d(taken, given, 1, stride, bias=False), nn.BatchNorm2d(given))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, 4 * width, h, w) of maps (N, taken, H, W)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        lost = _reach(self.conv2)
        # cut before it is strided, so that both branches always shrink alike
        shortcut = x[:, :, : x.shape[2] - lost, : x.shape[3] - lost]
        shortcut = shortcut if self.downsample is None else self.downsample(shortcut)
        return self.relu(self.bn3(self.conv3(out)) + shortcut)


class BagNet(nn.Module):
    """From encoded images (N, 3, H, W) to logits (N, K): the mean over all patches, `field` apart, of their logits.

    patch is 9, 17 or 33 pixels; smaller images raise ValueError. width counts the channels of the stem, blocks those of
    each stage.
    """

    def __init__(self, num_classes: int, patch: int, width: int = 64, blocks: Sequence[int] = BLOCKS):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        taken = width
        for stage, (count, stride) in enumerate(zip(blocks, STRIDES, strict=True)):
            kernel = 3 if stage < WIDE_STAGES[patch] else 1
            first = Bottleneck(taken, width * 2**stage, kernel, stride)
            taken = EXPANSION * width * 2**stage
            others = [Bottleneck(taken, width * 2**stage, 1, 1) for _ in range(1, count)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, *others))
        self.fc = nn.Linear(taken, num_classes)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for block in self._blocks():
            nn.init.zeros_(block.bn3.weight)  # a branch adds nothing at first, as in the other ResNets here

    def _blocks(self) -> list[Bottleneck]:
        return list(chain(self.layer1, self.layer2, self.layer3, self.layer4))

    @property
    def field(self) -> tuple[int, int]:
        """The side of a patch, and how far apart patches are, in pixels.

        Of the convolutions as they are now: a dilated last stage halves the distance.
        """
        side = distance = 1
        for convolution in (self.conv2, *(block.conv2 for block in self._blocks())):
            side += _reach(convolution) * distance
            distance *= convolution.stride[0]
        return side, distance

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) of encoded images (N, 3, H, W)."""
        side, _ = self.field
        if min(x.shape[2:]) < side:
            raise ValueError(f"its patches have {side} pixels a side")
        x = self.relu(self.bn1(self.conv2(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))

    def patch_logits(self, features: Tensor, classes: Tensor) -> Tensor:
        """Logits (N, len(classes), h, w) of every patch, from the maps (N, K, h, w) of `layer4`."""
        weight, bias = (two_sided(part, 0) for part in (self.fc.weight, self.fc.bias))
        return F.conv2d(features, weight[classes, :, None, None], bias[classes])


def _reach(convolution: nn.Conv2d) -> int:
    """The side of a convolution's receptive field, minus one."""
    return (convolution.kernel_size[0] - 1) * convolution.dilation[0]


def build(num_classes: int, patch: int) -> BagNet:
    """A BagNet of patches of 9, 17 or 33 pixels."""
    return BagNet(num_classes, patch)
