"""The small networks of ObEy (Schulze, Ho, Zemel 2023): two convolutions for MNIST, eight for MNIST-ML.

The paper says how many convolutions there are, that linear layers follow, and that the first network is inspired by
LeNet (LeCun et al. 1998); sizes of kernels and numbers of channels are ours.
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn

GRID = 7  # positions a side of the last map at the size of the data sets' images
HIDDEN = 128


def _convolution(taken: int, given: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(taken, given, kernel, padding=kernel // 2), nn.ReLU(inplace=True))


def _network(features: nn.Sequential, channels: int, num_classes: int) -> nn.Sequential:
    """Two linear layers behind some features; images of another size are averaged to as many positions."""
    net = nn.Sequential()
    net.features = features
    net.pool = nn.AdaptiveAvgPool2d(GRID)
    net.classifier = nn.Sequential(
        nn.Flatten(), nn.Linear(channels * GRID**2, HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, num_classes)
    )
    return net


def mnist_cnn(num_classes: int) -> nn.Module:
    """From encoded images (N, 3, 28, 28) to logits (N, K): two 5x5 convolutions, a max pool after each."""
    features = nn.Sequential(
        _convolution(3, 32, 5), nn.MaxPool2d(2),
        _convolution(32, 64, 5), nn.MaxPool2d(2),
    )  # fmt: skip
    return _network(features, 64, num_classes)


def mnist_ml_cnn(num_classes: int) -> nn.Module:
    """From encoded images (N, 3, 56, 56) to logits (N, K): four pairs of 3x3 convolutions, max pools between them."""
    features, widths = nn.Sequential(), (3, 32, 64, 128, 256)
    for stage, (taken, given) in enumerate(pairwise(widths), 1):
        pool = [nn.MaxPool2d(2)] if stage > 1 else []
        pair = nn.Sequential(*pool, _convolution(taken, given, 3), _convolution(given, given, 3))
        features.add_module(f"stage{stage}", pair)
    return _network(features, widths[-1], num_classes)
