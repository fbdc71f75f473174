"""Settled orders: small lists by hand, exact error rates over all orders, ties, margins and undefined references."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from xaibench.analysis.settled import EXHAUSTED, NOT_SETTLED, OPEN, SETTLED, number_of_tests, settle

BEST, SECOND, THIRD = 0.9, 0.5, 0.1


def table(images, **scores):
    """Every image has the same scores, so the order is clear."""
    return pd.DataFrame({name: np.full(images, score) for name, score in scores.items()})


def found(scores, listed, **changes):
    settings = {"reach": 1.0, "higher": True, "first": scores.shape[1], "confidence": 0.95}
    return settle(scores, listed, **(settings | changes))


def test_a_clear_order_is_settled_before_the_list_ends():
    some = table(40, b=SECOND, a=BEST, c=THIRD)
    one = found(some, 100)
    assert one.outcome == SETTLED and one.order == ("a", "b", "c") and one.pairs == 3 and not one.undecided
    assert (one.seen, one.listed, one.counted) == (40, 100, 40)
    assert found(some[:4], 100).outcome == OPEN


def test_the_images_needed_are_those_of_the_formula():
    """Two methods 0.4 apart: the whole wealth grows by 1 + 0.4 / (1 - what is left) at each image; see the paper."""
    wealth = np.ones(5)
    shares = np.array([1, 1 / 2, 1 / 4, 1 / 8, 1 / 16])
    for place in range(100):
        left = 1 - 0.4 * place / (100 - place)
        wealth *= 1 - shares + shares * (0.4 + 1) / left
        if wealth.mean() >= 2 / 0.05:  # K - 1 + k tests, k at most K - 1
            break
    needed = place + 1
    some = table(100, a=BEST, b=SECOND)
    assert found(some[:needed], 100).outcome == SETTLED and found(some[: needed - 1], 100).outcome == OPEN


def test_lower_scores_can_be_better():
    assert found(table(40, a=BEST, b=THIRD), 80, higher=False).order == ("b", "a")


def test_the_whole_list_is_known_without_a_test():
    few = pd.DataFrame({"a": [0.5, 0.5], "b": [0.5, 0.49], "c": [0.0, 1.0]})
    one = found(few, 2, first=1)
    assert one.outcome == NOT_SETTLED and one.undecided == (("a", "c", 0.0),)
    assert found(few, 3, first=1).outcome == OPEN
    assert found(few[["a", "b"]], 2).outcome == EXHAUSTED
    with_margin = found(few, 2, margin=0.5)
    assert with_margin.outcome == EXHAUSTED and with_margin.equivalent == (("a", "c"),)  # the others are apart


def test_identical_methods_are_settled_by_a_margin_alone():
    same = table(300, a=BEST, b=BEST)
    assert found(same, 400).outcome == OPEN
    one = found(same, 400, margin=0.05)
    assert one.outcome == SETTLED and one.equivalent == (("a", "b"),)
    assert found(same[:20], 400, margin=0.05).outcome == OPEN


def test_equivalent_methods_are_so_in_both_directions():
    for seen in range(1, 40):
        one = found(table(seen, a=BEST, b=SECOND), 40, margin=0.1)
        assert not one.equivalent  # not even while they are not told apart


def test_the_images_that_equivalence_needs_are_those_of_the_formula():
    """Of two identical methods: 0.2 above the lowest difference that the margin leaves, 1 - 0.2 below it."""
    wealth, shares = np.ones(5), np.array([1, 1 / 2, 1 / 4, 1 / 8, 1 / 16])
    for place in range(200):
        left = (1 - 0.2) - 0.2 * place / (200 - place)
        wealth *= 1 - shares + shares * 1 / left
        if wealth.mean() >= 2 / 0.05:  # K (K - 1) sides
            break
    same = table(200, a=BEST, b=BEST)
    assert found(same[: place + 1], 200, margin=0.2).outcome == SETTLED
    assert found(same[:place], 200, margin=0.2).outcome == OPEN


def test_only_pairs_with_one_of_the_first_places_are_asked_for():
    some = table(300, a=BEST, b=SECOND, c=THIRD, d=THIRD)
    assert found(some, 400, first=2).outcome == SETTLED and found(some, 400, first=2).pairs == 5
    rest = found(some, 400)
    assert rest.outcome == OPEN and rest.undecided == (("c", "d", 0.0),) and rest.pairs == 6


def test_how_many_tests_are_paid_for():
    asked = ((8, 3, None), (8, 8, None), (2, 1, None), (8, 3, 0.1))
    assert [number_of_tests(*what) for what in asked] == [10, 14, 2, 56]


def test_images_without_a_reference_count_for_nobody():
    some = table(60, a=BEST, b=SECOND)
    holes = some.copy()
    holes.iloc[::2] = np.nan
    one = found(holes, 100)
    assert one.counted == 30 and one.order == ("a", "b")
    fewest = next(seen for seen in range(1, 61) if found(some[:seen], 100).outcome == SETTLED)
    later = next(seen for seen in range(1, 61) if found(holes[:seen], 100).outcome == SETTLED)
    assert later > fewest
    nothing = pd.DataFrame(np.nan, index=range(5), columns=["a", "b"])
    assert found(nothing, 5).outcome == NOT_SETTLED and found(nothing, 9).outcome == OPEN
    assert found(nothing, 9, margin=0.1).outcome == OPEN
    partly = some.copy()
    partly.iloc[3, 0] = np.nan
    with pytest.raises(ValueError, match="some methods"):
        found(partly, 100)


def test_a_method_that_fell_behind_later_is_open_again():
    """It was better beyond doubt when few images were seen; the order that is reported is that of all images so far."""
    start, end = table(30, a=1.0, b=0.0), table(35, a=0.0, b=1.0)
    both = pd.concat([start, end], ignore_index=True)
    assert found(start, 80).outcome == SETTLED
    assert found(both, 80).order == ("b", "a") and found(both, 80).outcome == OPEN


def orders(kinds):
    """All different orders of a list of images of some kinds, given as {scores of the methods: how many}."""
    images = [kind for kind, count in kinds.items() for _ in range(count)]
    return [np.array(order) for order in sorted(set(itertools.permutations(images)))]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kinds", "confidence"),
    [
        ({(1, 0): 4, (0, 1): 4}, 0.5),  # an exact tie
        ({(1, 0): 4, (0, 1): 4}, 0.8),
        ({(1, 0): 3, (0, 1): 5}, 0.5),
        ({(1, 0, 0): 3, (0, 1, 0): 2, (0, 0, 1): 2}, 0.5),
        ({(1, 0.5, 0): 4, (0, 0.5, 1): 3}, 0.4),
        ({(1, 0): 3, (0, 1): 3, (np.nan, np.nan): 1}, 0.5),
    ],
)
def test_reports_are_wrong_in_no_more_orders_than_the_confidence_allows(kinds, confidence):
    """Exact, not simulated: every order of a small list, looked at after every image."""
    every = orders(kinds)
    means = np.nanmean(every[0], axis=0)
    wrong = 0
    for order in every:
        names = list("abc")[: order.shape[1]]
        frame = pd.DataFrame(order, columns=names)
        for seen in range(1, len(order)):
            one = found(frame[:seen], len(order), confidence=confidence)
            if one.outcome == SETTLED:
                placed = [means[names.index(name)] for name in one.order]
                wrong += not all(a > b for a, b in itertools.pairwise(placed))
                break
    assert wrong / len(every) <= 1 - confidence + 1e-12
