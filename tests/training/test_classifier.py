"""What a classifier is trained on: encoded images of which some have lost a cell, and the losses of recipes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from xaibench.cards import Alignment, Geometry
from xaibench.datasets.critters import Critters
from xaibench.models.base import Encoding, Model
from xaibench.training.classifier import (
    Classification,
    accuracy,
    classification_loss,
    classification_metrics,
    label_loss,
    validation_batches,
)
from xaibench.training.data import TrainingImages, class_counts
from xaibench.training.deletion import PatchDeletion
from xaibench.training.recipe import Recipe
from xaibench.training.task import Split

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
    data = TrainingImages(Critters("train", 100, 32), ENCODING, Geometry(resize=32, crop=32), "flip", seed=0)
    plain = [ENCODING(data.dataset.load(i).image[None])[0] for i in data.dataset.ids]
    flipped = [not torch.equal(data[i][0], image) for i, image in enumerate(plain)]
    assert all(torch.equal(data[i][0], plain[i].flip(-1)) for i, yes in enumerate(flipped) if yes)
    assert 29 < sum(flipped) < 71  # 50 +- 4 standard deviations


def test_accuracy_counts_right_images():
    data, net = Critters("val", 30, 32), Spy()
    model = Model("spy", net, ENCODING, "", (0, 0), 3)
    samples = [data.load(i) for i in data.ids]
    right = sum(int(net(ENCODING(s.image[None])).argmax()) == s.label for s in samples)
    assert accuracy(net, validation_batches(data, model, 7, 0)) == pytest.approx(right / 30)


# Several labels ------------------------------------------------------------------------------------------------------

SEVERAL = Recipe(labels="several", loss="binary-cross-entropy", augmentation="none", epochs=1, batch_size=5)


class Crowded(Critters):
    """Critters whose images have one to three classes, by their number."""

    def labels(self, image_id):
        number = self.ids.index(image_id)
        return tuple(dict.fromkeys((self.label(image_id), number % 10, 7)[: 1 + number % 3]))


def test_targets_of_several_labels_are_multi_hot():
    crowded = Crowded("train", 12, 32)
    data = TrainingImages(crowded, ENCODING, Geometry(resize=32, crop=32), "none", 0, "several")
    for at, image_id in enumerate(crowded.ids):
        image, target, found = data[at]
        assert found == image_id and target.dtype == torch.float32
        assert {int(k) for k in target.nonzero()} == set(
            crowded.labels(image_id)
        ) and target.sum() == target.bool().sum()
        assert torch.equal(image, ENCODING(crowded.load(image_id).image[None])[0]), "none changes nothing"
    assert {int(data[at][1].sum()) for at in range(12)} == {1, 2, 3}


def test_the_loss_of_several_labels_is_its_formula():
    data, net = (
        TrainingImages(Crowded("train", 12, 32), ENCODING, Geometry(resize=32, crop=32), "none", 0, "several"),
        Spy(),
    )
    inputs, truth, ids = zip(*(data[i] for i in range(12)), strict=True)
    inputs, truth = torch.stack(inputs), torch.stack(truth)
    terms = classification_loss(SEVERAL, data, None)(net, (inputs, truth, ids))
    logits = net.head(inputs.flatten(1)).double()
    chance = logits.sigmoid()
    expected = -(truth * chance.log() + (1 - truth) * (1 - chance).log()).mean()
    assert float(terms["loss"].detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    hits = ((logits >= 0) & (truth > 0)).sum()
    assert float(terms["f1"]) == pytest.approx(float(2 * hits / ((logits >= 0).sum() + truth.sum())))


def test_the_epoch_with_the_highest_f1_is_kept_where_there_are_several_labels():
    train, validation, net = Crowded("train", 12, 32), Crowded("val", 30, 32), Spy()
    model = Model("spy", net, ENCODING, "", (0, 0), 10)
    split = Split(train, validation, Geometry(resize=32, crop=32))
    objective = Classification().objective(model, split, SEVERAL, 0, 0)
    found = objective.evaluate(net)
    assert objective.monitor == "f1" and set(found) == {"f1", "map", "map_classes"} and found["map_classes"] == 10
    chances = torch.cat([net.head(ENCODING(validation.load(i).image[None]).flatten(1)) for i in validation.ids])
    truth = torch.zeros(30, 10)
    for at, image_id in enumerate(validation.ids):
        truth[at, list(validation.labels(image_id))] = 1
    hits = int(((chances >= 0) & (truth > 0)).sum())
    assert found["f1"] == pytest.approx(2 * hits / (int((chances >= 0).sum()) + int(truth.sum())))
    alone = Classification().objective(model, split, Recipe(batch_size=5), 0, 0)
    assert alone.monitor == "accuracy" and set(alone.evaluate(net)) == {"accuracy"}
    assert alone.evaluate(net) == classification_metrics(net, validation_batches(validation, model, 7, 0))


# Class weights -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cross-entropy", "binary-cross-entropy"])
def test_weighted_losses_are_means_over_classes_where_a_batch_has_all_images(kind):
    """Weights 1 / n make the mean over images the mean over classes of the mean over each class's images."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.tensor([0] * 7 + [1] * 2 + [2])
    logits = torch.randn(10, 3, generator=draw, dtype=torch.double, requires_grad=True)
    recipe = Recipe(loss=kind, class_weights=True)
    weights = 1 / torch.bincount(labels).double()
    each = torch.stack([label_loss(Recipe(loss=kind), logits[labels == k], labels[labels == k]) for k in range(3)])
    found = label_loss(recipe, logits, labels, weights)
    assert float(found.detach()) == pytest.approx(float(each.mean().detach()), rel=1e-12)
    assert torch.autograd.gradcheck(lambda z: label_loss(recipe, z, labels, weights), logits)
    if kind == "cross-entropy":
        usual = F.cross_entropy(logits, labels, weight=weights)
        assert float(found.detach()) == pytest.approx(float(usual.detach()), rel=1e-12)


def test_class_weights_are_of_the_training_images():
    data, net = images(), Spy()
    inputs, labels, ids = batch(data)
    counts = class_counts(data.dataset)
    assert counts.tolist() == [int((labels == k).sum()) for k in range(10)] and counts.max() > 1
    few = inputs[:5], labels[:5], ids[:5]
    found = classification_loss(Recipe(class_weights=True), data, None)(net, few)["loss"]
    usual = F.cross_entropy(net.head(few[0].flatten(1)), few[1], weight=1 / counts.clamp(min=1))
    assert float(found.detach()) == pytest.approx(float(usual.detach()), rel=1e-5)
