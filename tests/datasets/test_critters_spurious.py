"""The embedded data with a background that goes with the class in training and is independent of it in tests."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import binomtest

from xaibench import registry
from xaibench.datasets.critters import Critters
from xaibench.datasets.critters.scene import BACKGROUNDS
from xaibench.datasets.open import open_dataset

PARTS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def splits() -> dict[str, Critters]:
    card = registry.card("dataset", "critters-spurious")
    return {part: open_dataset(card, None, {}, part) for part in PARTS}


@pytest.mark.slow
@pytest.mark.process
def test_the_background_goes_with_the_class_in_training_only(splits):
    told = splits["train"].background_correlation
    assert told >= 0.5
    for part, chance in (("train", told + (1 - told) / 10), ("validation", 0.1), ("test", 0.1)):
        data = splits[part]
        groups = Counter(data.group(i) for i in data.ids)
        assert set(groups) == {"own-background", "other-background"}
        assert binomtest(groups["own-background"], len(data.ids), chance).pvalue > 0.001


def test_groups_are_what_the_annotations_say(splits):
    data = splits["test"]
    for image_id in data.ids[:60]:
        own = data.annotate(image_id).background == BACKGROUNDS[data.label(image_id)]
        assert data.group(image_id) == ("own-background" if own else "other-background")


def test_everything_but_the_background_is_that_of_critters(splits):
    """The creatures tell the class in the same way, so the background is a temptation, not a need."""
    plain = open_dataset(registry.card("dataset", "critters"), None, {"rule": splits["train"].rule}, "train")
    for image_id in plain.ids[:6]:
        one, other = splits["train"].annotate(image_id), plain.annotate(image_id)
        assert np.array_equal(one.instances, other.instances) and one.labels == other.labels
        inside = one.instances[0]
        mine, theirs = splits["train"].load(image_id).image, plain.load(image_id).image
        assert (np.abs(mine[inside].astype(int) - theirs[inside]).mean()) < 12, "rims are blended with the background"


def test_splits_have_no_scene_in_common_and_train_is_keyed_apart(splits):
    ids = [set(data.ids) for data in splits.values()]
    assert not ids[0] & ids[1] and not ids[1] & ids[2] and not ids[0] & ids[2]
    plain = registry.card("dataset", "critters")
    card = registry.card("dataset", "critters-spurious")
    assert card.geometry == plain.geometry and card.min_cam_grid == plain.min_cam_grid
    assert splits["train"].digest("train/000000") != open_dataset(plain, None, {}, "train").digest("train/000000")


@pytest.mark.slow
@pytest.mark.process
def test_groups_of_critters_without_correlation_are_by_chance():
    data = Critters("test", 2000)
    own = sum(data.group(i) == "own-background" for i in data.ids)
    assert binomtest(own, 2000, 0.1).pvalue > 0.001
    assert {Critters("test", 30, rule="background").group(f"test/{i:06d}") for i in range(30)} == {"own-background"}
