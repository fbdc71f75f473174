"""Attack gaps and responses by hand: true, random and attacking maps are compared on the same images."""

import math

import numpy as np
import pandas as pd
import pytest

from xaibench.judging.bench import NO_TRUTH
from xaibench.judging.figure import responses
from xaibench.judging.ladder import KINDS
from xaibench.judging.summary import Stored, attacks
from xaibench.protocols.base import OK

KIND = next(iter(KINDS))


@pytest.fixture
def stored():
    """Three images that were attacked and one that was not; `c` does not have the truth, and scores high for all."""
    true = {"a": (0.8, 0.5), "b": (0.6, 0.3), "c": (math.nan, math.nan), "d": (0.9, 0.1)}
    ladder = [
        ("ladder", "intervention", KIND, dose, image, value, NO_TRUTH if math.isnan(value) else OK)
        for image, values in true.items()
        for dose, value in zip((0.0, 1.0), values, strict=True)
    ]
    attacked = {"random": (0.1, 0.3, 5.0), "ones": (0.4, 0.4, 5.0), "centre": (0.3, 0.7, -5.0)}
    attack = [
        ("attack", "", name, math.nan, image, value, OK)
        for name, values in attacked.items()
        for image, value in zip("abc", values, strict=True)
    ]
    columns = ["what", "truth", "name", "dose", "image_id", "quality", "status"]
    return Stored("by-hand", {}, {"or": [pd.DataFrame(ladder + attack, columns=columns)]})


def test_gaps_are_of_images_that_have_the_truth_and_were_attacked(stored):
    true, random = (0.8 + 0.6) / 2, (0.1 + 0.3) / 2
    by_hand = {"ones": (true - 0.4) / (true - random), "centre": (true - 0.5) / (true - random)}
    assert attacks(stored, "intervention") == pytest.approx(by_hand)
    assert attacks(stored, "shapley") == {} or all(map(math.isnan, attacks(stored, "shapley").values()))


def test_responses_are_of_images_that_have_the_truth(stored):
    found = responses(stored, "intervention")
    assert list(found) == [KIND]
    chance, means = (0.1 + 0.3) / 2, np.array([(0.8 + 0.6 + 0.9) / 3, (0.5 + 0.3 + 0.1) / 3])
    assert np.allclose(found[KIND], np.stack([(means - chance) / (means[0] - chance), [0, 1]], 1))
