"""Small networks for the embedded data: plain, without a bias and normalisation, and B-cos; each under 400 000 weights.

All three have seven convolutions in four stages, of which the first three halve the map: 32, 16, 8 and 8 positions a
side at 64 pixels. Global average pooling and a linear map to the logits follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

from torch import nn

from xaibench.models.bcos_nets import convolution_class

WIDTHS = (32, 32, 64, 96, 128)

Block = Callable[[int, int, int, int], nn.Module]


def _features(channels: int, block: Block) -> nn.Sequential:
    """Stages of blocks; block(channels taken, channels given, kernel, stride) is a convolution and what follows it."""
    stages = nn.Sequential()
    first = nn.Sequential(block(channels, WIDTHS[0], 5, 2), block(WIDTHS[0], WIDTHS[1], 3, 1))
    stages.add_module("stage1", first)
    for number, (taken, given) in enumerate(pairwise(WIDTHS[1:]), 2):
        second = [block(given, given, 3, 1)] if number < len(WIDTHS) - 1 else []
        stride = 2 if number < len(WIDTHS) - 1 else 1
        stages.add_module(f"stage{number}", nn.Sequential(block(taken, given, 3, stride), *second))
    return stages


def _convolution(taken: int, given: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(taken, given, kernel, stride, kernel // 2, bias=False)


def _vanilla_block(*shape: int) -> nn.Sequential:
    return nn.Sequential(_convolution(*shape), nn.BatchNorm2d(shape[1]), nn.ReLU(inplace=True))


def _homogeneous_block(*shape: int) -> nn.Sequential:
    convolution = _convolution(*shape)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_in", nonlinearity="relu")
    return nn.Sequential(convolution, nn.ReLU(inplace=True))


def _network(features: nn.Sequential, num_classes: int, bias: bool) -> nn.Sequential:
    net = nn.Sequential()
    net.features = features
    net.pool = nn.AdaptiveAvgPool2d(1)
    net.flat = nn.Flatten()
    net.classifier = nn.Linear(WIDTHS[-1], num_classes, bias=bias)
    return net


def vanilla(num_classes: int) -> nn.Module:
    """From encoded images (N, 3, H, W) to logits (N, K): convolutions with BatchNorm and ReLU."""
    return _network(_features(3, _vanilla_block), num_classes, bias=True)


def homogeneous(num_classes: int) -> nn.Module:
    """From encoded images (N, 3, H, W) to logits (N, K), without a bias or normalisation: f(a x) = a f(x) for a > 0.

    As in Hesse, Schaub-Meyer, Roth 2021: input x gradient is then integrated gradients from a zero baseline.
    """
    return _network(_features(3, _homogeneous_block), num_classes, bias=False)


def bcos(num_classes: int) -> nn.Module:
    """From encoded images (N, 6, H, W) to logits (N, K): B-cos convolutions with B = 2, as in `models.bcos_nets`.

    Its classifier is a B-cos convolution of 1x1 whose maps are averaged. Raises XaibenchError for fewer than two
    classes and where the package `bcos` is not installed.
    """
    convolution = partial(convolution_class(num_classes), b=2)
    from bcos.modules import BcosSequential, LogitLayer, norms

    norm = norms.NoBias(norms.BatchNormUncentered2d)

    def block(taken: int, given: int, kernel: int, stride: int) -> nn.Sequential:
        return nn.Sequential(convolution(taken, given, kernel, stride, kernel // 2), norm(given))

    net = BcosSequential()
    net.features = _features(6, block)
    net.classifier = convolution(WIDTHS[-1], num_classes, 1)
    net.pool = nn.AdaptiveAvgPool2d(1)
    net.flat = nn.Flatten()
    net.logits = LogitLayer(logit_bias=-math.log(num_classes - 1))
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net
