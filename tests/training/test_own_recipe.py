"""What a model's card says of its training: it counts from scratch, and leaves fine-tuning alone."""

from __future__ import annotations

import pytest

from xaibench import registry
from xaibench.cards import Alignment
from xaibench.training.api import plan_training
from xaibench.training.recipe import Recipe

CELLS = Alignment(grid=4, baseline="zero", probability=0.5)


@pytest.mark.parametrize("alignment", [None, CELLS])
def test_from_scratch_the_models_recipe_is_over_the_data_sets(alignment):
    card, data = registry.card("model", "x_resnet50"), registry.card("dataset", "critters")
    assert data.recipe["start"] == "scratch" and card.recipe["optimizer"] == "adamw"
    found = plan_training("x_resnet50", "critters", alignment, changes={"epochs": 1}).recipe
    assert found == Recipe(**data.recipe | card.recipe | {"epochs": 1})


def test_fine_tuning_is_the_papers_for_every_model(tmp_path):
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"any")
    for changes in ({}, {"learning_rate": 0.5}):
        found = plan_training("x_resnet50", "imagenet", CELLS, weights=str(weights), changes=changes).recipe
        assert found == Recipe(**changes)
    found = plan_training("x_resnet50", "imagenet", None, changes={"start": "scratch"}).recipe
    assert found.optimizer == "adamw" and plan_training("mnist_cnn", "mnist", None).recipe.start == "scratch"
