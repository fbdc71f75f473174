"""Recipes: the paper's numbers, and learning rates against torch's schedules."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR, StepLR

from xaibench import registry
from xaibench.training.recipe import Recipe
from xaibench.training.steps import make_optimizer


def test_the_default_is_the_papers():
    recipe = Recipe()
    assert (recipe.learning_rate, recipe.momentum, recipe.weight_decay) == (0.001, 0.9, 1e-4)
    assert (recipe.epochs, recipe.batch_size, recipe.step_epochs, recipe.step_factor) == (30, 256, 10, 0.1)
    assert (recipe.start, recipe.schedule, recipe.augmentation) == ("plain", "step", "crop-flip")
    assert (recipe.loss, recipe.nesterov, recipe.label_smoothing) == ("cross-entropy", False, 0.0)


@pytest.mark.parametrize(
    ("epochs", "step_epochs", "factor", "per_epoch"), [(30, 10, 0.1, 7), (5, 2, 0.5, 3), (3, 1, 0.3, 1)]
)
def test_steps_are_those_of_torchs_schedule(epochs, step_epochs, factor, per_epoch):
    recipe = Recipe(epochs=epochs, step_epochs=step_epochs, step_factor=factor, learning_rate=0.2)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.2)
    schedule = StepLR(optimiser, step_epochs, factor)
    step = 0
    for _ in range(epochs):
        for _ in range(per_epoch):
            assert recipe.rate_at(step, epochs * per_epoch) == pytest.approx(optimiser.param_groups[0]["lr"])
            step += 1
        optimiser.step()
        schedule.step()


def test_milestones_are_counted_in_each_stage():
    """Three epochs of the head and five of all layers, lowered after one and two epochs of each."""
    recipe = Recipe(epochs=8, head_epochs=3, milestones=[1, 2], step_factor=0.5, learning_rate=0.8)
    by_hand = [0.8, 0.4, 0.2, 0.8, 0.4, 0.2, 0.2, 0.2]
    for per_epoch in (1, 7):
        rates = [recipe.rate_at(step, 8 * per_epoch) for step in range(8 * per_epoch)]
        assert rates == pytest.approx([rate for rate in by_hand for _ in range(per_epoch)])
    steps = Recipe(epochs=8, head_epochs=3, step_epochs=2, step_factor=0.5, learning_rate=0.8)
    assert [steps.rate_at(e, 8) for e in range(8)] == pytest.approx([0.8, 0.8, 0.4, 0.8, 0.8, 0.4, 0.4, 0.2])


def test_obeys_rates_are_its_papers():
    """Ten epochs of the head and ten of all layers at 1e-3, times 0.1 after the fourth and the sixth of each."""
    recipe = Recipe(epochs=20, head_epochs=10, milestones=(4, 6), optimizer="adam", learning_rate=1e-3)
    stage = [1e-3] * 4 + [1e-4] * 2 + [1e-5] * 4
    assert [recipe.rate_at(epoch, 20) for epoch in range(20)] == pytest.approx(stage + stage)


@pytest.mark.parametrize("milestones", [(1,), (2, 3), (1, 4, 30)])
def test_milestones_of_one_stage_are_torchs(milestones):
    recipe = Recipe(epochs=5, milestones=milestones, learning_rate=0.2, step_factor=0.3)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.2)
    schedule = MultiStepLR(optimiser, milestones, 0.3)
    for epoch in range(5):
        assert recipe.rate_at(3 * epoch + 2, 15) == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()


def test_one_cycle_by_hand():
    """100 steps, 30 of them warming up: a cosine from 4 % to the peak, then a cosine to zero."""
    recipe = Recipe(schedule="one-cycle", learning_rate=0.5)
    by_hand = {
        0: 0.02,
        15: 0.5 * (0.04 + 0.96 / 2),
        30: 0.5,
        65: 0.25,
        99: 0.25 * (1 + math.cos(math.pi * 69 / 70)),
    }
    assert {step: recipe.rate_at(step, 100) for step in by_hand} == pytest.approx(by_hand)


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.3, 0.9])
@pytest.mark.parametrize("steps", [1, 2, 17, 200])
def test_one_cycle_rises_to_the_peak_and_falls_without_ever_being_zero(warmup, steps):
    recipe = Recipe(schedule="one-cycle", learning_rate=0.1, warmup=warmup)
    rates = [recipe.rate_at(step, steps) for step in range(steps)]
    assert all(0 < rate <= 0.1 + 1e-12 for rate in rates)
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1]) and rates[peak:] == sorted(rates[peak:], reverse=True)
    assert abs(peak - warmup * steps) <= 1
    if steps == 200:
        assert rates[peak] > 0.099 and rates[-1] < 0.01


def test_further_schedules_are_their_formulas():
    steps, eta = 40, 0.3
    rates = {
        name: [Recipe(schedule=name, learning_rate=eta).rate_at(k, steps) for k in range(steps)]
        for name in ("constant", "cosine", "lico")
    }
    assert rates["constant"] == [eta] * steps
    assert rates["lico"] == pytest.approx([eta * math.cos(7 * math.pi * k / (16 * steps)) for k in range(steps)])
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=eta)
    schedule = CosineAnnealingLR(optimiser, steps)
    for rate in rates["cosine"]:
        assert rate == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0), "to zero, after the last step"


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_optimizers_are_torchs_with_the_recipes_numbers(optimizer):
    """Three steps on a line, at the rates of the recipe, against torch's own update rules written out."""
    recipe = Recipe(optimizer=optimizer, learning_rate=0.1, momentum=0.5, weight_decay=0.2)
    net = torch.nn.Linear(1, 1, bias=False)
    weight, speed, first, second = net.weight.item(), 0.0, 0.0, 0.0
    made = make_optimizer(net, recipe)
    for step in range(1, 4):
        made.zero_grad()
        (net.weight * step).sum().backward()
        made.step()
        if optimizer == "sgd":
            speed = 0.5 * speed + step + 0.2 * weight
            weight -= 0.1 * speed
        else:
            slope = step + (0.2 * weight if optimizer == "adam" else 0)  # decay within the moments, or beside them
            first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
            weight -= 0.1 * 0.2 * weight if optimizer == "adamw" else 0
            weight -= 0.1 * (first / (1 - 0.9**step)) / (math.sqrt(second / (1 - 0.999**step)) + 1e-8)
        assert net.weight.item() == pytest.approx(weight, rel=1e-5)


def test_facts_of_the_papers_recipe_are_as_they_were_when_trainings_were_first_keyed():
    assert Recipe().key_fields == {
        "start": "plain", "epochs": 30, "batch_size": 256, "learning_rate": 0.001, "momentum": 0.9, "nesterov": False,
        "weight_decay": 1e-4, "schedule": "step", "step_epochs": 10, "step_factor": 0.1, "warmup": 0.3,
        "label_smoothing": 0.0, "loss": "cross-entropy", "augmentation": "crop-flip",
    }  # fmt: skip


@pytest.mark.parametrize(
    "field",
    [
        {"optimizer": "adamw"},
        {"optimizer": "adam"},
        {"gradient_clip": 0.5},
        {"accumulation": 4},
        {"class_weights": True},
        {"labels": "several", "loss": "binary-cross-entropy"},
        {"head_epochs": 10},
        {"milestones": [4, 6]},
        {"start": "transfer"},
    ],
)
def test_later_fields_are_facts_where_they_are_not_as_usual(field):
    assert Recipe(**field).key_fields == Recipe().key_fields | field


@pytest.mark.parametrize("name", [n for n in registry.names("model") if registry.card("model", n).recipe])
def test_recipes_of_models_are_recipes_on_the_embedded_data(name):
    card = registry.card("model", name)
    recipe = Recipe.model_validate(registry.card("dataset", "critters").recipe | card.recipe)
    assert recipe.start == "scratch" and {key: getattr(recipe, key) for key in card.recipe} == card.recipe


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"learning_rate": 0},
        {"momentum": 1},
        {"warmup": 1},
        {"schedule": "linear"},
        {"epoch": 3},
        {"optimizer": "lion"},
        {"gradient_clip": 0},
        {"accumulation": 0},
        {"labels": "several"},
        {"head_epochs": 31},
        {"milestones": [0]},
        {"milestones": [4, 4]},
        {"milestones": [6, 4]},
        {"milestones": "4,6"},
        {"milestones": 4},
        {"milestones": [4], "schedule": "one-cycle"},
        {"start": "imagenet"},
        {"class_weights": True, "labels": "several", "loss": "binary-cross-entropy"},
    ],
)
def test_impossible_recipes_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Recipe(**wrong)


@pytest.mark.parametrize("name", ["critters", "imagenet", "imagefolder"])
def test_recipes_of_data_sets_are_recipes(name):
    recipe = Recipe.model_validate(registry.card("dataset", name).recipe)
    assert (recipe == Recipe()) == (name != "critters")
