"""What a model's card says of its training: it counts from scratch, and leaves fine-tuning alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from xaibench import registry
from xaibench.cards import Alignment
from xaibench.errors import XaibenchError
from xaibench.training.api import plan_training
from xaibench.training.config import TrainingConfig
from xaibench.training.recipe import Recipe
from xaibench.training.tasks import alignment_fields


def plan(model, dataset, given=None, **fields):
    """The training of a request; given: an object in the place of its task."""
    return plan_training(TrainingConfig(model=model, dataset=dataset, **fields), given)


CELLS = Alignment(grid=4, baseline="zero", probability=0.5)


@pytest.mark.parametrize("alignment", [None, CELLS])
def test_from_scratch_the_models_recipe_is_over_the_data_sets(alignment):
    card, data = registry.card("model", "x_resnet50"), registry.card("dataset", "critters")
    assert data.recipe["start"] == "scratch" and card.recipe["optimizer"] == "adamw"
    found = plan("x_resnet50", "critters", **alignment_fields(alignment), recipe={"epochs": 1}).recipe
    assert found == Recipe(**data.recipe | card.recipe | {"epochs": 1})


def test_fine_tuning_is_the_papers_for_every_model(tmp_path):
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"any")
    for changes in ({}, {"learning_rate": 0.5}):
        found = plan("x_resnet50", "imagenet", **alignment_fields(CELLS), weights=str(weights), recipe=changes).recipe
        assert found == Recipe(**changes)
    found = plan("x_resnet50", "imagenet", recipe={"start": "scratch"}).recipe
    assert found.optimizer == "adamw" and plan("mnist_cnn", "mnist").recipe.start == "scratch"


SEVERAL = ["voc2007", "voc2012", "coco2014", "coco2017", "coco-json", "mnist-ml"]


@pytest.mark.parametrize("name", registry.names("dataset"))
def test_data_sets_with_several_labels_an_image_are_learnt_with_all_of_them(name):
    recipe = plan("resnet18", name, recipe={"start": "scratch"}).recipe
    several = ("several", "binary-cross-entropy") if name in SEVERAL else ("single", "cross-entropy")
    assert (recipe.labels, recipe.loss) == several
    alone = plan("resnet18", name, recipe={"start": "scratch", "labels": "single"}).recipe
    assert (alone.labels, alone.loss) == ("single", "cross-entropy")


def test_what_no_recipe_can_be_is_one_line():
    for changes, words in (
        (
            {"loss": "cross-entropy"},
            "resnet18 on voc2007: labels=several needs loss=binary-cross-entropy; or learn one",
        ),
        ({"epochs": 0}, "resnet18 on voc2007: epochs: Input should be greater"),
        ({"lamda": 0}, "resnet18 on voc2007: it has no field 'lamda'; it has start"),
        ({"epoch": 1}, "resnet18 on voc2007: it has no field 'epoch'; did you mean epochs"),
    ):
        with pytest.raises(XaibenchError, match=words):
            plan("resnet18", "voc2007", recipe={"start": "scratch"} | changes)


@dataclass(frozen=True)
class Slow:
    """A task that is usually trained at a low rate."""

    name: str = "slow"
    key_fields: ClassVar = {}
    recipe: ClassVar = {"learning_rate": 0.0001, "epochs": 3}


def test_what_is_usual_for_a_task_counts_more_than_cards_and_less_than_changes():
    training = plan("x_resnet50", "critters", given=Slow(), recipe={"epochs": 1})
    usual = plan("x_resnet50", "critters", recipe={"epochs": 1})
    assert training.recipe == usual.recipe.model_copy(update={"learning_rate": 0.0001})
    assert training.key_fields["task"] == {"name": "slow"} and "-slow-" in str(training.path)
    assert training.path != usual.path
