"""What a classifier is trained on: encoded images of which some have lost a cell, and the losses of recipes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from xaibench.cards import Alignment, Geometry
from xaibench.datasets.critters import Critters
from xaibench.models.base import Encoding, Model
from xaibench.training.classifier import accuracy, classification_loss, validation_batches
from xaibench.training.data import TrainingImages
from xaibench.training.deletion import PatchDeletion
from xaibench.training.recipe import Recipe

ENCODING = Encoding((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


class Spy(nn.Module):
    """A linear network that remembers what it was given."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head, self.seen = nn.Linear(3 * 32 * 32, 10), []

    def forward(self, x):
        self.seen.append(x.detach().clone())
        return self.head(x.flatten(1))


def images(augmentation="flip"):
    return TrainingImages(Critters("train", 12, 32), ENCODING, Geometry(resize=32, crop=32), augmentation, seed=0)


def batch(data):
    inputs, labels, ids = zip(*(data[i] for i in range(len(data))), strict=True)
    return torch.stack(inputs), torch.tensor(labels), ids


def test_every_image_loses_one_cell_where_the_probability_is_one():
    data, net = images(), Spy()
    alignment = Alignment(grid=4, baseline="zero", probability=1)
    loss = classification_loss(Recipe(), data, PatchDeletion(alignment, ENCODING.zero))
    intact = batch(data)
    loss(net, intact)
    changed = (
        (net.seen[0] != intact[0]).any(1).unflatten(1, (4, 8)).unflatten(3, (4, 8)).float().mean((2, 4)).flatten(1)
    )
    assert ((changed > 0).sum(1) == 1).all()
    gone = (net.seen[0] == 0).all(1).unflatten(1, (4, 8)).unflatten(3, (4, 8)).all(4).all(2).flatten(1)
    assert (gone.sum(1) == 1).all()


def test_without_an_alignment_images_stay_intact():
    data, net = images(), Spy()
    intact = batch(data)
    classification_loss(Recipe(), data, None)(net, intact)
    assert torch.equal(net.seen[0], intact[0])


@pytest.mark.parametrize("kind", ["cross-entropy", "binary-cross-entropy"])
def test_losses_are_their_formulas(kind):
    data, net = images(), Spy()
    inputs, labels, ids = batch(data)
    terms = classification_loss(Recipe(loss=kind), data, None)(net, (inputs, labels, ids))
    logits = net.head(inputs.flatten(1)).double()
    if kind == "cross-entropy":
        expected = -(logits - logits.exp().sum(1, keepdim=True).log())[torch.arange(12), labels].mean()
    else:
        truth, chance = F.one_hot(labels, 10).double(), logits.sigmoid()
        expected = -(truth * chance.log() + (1 - truth) * (1 - chance).log()).mean()
    assert float(terms["loss"].detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(terms["accuracy"]) == pytest.approx(float((logits.argmax(1) == labels).float().mean()))


@pytest.mark.parametrize("augmentation", ["flip", "crop-flip"])
def test_augmentation_depends_on_image_and_epoch_only(augmentation):
    data, again = images(augmentation), images(augmentation)
    first = batch(data)[0]
    assert torch.equal(torch.stack([again[i][0] for i in reversed(range(12))]).flip(0), first)
    data.epoch = 1
    assert not torch.equal(batch(data)[0], first)


def test_flips_mirror_about_half_of_the_images():
    data = TrainingImages(Critters("train", 200, 32), ENCODING, Geometry(resize=32, crop=32), "flip", seed=0)
    plain = [ENCODING(data.dataset.load(i).image[None])[0] for i in data.dataset.ids]
    flipped = [not torch.equal(data[i][0], image) for i, image in enumerate(plain)]
    assert all(torch.equal(data[i][0], plain[i].flip(-1)) for i, yes in enumerate(flipped) if yes)
    assert 70 < sum(flipped) < 130  # 100 +- 4 standard deviations


def test_accuracy_counts_right_images():
    data, net = Critters("val", 30, 32), Spy()
    model = Model("spy", net, ENCODING, "", (0, 0), 3)
    samples = [data.load(i) for i in data.ids]
    right = sum(int(net(ENCODING(s.image[None])).argmax()) == s.label for s in samples)
    assert accuracy(net, validation_batches(data, model, 7, 0)) == pytest.approx(right / 30)
