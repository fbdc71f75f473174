"""Schedules and recipes of plug-ins, and functions of the registry with options."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

import xaibench
from xaibench import registry
from xaibench.errors import XaibenchError
from xaibench.plugins import load_plugin
from xaibench.training.api import plan_training
from xaibench.training.config import TrainingConfig
from xaibench.training.recipe import Recipe, expand_recipe
from xaibench.training.registered import find_function
from xaibench.training.schedules import Progress

DECAY = """
import xaibench

@xaibench.schedule("decay", power=2)
def decay(progress, power):
    return (1 - progress.fraction) ** power
"""


@pytest.fixture
def decay(tmp_path):
    """The plug-in schedule `decay`, and its file."""
    path = tmp_path / "decay.py"
    path.write_text(DECAY)
    load_plugin(path)
    return path


@pytest.fixture
def mild():
    """The named recipe `mild`."""

    @xaibench.recipe("mild")
    def mild():
        """A few epochs, lowered after the second."""
        return {"epochs": 4, "learning_rate": 0.02, "schedule": "step", "milestones": [2]}

    return mild


def planned(recipe):
    return plan_training(TrainingConfig(model="resnet18", dataset="critters", recipe=recipe))


def test_progress_by_hand():
    """Eight epochs of four steps, the first three of them of the head: step 17 is in the fifth epoch."""
    progress = Progress(step=17, steps=32, epochs=8, head_epochs=3)
    assert (progress.fraction, progress.epoch, progress.stage_epoch) == (17 / 32, 4, 1)
    assert Progress(11, 32, 8, 3).stage_epoch == 2 and Progress(12, 32, 8, 3).stage_epoch == 0


def test_a_plugged_in_schedule_gives_the_rates_and_is_in_the_key(decay):
    recipe = Recipe(schedule="decay", learning_rate=0.5, schedule_options={"power": 3})
    assert [recipe.rate_at(step, 4) for step in range(4)] == pytest.approx([0.5 * (1 - k / 4) ** 3 for k in range(4)])
    source = registry.card("schedule", "decay").source
    assert recipe.key_fields == Recipe(learning_rate=0.5).key_fields | {
        "schedule": "decay", "schedule_source": source, "schedule_options": {"power": 3},
    }  # fmt: skip
    assert Recipe(schedule="decay").key_fields["schedule_options"] == {"power": 2}, "defaults are in the key"
    decay.write_text(DECAY + "# edited\n")
    load_plugin(decay)
    assert Recipe(schedule="decay").key_fields["schedule_source"] != source


@pytest.mark.parametrize("name", registry.names("schedule"))
def test_keys_of_shipped_schedules_hold_the_name_alone(name):
    assert Recipe(schedule=name).key_fields == Recipe().key_fields | {"schedule": name}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"schedule": "decy"}, "unknown schedule 'decy'; did you mean decay"),
        ({"schedule": "decay", "schedule_options": {"powr": 1}}, "no option 'powr'; did you mean power"),
        ({"schedule": "one-cycle", "schedule_options": {"warmup": 0.1}}, "fields of the recipe"),
    ],
)
def test_mistakes_in_a_schedule_name_what_there_is(fields, message, decay):
    with pytest.raises(ValidationError, match=message):
        Recipe(**fields)


def test_fields_beside_a_named_recipe_replace_its_own(mild):
    assert expand_recipe({"base": "mild", "epochs": 9}) == mild() | {"epochs": 9}
    assert expand_recipe({"base": "mild", "schedule": "cosine"}).keys() == mild().keys() - {"milestones"}
    assert expand_recipe({"epochs": 9}) == {"epochs": 9}
    named = planned({"base": "mild", "learning_rate": 0.5})
    given = planned(mild() | {"learning_rate": 0.5})
    assert named.recipe == given.recipe and named.recipe.learning_rate == 0.5 and named.path == given.path
    with pytest.raises(XaibenchError, match="unknown recipe 'mld'; did you mean mild"):
        planned({"base": "mld"})


@pytest.mark.parametrize("name", registry.names("recipe"))
def test_named_recipes_that_ship_are_recipes(name):
    fields = registry.card("recipe", name).fields
    assert Recipe.model_validate(fields).model_dump(include=set(fields)) == fields


def test_a_function_needs_its_parameters_and_has_no_others():
    xaibench.schedule("bare")(lambda progress, power: power)
    assert find_function("schedule", "bare", {"power": 2})(None) == 2
    with pytest.raises(XaibenchError, match="missing a required argument: 'power'"):
        find_function("schedule", "bare")
    with pytest.raises(XaibenchError, match="schedule bare has no option 'base'; it has power"):
        find_function("schedule", "bare", {"base": 2})
    xaibench.schedule("open")(lambda progress, **anything: sorted(anything))
    assert find_function("schedule", "open", {"b": 1, "a": 2})(None) == ["a", "b"]
