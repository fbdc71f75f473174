"""Label smoothing is of cross entropy: with binary cross entropy it is not there, or an error, and never ignored."""

from __future__ import annotations

import pytest
import torch

from xaibench import registry
from xaibench.errors import XaibenchError
from xaibench.training.api import plan_training
from xaibench.training.classifier import label_loss
from xaibench.training.config import TrainingConfig
from xaibench.training.recipe import Recipe, recipe_for


def plan(model, dataset, given=None, **fields):
    """The training of a request; given: an object in the place of its task."""
    return plan_training(TrainingConfig(model=model, dataset=dataset, **fields), given)


BINARY = {"loss": "binary-cross-entropy"}


def test_smoothing_moves_a_share_of_each_label_to_all_classes():
    logits, labels = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 3, 1, 1, 2])
    truth = torch.eye(4)[labels] * 0.8 + 0.2 / 4
    expected = -(truth * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(label_loss(Recipe(label_smoothing=0.2), logits, labels), expected)


@pytest.mark.parametrize("model", ["resnet18", "bcos_resnet18", "bcos_critters_cnn"])
def test_binary_cross_entropy_leaves_out_that_of_the_data_set(model):
    assert registry.card("dataset", "critters").recipe["label_smoothing"] == 0.05
    recipe = plan(model, "critters", recipe=BINARY).recipe
    assert (recipe.loss, recipe.label_smoothing) == ("binary-cross-entropy", 0.0)
    plain = plan("resnet18", "critters").recipe
    assert (plain.loss, plain.label_smoothing) == ("cross-entropy", 0.05)


def test_cross_entropy_keeps_it_whatever_the_model_is_used_to():
    card = registry.card("model", "mnist_ml_cnn")
    data = registry.card("dataset", "critters")
    assert card.probability == "sigmoid" and recipe_for(card, data).label_smoothing == 0.0
    assert recipe_for(card, data, changes={"loss": "cross-entropy"}).label_smoothing == 0.05


def test_smoothing_that_is_asked_for_is_refused():
    words = (
        "^recipe of resnet18 on critters: label_smoothing is for cross entropy; with binary-cross-entropy set label_s"
    )
    with pytest.raises(XaibenchError, match=words) as caught:
        plan("resnet18", "critters", recipe=BINARY | {"label_smoothing": 0.1})
    assert "\n" not in str(caught.value)
    data = registry.card("dataset", "critters")
    said = data.model_copy(update={"recipe": data.recipe | BINARY})
    with pytest.raises(ValueError, match="label_smoothing is for cross entropy"):
        recipe_for(registry.card("model", "resnet18"), said)
