"""Fixup ResNet-50: without normalisation, with scalar biases and multipliers instead. Zhang, Dauphin, Ma 2019.

Names of parameters are those of the published weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xaibench.models.bias_free import Bottleneck, XResNet50


def _scalar(value: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor([float(value)]))


class FixupBottleneck(Bottleneck):
    """A bottleneck with a scalar bias before and after each convolution, and a multiplier after the last one.

    The first bias is also added before the shortcut's convolution.
    """

    def __init__(self, taken: int, width: int, stride: int):
        super().__init__(taken, width, stride)
        self.bias1a, self.bias1b = _scalar(0), _scalar(0)
        self.bias2a, self.bias2b = _scalar(0), _scalar(0)
        self.bias3a, self.bias3b = _scalar(0), _scalar(0)
        self.scale = _scalar(1)

    def shortcut(self, x: Tensor) -> Tensor:
        """What the branch is added to."""
        return x if self.downsample is None else self.downsample(x + self.bias1a)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, 4 * width, h, w) of maps (N, taken, H, W)."""
        out = self.relu(self.conv1(x + self.bias1a) + self.bias1b)
        out = self.relu(self.conv2(out + self.bias2a) + self.bias2b)
        out = self.conv3(out + self.bias3a) * self.scale + self.bias3b
        return self.relu(out + self.shortcut(x))


class FixupResNet50(XResNet50):
    """From encoded images (N, 3, H, W) to logits (N, K): a ResNet-50 whose BatchNorms are replaced by 114 scalars."""

    block = FixupBottleneck

    def __init__(self, num_classes: int):
        super().__init__(num_classes, bias=True)
        self.bias1, self.bias2 = _scalar(0), _scalar(0)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) of encoded images (N, 3, H, W)."""
        return self.fc(self.stages(self.relu(self.conv1(x) + self.bias1)) + self.bias2)


def build(num_classes: int) -> FixupResNet50:
    """Fixup ResNet-50."""
    return FixupResNet50(num_classes)
