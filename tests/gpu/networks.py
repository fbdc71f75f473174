"""Networks of the check: a tiny one for dry runs, and one of each family with random but fixed weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor, nn

from xaibench import registry


def tiny(num_classes: int, width: int = 8) -> nn.Module:
    """A network of a few thousand weights, which trains in a second; `cards/models/gpu-tiny.toml` names it."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, num_classes),
    )  # fmt: skip


@dataclass(frozen=True)
class Family:
    """The model of the registry that stands for a family, its channels, the side and the number of its images (dry,
    full), and what a dry run changes in its parameters."""

    model: str
    channels: int
    sides: tuple[int, int]
    images: tuple[int, int] = (2, 4)
    smaller: dict[str, int] = field(default_factory=dict)


FAMILIES = {
    "cnn": Family("critters_cnn", 3, (16, 64)),
    "vit": Family("vit_tiny_patch8_64", 3, (32, 64), smaller={"img_size": 32, "embed_dim": 24, "depth": 3}),
    "bcos": Family("bcos_critters_cnn", 6, (32, 64)),
    "bagnet": Family("bagnet9", 3, (12, 24), (1, 2)),
}
CLASSES = 10


@cache
def example(name: str, dry: bool) -> tuple[nn.Module, Tensor, Tensor]:
    """A network of a family on the CPU, images for it and a target for each, the same in every process; built once.

    Running statistics are those of noise, so that activations are of one size in every layer, as in a trained network.
    """
    family = FAMILIES[name]
    images, side = (sizes[0 if dry else 1] for sizes in (family.images, family.sides))
    card = registry.card("model", family.model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        net = registry.load(card)(num_classes=CLASSES, **(card.parameters | (family.smaller if dry else {})))
        pixels = torch.rand(16 + images, 3, side, side)
    x = torch.cat([pixels, 1 - pixels], 1) if family.channels == 6 else 4 * pixels - 2
    for module in net.modules():
        if hasattr(module, "momentum"):
            module.momentum = 1.0
    with torch.no_grad():
        net.train()(x[images:])
    return net.eval().requires_grad_(False), x[:images], torch.arange(images) % CLASSES
