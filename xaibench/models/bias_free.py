"""Networks without a bias and without normalisation: X-ResNet-50 and X-VGG-16. Hesse, Schaub-Meyer, Roth 2021.

With ReLUs these are positively homogeneous, f(a x) = a f(x) for a > 0, so that input x gradient is integrated gradients
from a zero baseline and sums to the logit. Names of parameters are those of the published weights.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

BLOCKS, WIDTHS, STRIDES = (3, 4, 6, 3), (64, 128, 256, 512), (1, 2, 2, 2)
EXPANSION = 4
BRANCHES = sum(BLOCKS)


class Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 (strided) and 1x1 without a bias; the shortcut is convolved where shapes differ."""

    def __init__(self, taken: int, width: int, stride: int):
        super().__init__()
        given = EXPANSION * width
        self.conv1 = nn.Conv2d(taken, width, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.conv3 = nn.Conv2d(width, given, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        same = stride == 1 and taken == given
        self.downsample = None if same else nn.Conv2d(taken, given, 1, stride, bias=False)

    def shortcut(self, x: Tensor) -> Tensor:
        """What the branch is added to."""
        return x if self.downsample is None else self.downsample(x)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, 4 * width, h, w) of maps (N, taken, H, W)."""
        out = self.relu(self.conv1(x))
        out = self.relu(self.conv2(out))
        return self.relu(self.conv3(out) + self.shortcut(x))


class XResNet50(nn.Module):
    """From encoded images (N, 3, H, W) to logits (N, K): a ResNet-50 with neither BatchNorm nor bias.

    It starts as Fixup does (Zhang, Dauphin, Ma 2019): the last convolution of each branch and the classifier are zero,
    the others of a branch normal with the standard deviation of He et al. times 16 ** -0.25, 16 being the branches.
    """

    block: type[Bottleneck] = Bottleneck

    def __init__(self, num_classes: int, bias: bool = False):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        taken = 64
        for stage, (blocks, width, stride) in enumerate(zip(BLOCKS, WIDTHS, STRIDES, strict=True), 1):
            first = self.block(taken, width, stride)
            taken = EXPANSION * width
            others = [self.block(taken, width, 1) for _ in range(1, blocks)]
            self.add_module(f"layer{stage}", nn.Sequential(first, *others))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(taken, num_classes, bias=bias)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, Bottleneck):
                _he(module.conv1, BRANCHES**-0.25)
                _he(module.conv2, BRANCHES**-0.25)
                nn.init.zeros_(module.conv3.weight)
                if module.downsample is not None:
                    _he(module.downsample)
        nn.init.zeros_(self.fc.weight)

    def stages(self, x: Tensor) -> Tensor:
        """The means (N, 2048) of the last maps, of what the stem gives."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.maxpool(x)))))
        return self.avgpool(x).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) of encoded images (N, 3, H, W)."""
        return self.fc(self.stages(self.relu(self.conv1(x))))


def _he(convolution: nn.Conv2d, scale: float = 1.0) -> None:
    """Normal weights with the standard deviation scale * sqrt(2 / (channels given * positions of the kernel))."""
    fan_out = convolution.out_channels * math.prod(convolution.kernel_size)
    nn.init.normal_(convolution.weight, 0, scale * math.sqrt(2 / fan_out))


def x_resnet50(num_classes: int) -> XResNet50:
    """X-ResNet-50."""
    return XResNet50(num_classes)


def x_vgg16(num_classes: int) -> nn.Module:
    """X-VGG-16: torchvision's VGG-16 without a bias in any convolution or linear layer."""
    import torchvision

    net = torchvision.models.vgg16(weights=None, num_classes=num_classes)
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.bias = None
    return net
