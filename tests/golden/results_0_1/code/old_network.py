"""A network beside results of version 0.1. The bytes of this file are part of their keys: do not change them."""

from torch import nn


def build(num_classes, width=8):
    """From images (N, 3, H, W) to logits (N, num_classes)."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(width),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, num_classes),
    )  # fmt: skip
