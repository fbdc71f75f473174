"""The arms of the study of contradictions: each changes one thing against another arm.

standard            a residual network of two blocks, cross entropy, 400 steps of 32 images, half of which lack a cell
contradiction 1     B-cos: loss, input, exponent B, alignment, data, cells, length of training
contradiction 2     depth: two to sixteen blocks, by length of training, data, and cells
contradiction 3     Fixup: normalisation and recipe, one at a time, and length of training
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from networks import Shape
from torch import Tensor, nn
from torch.nn import functional as F

from xaibench.protocols.patches import cell_masks
from xaibench.seeds import generator

BATCH, SMOOTHING = 32, 0.05


@dataclass(frozen=True)
class Arm:
    """One way to train: the network, and how. loss: `ce` or `bce`; optimizer: `sgd` or `adamw`; aligned: whether half
    of the images lose a cell in training; rule: what determines the class (docs/critters.md); images: to train on."""

    shape: Shape = field(default_factory=Shape)
    loss: str = "ce"
    optimizer: str = "sgd"
    rate: float = 0.1
    steps: int = 400
    grid: int = 4
    aligned: bool = True
    rule: str = "redundant"
    images: int = 2240


STANDARD = Arm()
BCE = replace(STANDARD, loss="bce", optimizer="adamw", rate=0.004)
BCOS = replace(BCE, shape=Shape(norm="bcos"))
FIXUP = replace(STANDARD, shape=Shape(norm="fixup"))
SLOW = {"optimizer": "adamw", "rate": 3e-4}  # the recipe of the card `fixup_resnet50`


def _deep(arm: Arm, blocks: int) -> Arm:
    return replace(arm, shape=replace(arm.shape, blocks=blocks))


ARMS = {
    "standard": STANDARD,
    "B-cos": BCOS,
    "Fixup, slow": replace(FIXUP, **SLOW),
    "8 blocks": _deep(STANDARD, 4),
    # 1, one thing at a time from the standard network to B-cos
    "standard, AdamW": replace(STANDARD, optimizer="adamw", rate=0.004),
    "standard, AdamW, BCE": BCE,
    "standard, AdamW, BCE, six channels": replace(BCE, shape=Shape(six=True)),
    "B-cos, B = 1": replace(BCOS, shape=Shape(norm="bcos", b=1.0)),
    "B-cos, B = 1.5": replace(BCOS, shape=Shape(norm="bcos", b=1.5)),
    # 3, recipe and normalisation
    "standard, slow": replace(STANDARD, **SLOW),
    "Fixup, fast": replace(FIXUP, optimizer="adamw", rate=0.004),
    "Fixup, slow, long": replace(FIXUP, **SLOW, steps=1600),
    "standard, slow, long": replace(STANDARD, **SLOW, steps=1600),
    "Fixup, fast, long": replace(FIXUP, optimizer="adamw", rate=0.004, steps=1600),
    "standard, AdamW, long": replace(STANDARD, optimizer="adamw", rate=0.004, steps=1600),
    # without the deletions of alignment
    "standard, not aligned": replace(STANDARD, aligned=False),
    "B-cos, not aligned": replace(BCOS, aligned=False),
    "8 blocks, not aligned": replace(_deep(STANDARD, 4), aligned=False),
    # smaller cells, less data, longer trainings, data in which no part alone decides
    "standard, 8x8 cells": replace(STANDARD, grid=8),
    "B-cos, 8x8 cells": replace(BCOS, grid=8),
    "8 blocks, 8x8 cells": replace(_deep(STANDARD, 4), grid=8),
    "standard, 256 images": replace(STANDARD, images=256),
    "B-cos, 256 images": replace(BCOS, images=256),
    "8 blocks, 256 images": replace(_deep(STANDARD, 4), images=256),
    "standard, long": replace(STANDARD, steps=1600),
    "B-cos, long": replace(BCOS, steps=1600),
    "standard, conjunction": replace(STANDARD, rule="conjunction", steps=1600),
    "B-cos, conjunction": replace(BCOS, rule="conjunction", steps=1600),
    # the costly ones
    "4 blocks": _deep(STANDARD, 2),
    "16 blocks": _deep(STANDARD, 8),
    "8 blocks, long": replace(_deep(STANDARD, 4), steps=1600),
    "8 blocks, conjunction": replace(_deep(STANDARD, 4), rule="conjunction", steps=1600),
}
CORE = ("standard", "B-cos", "Fixup, slow", "8 blocks", "standard, AdamW", "B-cos, B = 1", "B-cos, B = 1.5",
        "standard, slow", "Fixup, fast")  # fmt: skip
"""The arms that are trained first, with all seeds: a third of the time."""


def trained(arm: Arm, seed: int, images: Tensor, labels: Tensor, classes: int) -> nn.Module:
    """A network of an arm, from encoded images (N, C, 32, 32) and labels (N,); its seed decides weights and draws."""
    images, labels = images[: arm.images], labels[: arm.images]
    net = arm.shape.build(classes, seed).to(memory_format=torch.channels_last).train()
    made = {"sgd": lambda p: torch.optim.SGD(p, arm.rate, 0.9, weight_decay=5e-4, nesterov=True)}
    made["adamw"] = lambda p: torch.optim.AdamW(p, arm.rate, weight_decay=0.0)
    optimizer, draw = made[arm.optimizer](net.parameters()), generator(seed, "study of contradictions")
    zero = arm.shape.encoding.zero[:, None, None]
    for step in range(arm.steps):
        chosen = torch.randint(len(images), (BATCH,), generator=draw)
        flipped, gone = torch.rand(2, BATCH, 1, 1, 1, generator=draw) < 0.5
        masks = cell_masks(images.shape[2:], arm.grid, torch.randint(arm.grid**2, (BATCH,), generator=draw))
        shown = torch.where(flipped, images[chosen].flip(3), images[chosen])
        shown = torch.where(masks & gone, zero, shown) if arm.aligned else shown
        warm = min(1.0, (step + 1) / (0.1 * arm.steps))
        for group in optimizer.param_groups:
            group["lr"] = arm.rate * warm * (1 + math.cos(math.pi * step / arm.steps)) / 2
        optimizer.zero_grad()
        _loss(arm, net(shown), labels[chosen]).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
    return net.eval()


def _loss(arm: Arm, logits: Tensor, labels: Tensor) -> Tensor:
    if arm.loss == "ce":
        return F.cross_entropy(logits, labels, label_smoothing=SMOOTHING)
    return F.binary_cross_entropy_with_logits(logits, F.one_hot(labels, logits.shape[1]).float())
