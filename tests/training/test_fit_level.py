"""Under- and overfitting: which images are learnt, how often, and which epoch is kept."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from xaibench.cards import Geometry
from xaibench.datasets.critters import Critters
from xaibench.errors import XaibenchError
from xaibench.models.base import Encoding, Model
from xaibench.training.api import plan_training
from xaibench.training.config import TrainingConfig
from xaibench.training.data import TrainingImages
from xaibench.training.fit_level import FitLevel, class_share
from xaibench.training.recipe import Recipe
from xaibench.training.task import Split


def plan(model, dataset, given=None, **fields):
    """The training of a request; given: an object in the place of its task."""
    return plan_training(TrainingConfig(model=model, dataset=dataset, **fields), given)


ENCODING = Encoding((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
DATA = Critters("train", 200, 32)


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 10))
    return Model("linear", net, ENCODING, "", (0, 0), 10)


def objective(level, model, seed=0):
    split = Split(DATA, Critters("val", 8, 32), Geometry(resize=32, crop=32))
    return FitLevel(level).objective(model, split, Recipe(augmentation="flip"), seed, 0)


def test_the_share_is_of_each_class_and_nested():
    whole = Counter(DATA.label(i) for i in DATA.ids)
    last = set()
    for share in (0.01, 0.1, 0.5, 1.0):
        ids = class_share(DATA, share, seed=3)
        assert ids == [i for i in DATA.ids if i in set(ids)] and last <= set(ids)
        counts = Counter(DATA.label(i) for i in ids)
        assert counts == {k: int(np.ceil(np.round(share * n, 6))) for k, n in whole.items()}
        last = set(ids)
    assert class_share(DATA, 0.1, 3) != class_share(DATA, 0.1, 4), "another seed draws others"


def test_overfitting_passes_twice_over_a_tenth_with_fresh_augmentation(model):
    images = objective("over", model).data
    chosen = class_share(DATA, 0.1, 0)
    assert len(images) == 2 * len(chosen)
    images.epoch = 3
    items = [images[i] for i in range(len(images))]
    assert [item[2] for item in items] == 2 * chosen and images.epoch == 3
    plain = TrainingImages(DATA, ENCODING, Geometry(resize=32, crop=32), "flip", 0)
    for passed, part in ((0, items[: len(chosen)]), (1, items[len(chosen) :])):
        plain.epoch = 6 + passed
        assert all(torch.equal(item[0], plain[DATA.ids.index(item[2])][0]) for item in part)
    assert any(not torch.equal(a[0], b[0]) for a, b in zip(items[: len(chosen)], items[len(chosen) :], strict=True))


def test_overfitting_keeps_the_epoch_that_knows_its_own_images_best(model):
    made = objective("over", model)
    assert made.monitor == "learnt_accuracy"
    metrics = made.evaluate(model.net)
    assert set(metrics) == {"accuracy", "learnt_accuracy"}
    chosen = class_share(DATA, 0.1, 0)
    with torch.no_grad():
        logits = model.net(ENCODING(np.stack([DATA.load(i).image for i in chosen])))
    right = logits.argmax(1) == torch.tensor([DATA.label(i) for i in chosen])
    assert metrics["learnt_accuracy"] == pytest.approx(right.float().mean().item())


def test_underfitting_is_one_plain_epoch_of_all_images(model):
    made = objective("under", model)
    assert len(made.data) == 200 and made.monitor == "accuracy" and set(made.evaluate(model.net)) == {"accuracy"}
    recipe = plan("critters_cnn", "critters", given=FitLevel("under")).recipe
    usual = plan("critters_cnn", "critters").recipe
    assert recipe.epochs == 1 and {recipe.rate_at(step, 70) for step in range(70)} == {usual.learning_rate}


def test_keys_tell_levels_apart_and_normal_is_the_plain_training():
    plans = [plan("critters_cnn", "critters", given=t) for t in (None, FitLevel("over"), FitLevel("under"))]
    assert len({plan.path for plan in plans}) == 3
    assert plans[1].key_fields["task"] == {"name": "overfitted", "share": 0.1, "passes": 2}
    assert plans[1].recipe == plans[0].recipe
    with pytest.raises(XaibenchError, match="--fit under is one epoch, and the recipe has 3; leave out epochs"):
        plan("critters_cnn", "critters", given=FitLevel("under"), recipe={"epochs": 3})
    with pytest.raises(XaibenchError, match="--fit overfit is none of normal, over, under"):
        FitLevel("overfit")


@pytest.mark.slow
@pytest.mark.process
def test_commands(home, command):
    accuracies = {}
    for fit in ("normal", "over", "under"):
        words = ("--model", "tiny", "--dataset", "mini", "--device", "cpu", "--workers", "0", "--quiet")
        status, out, err = command("train", "classifier", *words, "--fit", fit, "--batch-size", "4")
        assert status == 0, err
        accuracies[fit] = out.splitlines()[0]
    assert accuracies["over"].startswith("accuracy on learnt images") and "accuracy" in accuracies["under"]
    status, _, err = command("train", "classifier", "--model", "tiny", "--dataset", "mini", "--fit", "much")
    assert (status, err.count("\n")) == (2, 1) and "--fit much is none of normal, over, under" in err
