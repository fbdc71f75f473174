"""The arms of the study of alignment without labels: three networks, and what each arm asks them for.

Every arm starts from the plain weights of its seed and takes the same steps of SGD on images of which half have lost a
cell; arms differ in what they are asked for, and in how many images they see. The loop is that of a training by
`xaibench train patch-deletion`, in tensors that are kept in memory, since a study trains hundreds of networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xaibench import registry
from xaibench.models.open import build_model, model_card
from xaibench.protocols.patches import cell_masks
from xaibench.seeds import generator
from xaibench.training.head import normalisations
from xaibench.training.recipe import Recipe
from xaibench.training.self_alignment import frozen_copy, soft_targets

ALL, BATCH = 2240, 32  # training images, images of a step
SMOOTHING = 0.05  # of labels, as in the data set's recipe
SOFT = soft_targets(Recipe())
ASKED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "self": SOFT,
    "self-kept": SOFT,
    "deleted-answer": SOFT,
    "intact-only": SOFT,
    "hard": lambda logits, answers: F.cross_entropy(logits, answers.argmax(1)),
    "logits": F.mse_loss,
}
"""What a student's logits are asked for, given its teacher's; labels where an arm is not here."""


@dataclass(frozen=True)
class Arm:
    """One training of the study: what it learns, the number of images, and the seed of weights, images and draws."""

    name: str
    images: int
    seed: int

    @property
    def key(self) -> str:
        """The name of its files."""
        return f"{self.name}-{self.images}-{self.seed}"


@dataclass(frozen=True)
class Subject:
    """A network of the study: how it is built from the number of classes and a seed, the pixels of a side of its
    images, the steps and the rate of its plain training, and the rate of all arms."""

    build: Callable[[int, int], nn.Module]
    side: int
    steps: int
    plain_rate: float
    rate: float


def small_network(classes: int, seed: int) -> nn.Module:
    """Three convolutions with batch normalisation; the last map has 8 x 8 positions, four for each cell."""
    torch.manual_seed(seed)
    layers, taken = [], 3
    for given, kernel, stride in ((16, 5, 2), (32, 3, 2), (32, 3, 1)):
        convolution = nn.Conv2d(taken, given, kernel, stride, kernel // 2, bias=False)
        layers += [convolution, nn.BatchNorm2d(given), nn.ReLU()]
        taken = given
    return nn.Sequential(nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(taken, classes))


def of_card(name: str) -> Callable[[int, int], nn.Module]:
    """How the network of a model card is built for the critters, the last stage dilated as in a run."""

    def build(classes: int, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        dataset = registry.card("dataset", "critters")
        return build_model(model_card(name), classes, dataset.geometry, dataset.min_cam_grid).net

    return build


SUBJECTS = {
    "small": Subject(small_network, 32, 700, 0.1, 0.05),
    "critters_cnn": Subject(of_card("critters_cnn"), 64, 700, 0.1, 0.05),
    "resnet18": Subject(of_card("resnet18"), 64, 700, 0.05, 0.02),
}


def photos_of(arm: Arm) -> slice:
    """The training images of an arm: others for each seed, where there are enough."""
    start = arm.seed * arm.images if (arm.seed + 1) * arm.images <= ALL else 0
    return slice(start, start + arm.images)


def trained(arm: Arm, start: nn.Module, images: Tensor, labels: Tensor, zero: Tensor, steps: int, rate: float):
    """The network of an arm, from a network whose weights stay, after steps at a rate that falls to zero by a cosine.

    images (N, C, H, H) encoded, labels (N,); zero (C,) is what replaces a deleted cell.
    """
    images, labels = images[photos_of(arm)], labels[photos_of(arm)]
    net, teacher = deepcopy(start).requires_grad_(True).train(), frozen_copy(start)
    if arm.name == "self-kept":
        for module in normalisations(net).values():
            module.eval()
    draw = generator(arm.seed, "study of alignment", arm.name)
    optimizer = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=1e-4)
    order = torch.cat([torch.randperm(len(images), generator=draw) for _ in range(-(-steps * BATCH // len(images)))])
    for step in range(steps):
        chosen = order[step * BATCH : (step + 1) * BATCH]
        flipped, gone = torch.rand(2, len(chosen), 1, 1, 1, generator=draw) < 0.5
        cells = torch.randint(16, (len(chosen),), generator=draw)
        intact = torch.where(flipped, images[chosen].flip(3), images[chosen])
        deleted = gone & cell_masks(images.shape[2:], 4, cells)
        shown = torch.where(deleted & (arm.name not in ("plain", "intact-only")), zero[:, None, None], intact)
        logits = net(shown)  # in training mode: normalisation takes new statistics, but in the arm that keeps them
        if arm.name == "bn-only":
            continue
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.zero_grad()
        loss_of(arm, logits, shown, intact, labels[chosen], teacher).backward()
        optimizer.step()
    return net.eval()


def loss_of(arm: Arm, logits: Tensor, shown: Tensor, intact: Tensor, labels: Tensor, teacher: nn.Module) -> Tensor:
    """What an arm minimises on a batch, a scalar."""
    if arm.name not in ASKED:
        return F.cross_entropy(logits, labels, label_smoothing=SMOOTHING)
    with torch.no_grad():
        answers = teacher(shown if arm.name == "deleted-answer" else intact)
    return ASKED[arm.name](logits, answers)
