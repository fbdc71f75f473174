"""Simulation: how often a settled order is wrong, over random orders of finite lists whose true order is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xaibench.analysis.settled import OPEN, SETTLED, settle

pytestmark = pytest.mark.slow


def close_means(rng, listed, methods):
    """Scores around means a few hundredths apart, with noise that methods share."""
    shared = rng.normal(0, 0.2, (listed, 1))
    return np.clip(0.5 + np.linspace(0, 0.2, methods) + shared + rng.normal(0, 0.1, (listed, methods)), 0, 1)


def skewed(rng, listed, methods):
    """Scores near 1 with a long tail below, as those of rank correlations."""
    return 1 - rng.beta(0.8, 6 - np.linspace(0, 4, methods), (listed, methods))


def two_valued(rng, listed, methods):
    """Hits and misses, as those of the pointing game."""
    return (rng.random((listed, methods)) < np.linspace(0.3, 0.9, methods)).astype(float)


def exact_ties(rng, listed, methods):
    """Pairs of methods with exactly the same mean and other scores: one has those of the other on other images."""
    first = two_valued(rng, listed, -(-methods // 2))
    others = first[rng.permutation(listed)]
    return np.concatenate([first, others], axis=1)[:, :methods]


def rare_falls(rng, listed, methods):
    """The better a method on most images, the lower it falls on a few, which decide."""
    scores = np.full((listed, methods), 0.5) + np.linspace(0, 0.1, methods)
    scores[: max(1, listed // 8)] = np.linspace(1, 0, methods)
    return scores[rng.permutation(listed)]


def undefined(rng, listed, methods):
    """Close means, with a third of the references undefined."""
    scores = close_means(rng, listed, methods)
    scores[rng.random(listed) < 1 / 3] = np.nan
    return scores


def wrong(found, means, margin):
    """Whether a report holds anything that is not true of the means."""
    first = [found.order.index(name) for name in found.order[: found.first]]
    for place in first:
        better = found.order[place]
        for other in found.order[place + 1 :]:
            gap = means[better] - means[other]
            equal = (better, other) in found.equivalent
            if (equal and abs(gap) > margin + 1e-12) or (not equal and gap <= 1e-12):
                return True
    return False


CASES = [
    (case, listed, methods, first, margin)
    for case in (close_means, skewed, two_valued, exact_ties, rare_falls, undefined)
    for listed, methods, first, margin in (
        (16, 3, 3, None), (64, 2, 2, None), (64, 6, 3, None), (64, 6, 6, 0.1), (250, 12, 3, None), (250, 3, 3, 0.02),
        (500, 24, 3, None),
    )
]  # fmt: skip


def until(settled, table, rng):
    """The first report that `settled(order, listed)` gives on a random order of the list, None for none before its
    end."""
    order = table.iloc[rng.permutation(len(table))]
    looks = range(8, len(table), max(8, len(table) // 16))
    found = (settled(order[:seen], len(table)) for seen in looks)
    return next((one for one in found if one.outcome == SETTLED), None)


def error_rate(case, listed, methods, margin, repetitions, settled):
    """The share of orders with a wrong report at any look, and with any report before the list ended."""
    rng = np.random.default_rng(7)
    names = [f"m{number:02d}" for number in rng.permutation(methods)]  # ties are broken by name, not by quality
    errors = early = 0
    for number in range(repetitions):
        if number % 25 == 0:
            table = pd.DataFrame(case(rng, listed, methods), columns=names)
        found = until(settled, table, rng)
        early += found is not None
        errors += found is not None and wrong(found, table.mean(), margin or 0.0)
    return errors / repetitions, early / repetitions


@pytest.mark.parametrize(("case", "listed", "methods", "first", "margin"), CASES)
@pytest.mark.parametrize("confidence", [0.95, 0.5])
def test_settled_orders_are_wrong_at_most_at_the_stated_rate(case, listed, methods, first, margin, confidence):
    repetitions = 50 if methods == 24 else 200

    def settled(order, listed):
        return settle(order, listed, reach=1.0, higher=True, first=first, confidence=confidence, margin=margin)

    errors, early = error_rate(case, listed, methods, margin, repetitions, settled)
    print(f"{case.__name__} N={listed} K={methods} first={first} margin={margin} at {confidence}: "
          f"wrong {errors:.3f}, settled early {early:.2f}")  # fmt: skip
    allowed = 1 - confidence
    assert errors <= allowed + 3 * np.sqrt(allowed * (1 - allowed) / repetitions)


@dataclass
class Report:
    outcome: str
    order: tuple
    first: int
    equivalent: tuple = ()


@pytest.mark.filterwarnings("ignore:Precision loss")
def test_the_simulation_sees_that_ordinary_intervals_fail_when_looked_at_again():
    """Paired t-intervals of 95 % at each look, in place of confidence sequences: so the limits above can be missed."""

    def settled(order, listed):
        first, second = sorted(order.columns, key=lambda name: -order[name].mean())
        p = stats.ttest_rel(order[first], order[second]).pvalue
        return Report(SETTLED if p < 0.05 else OPEN, (first, second), 2)

    errors, _ = error_rate(rare_falls, 64, 2, None, 200, settled)
    print(f"rare_falls N=64 K=2: paired t-intervals at each look are wrong in {errors:.2f}")
    assert errors > 0.2
