"""The arms of the study of alignment without labels: what each learns, and a network trained so.

Every arm starts from the same plain weights of its seed and takes the same steps of SGD on images of which half lose a
cell; arms differ in what they are asked for, and in how many images they see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xaibench import registry
from xaibench.cards import DatasetCard
from xaibench.datasets.base import Dataset, Sample
from xaibench.datasets.open import open_dataset, parameters_of
from xaibench.datasets.wrapped import Some, Wrapped
from xaibench.models.base import Model
from xaibench.models.open import build_model, load_weights, model_card
from xaibench.models.state import read_state
from xaibench.seeds import derive
from xaibench.training.deletion import PatchDeletion
from xaibench.training.find import DEFAULT_ALIGNMENT
from xaibench.training.loop import fit
from xaibench.training.recipe import Recipe
from xaibench.training.resources import TrainingResources
from xaibench.training.self_alignment import UnlabelledImages, frozen_copy
from xaibench.training.task import LAST, Loss, Objective

DATASET, SIDE = "critters", 32  # pixels a side
ALL = 2240  # training images
WHOLE = ("published", "published-again")
"""Labels of all training images: the reference, and a second training of it, which is the ceiling."""
SMALL = ("self", "labels", "hard", "logits", "deleted-answer", "intact-only", "bn-only")
BATCH = 32


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


class Kept(Wrapped):
    """A drawn data set whose images are drawn once for all arms."""

    def __init__(self, dataset: Dataset):
        super().__init__(dataset)
        self.kept: dict[str, Sample] = {}

    def load(self, image_id: str) -> Sample:
        if image_id not in self.kept:
            self.kept[image_id] = super().load(image_id)
        return self.kept[image_id]


def data_card() -> DatasetCard:
    """The data set at the size of the study."""
    return registry.card("dataset", DATASET).at_size(SIDE)


def open_part(part: str) -> Kept:
    """The images of evaluation (`test`) or training (`train`)."""
    card = data_card()
    return Kept(open_dataset(card, None, parameters_of(card, {}, part), part))


def plain_model(name: str, weights: Path) -> Model:
    """A network with its plain weights."""
    data, card = data_card(), model_card(name)
    model = build_model(card, len(open_part("test").classes), data.geometry, data.min_cam_grid)
    return load_weights(model, read_state(weights), "plain", card)


def photos_of(train: Dataset, arm: Arm) -> list[str]:
    """The images of an arm: others for each seed, where there are enough."""
    ids = train.image_list()
    start = arm.seed * arm.images if (arm.seed + 1) * arm.images <= len(ids) else 0
    return ids[start : start + arm.images]


def trained(arm: Arm, name: str, weights: Path, train: Dataset, folder: Path, steps: int, rate: float) -> Model:
    """The network of an arm after `steps` steps at a rate that falls from `rate` to zero by a cosine."""
    model = plain_model(name, weights)
    model.net.requires_grad_(True).to(memory_format=torch.channels_last)
    data, geometry = Some(train, photos_of(train, arm)), data_card().geometry
    seed = derive(arm.seed, "study of alignment", arm.name) % 2**31
    passes = -(-steps * BATCH // len(data.ids))
    images = UnlabelledImages(data, model.encoding, geometry, "flip", seed, passes=passes)
    recipe = Recipe(epochs=1, batch_size=BATCH, learning_rate=rate, schedule="cosine")
    loss = loss_of(arm, model, images, seed)
    objective = Objective(model.net, loss, images, lambda net: {}, monitor=LAST)
    fit(objective, recipe, folder, title=arm.key, seed=seed, resources=TrainingResources(0, "cpu"))
    return model


def loss_of(arm: Arm, model: Model, images: UnlabelledImages, seed: int) -> Loss:
    """The loss of an arm, of a batch of images, passes and ids."""
    teacher, delete = frozen_copy(model.net), PatchDeletion(DEFAULT_ALIGNMENT, model.encoding.zero, seed)
    ask = ASKED.get(arm.name)

    def loss(net: nn.Module, batch: tuple[Tensor, Tensor, Sequence[str]]) -> dict[str, Tensor]:
        intact, turns, ids = batch
        draws = [f"{i}, pass {turn}" for i, turn in zip(ids, turns.tolist(), strict=True)]
        shown = intact if arm.name == "intact-only" else delete(intact, draws, images.epoch)
        logits = net(shown)
        if ask is None:
            labels = torch.tensor([images.dataset.label(i) for i in ids])
            return {"loss": F.cross_entropy(logits, labels)}
        with torch.no_grad():
            answers = teacher(shown if arm.name == "deleted-answer" else intact)
        return {"loss": ask(logits, answers)}

    return loss


ASKED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "self": lambda logits, answers: F.cross_entropy(logits, answers.softmax(1)),
    "intact-only": lambda logits, answers: F.cross_entropy(logits, answers.softmax(1)),
    "deleted-answer": lambda logits, answers: F.cross_entropy(logits, answers.softmax(1)),
    "hard": lambda logits, answers: F.cross_entropy(logits, answers.argmax(1)),
    "logits": F.mse_loss,
    "bn-only": lambda logits, answers: 0 * logits.sum(),
}
"""What a student's logits are asked for, given its teacher's; labels where an arm is not here."""
