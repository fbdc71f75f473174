"""How often intervals and rank sets hold, by simulation with known truth. Each test prints its rows of
`docs/statistics.md`; run with `-m slow -s`.

An interval that is not given counts as holding, since it states nothing. Limits of means have no room for the
Monte-Carlo error (.0024 for 10000 repetitions); others have three standard errors of the rate at the limit.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from xaibench.analysis.changes import change_intervals
from xaibench.analysis.correlation import _interval
from xaibench.analysis.intervals import mean_intervals
from xaibench.analysis.rank_sets import rank_sets, surely_better

pytestmark = pytest.mark.slow
IMAGES = (8, 16, 32, 64)
ROUNDS, METHODS = 250, 40  # repetitions are methods of one call, which share resamples
SKEWED = 1 - 2 * 0.8 / 6.8  # the mean of `skewed`


def skewed(rng, *shape):
    """Scores like Spearman's correlation near 1."""
    return 1 - 2 * rng.beta(0.8, 6, shape)


def undefined(rng, share, *shape):
    """Skewed scores, of which a share is undefined and counts 0."""
    return np.where(rng.random(shape) < share, 0.0, skewed(rng, *shape))


# name: (range, true mean, draws)
MEANS = {
    "skewed, 1 - 2 Beta(.8, 6)": ((-1, 1), SKEWED, skewed),
    "symmetric, Beta(8, 8)": ((0, 1), 0.5, lambda rng, *shape: rng.beta(8, 8, shape)),
    "a long tail, Beta(.5, 20)": ((0, 1), 0.5 / 20.5, lambda rng, *shape: rng.beta(0.5, 20, shape)),
    "five values": ((0, 1), 0.5, lambda rng, *shape: rng.integers(0, 5, shape) / 4),
    "hits, 50 %": ((0, 1), 0.5, lambda rng, *shape: (rng.random(shape) < 0.5) * 1.0),
    "hits, 80 %": ((0, 1), 0.8, lambda rng, *shape: (rng.random(shape) < 0.8) * 1.0),
    "hits, 95 %": ((0, 1), 0.95, lambda rng, *shape: (rng.random(shape) < 0.95) * 1.0),
    "skewed, 30 % undefined": ((-1, 1), 0.7 * SKEWED, lambda rng, *shape: undefined(rng, 0.3, *shape)),
    "skewed, 70 % undefined": ((-1, 1), 0.3 * SKEWED, lambda rng, *shape: undefined(rng, 0.7, *shape)),
    "one value, 10 % others": (
        (0, 1), 0.68, lambda rng, *shape: np.where(rng.random(shape) < 0.1, rng.random(shape), 0.7),
    ),
    "skewed, no range known": (None, SKEWED, skewed),
    "hits, 95 %, no range known": (None, 0.95, lambda rng, *shape: (rng.random(shape) < 0.95) * 1.0),
}  # fmt: skip


def report(name, rates, extra=""):
    print(f"| {name} | {' | '.join(f'{rate:.3f}' for rate in rates)} |{extra}")


def at_least(limit, repetitions):
    return limit - 3 * np.sqrt(limit * (1 - limit) / repetitions)


@pytest.mark.parametrize("name", MEANS)
def test_intervals_of_means(name):
    bounds, truth, draw = MEANS[name]
    rng = np.random.default_rng(1)
    rates = [held(images, truth, lambda n: (draw(rng, n, METHODS), None, bounds)) for images in IMAGES]
    report(name, rates)
    require_limits(rates)


@pytest.mark.parametrize(("name", "spread"), [("exponential", 0.0), ("log-normal", 1.0)])
def test_tails_without_an_end(name, spread):
    """Of an exponential distribution means hold; of a log-normal one, whose skewness is 6.2, none holds: see `docs`."""
    rng = np.random.default_rng(8)
    draw = rng.exponential if not spread else rng.lognormal
    rates = [held(n, np.exp(spread / 2), lambda n: (draw(size=(n, METHODS)), None, None)) for n in IMAGES]
    report(f"{name}, no range known", rates)
    if spread:
        assert rates[0] > 0.9 and rates == sorted(rates) and rates[-1] < 0.94
    else:
        require_limits(rates)


def held(images, truth, draw):
    """How often the intervals of means of draw(images), the arguments of `mean_intervals`, have the truth inside."""
    found = [mean_intervals(*draw(images), 1000, number) for number in range(ROUNDS)]
    inside = [(~(low > truth + 1e-9) & ~(high < truth - 1e-9)).mean() for low, high in found]
    return float(np.mean(inside))


def require_limits(rates):
    """At least .93 at 8 images and .94 from 16 on."""
    assert rates[0] >= 0.93 and min(rates[1:]) >= 0.94, rates


def test_intervals_of_means_over_rows_of_images():
    """Breakdowns: one to four rows an image, which are alike; images are drawn with all their rows."""
    rng = np.random.default_rng(5)

    def draw(images):
        rows, image = rng.integers(1, 5, images), skewed(rng, images, METHODS)
        parts = [0.7 * image + 0.3 * skewed(rng, images, METHODS) for _ in range(4)]
        sums = sum(np.where(rows[:, None] > number, part, 0) for number, part in enumerate(parts))
        return sums, rows.astype(float), (-1, 1)

    rates = [held(images, SKEWED, draw) for images in IMAGES]
    report("means over 1 to 4 rows an image", rates)
    require_limits(rates)


@pytest.mark.parametrize("r", [0.0, 0.6, 0.95])
def test_intervals_of_correlations(r):
    rng = np.random.default_rng(6)
    repetitions, rates = 2000, []
    for images in IMAGES:
        inside = 0
        for number in range(repetitions):
            x, noise = rng.normal(size=(2, images))
            rows = pd.DataFrame({"x": x, "y": r * x + np.sqrt(1 - r**2) * noise, "image_id": range(images)})
            low, high, _ = _interval(rows, tuple(range(images)), 500, number)
            inside += low <= r <= high
        rates.append(inside / repetitions)
    report(f"correlation of {r:g}", rates)
    assert min(rates) >= 0.94


def close(rng, images):
    """Twelve methods with means .50 to .53 and paired noise .15."""
    means = np.linspace(0.5, 0.53, 12)
    return means + 0.2 * rng.normal(size=(images, 1)) + 0.15 / np.sqrt(2) * rng.normal(size=(images, 12)), means


def spread(rng, images):
    """Twelve methods with means .3 to .9, noise as of `close`."""
    scores, means = close(rng, images)
    far = np.linspace(0.3, 0.9, 12)
    return scores + far - means, far


def equal_skewed(rng, images):
    return skewed(rng, images, 12), np.zeros(12)


def skewed_and_narrow(rng, images):
    """Half of the methods are skewed, half hardly vary, all with one mean: differences are skewed."""
    return np.hstack([skewed(rng, images, 6), SKEWED + 0.03 * rng.normal(size=(images, 6))]), np.zeros(12)


def undefined_for_one(rng, images):
    """The map of one method is undefined on half of the images, and good on the others."""
    good = SKEWED / 2 + 0.3 * (skewed(rng, images, 11) - SKEWED)
    return np.hstack([good, undefined(rng, 0.5, images, 1)]), np.zeros(12)


def rare_differences(rng, images):
    """Methods that are equal but on 11 % of the images: .1 better on nine in ten of these, .9 worse on the tenth."""
    scores = np.repeat(skewed(rng, images, 1), 12, axis=1)
    drawn = rng.random((images, 12))
    return scores + np.where(drawn < 0.1, 0.1, np.where(drawn < 0.1 + 0.1 / 9, -0.9, 0)), np.zeros(12)


def twins(rng, images):
    """Six pairs of methods; both of a pair are identical, and pairs have the same mean."""
    return np.repeat(skewed(rng, images, 6), 2, axis=1), np.zeros(12)


def hits(rng, images):
    """Pointing games: six methods that hit on 90 %, six that hit on 80 % of the images."""
    means = np.repeat([0.9, 0.8], 6)
    return (rng.random((images, 12)) < means) * 1.0, means


def a_rare_miss(rng, images):
    """One method misses 5 % of the images, the other has .95 on all."""
    return np.hstack([(rng.random((images, 1)) < 0.95) * 1.0, np.full((images, 1), 0.95)]), np.zeros(2)


BOARDS = {each.__name__.replace("_", " "): each for each in (
    close, spread, equal_skewed, skewed_and_narrow, undefined_for_one, rare_differences, twins, hits, a_rare_miss,
)}  # fmt: skip
OF_BOARDS = {"close": (-9, 9), "spread": (-9, 9), "hits": (0, 1), "a rare miss": (0, 1)}


@pytest.mark.parametrize("name", BOARDS)
def test_rank_sets_hold_at_once(name):
    """All true ranks are inside at once, and no pair is told apart wrongly, in at least .95 of all boards."""
    rng = np.random.default_rng(2)
    repetitions, rates, widths = 1000, [], []
    for images in IMAGES:
        held, width = 0, 0.0
        for number in range(repetitions):
            scores, means = BOARDS[name](rng, images)
            better = surely_better(scores, True, OF_BOARDS.get(name), 500, number)
            low, high = rank_sets(better)
            best, worst = (means[None] > means[:, None]).sum(1), (means[None] >= means[:, None]).sum(1)
            wrong = better & (means[:, None] <= means[None])
            held += bool((low <= best + 1).all() and (high >= worst).all() and not wrong.any())
            width += (high - low + 1).mean()
        rates.append(held / repetitions)
        widths.append(width / repetitions)
    report(name, rates, f" mean width of a rank set {' / '.join(f'{width:.1f}' for width in widths)}")
    assert min(rates) >= at_least(0.95, repetitions)
    if name == "spread":
        assert widths[-1] < 4 and widths == sorted(widths, reverse=True), "the test still tells methods apart"


# name: deviation of trainings, of the change between images, of trainings on single images; is the change skewed?
CHANGES = {
    "trainings vary": (0.03, 0.0, 0.1, False),
    "images vary": (0.0, 0.2, 0.05, False),
    "both vary": (0.03, 0.1, 0.1, False),
    "both vary, skewed images": (0.03, 0.2, 0.1, True),
}


@pytest.mark.parametrize("trainings", [2, 3, 5])
@pytest.mark.parametrize("name", CHANGES)
def test_intervals_of_changes_between_designs(name, trainings):
    """At least .93, for other trainings and other images. Repetitions are methods of one call."""
    between, image, rest, skew = CHANGES[name]
    rng = np.random.default_rng(3)
    repetitions, rates = 4000, []
    for images in (16, 64):
        noise = (
            rng.exponential(size=(1, images, repetitions)) - 1 if skew else rng.normal(size=(1, images, repetitions))
        )
        arms = [
            between * rng.normal(size=(trainings, 1, repetitions))
            + rest * rng.normal(size=(trainings, images, repetitions))
            for _ in range(2)
        ]
        low, high = change_intervals(arms[0], arms[1] + image * noise)
        rates.append(((low <= 0) & (high >= 0)).mean())
    report(f"{name}, {trainings} trainings", rates)
    assert min(rates) >= at_least(0.93, repetitions)


def test_accuracy_changes():
    """Two arms that are right on 90 % of 20 images, independently; without a change no interval leaves out 0 often."""
    rng = np.random.default_rng(4)
    for trainings in (1, 3):
        held, repetitions = 0, 500
        for number in range(repetitions):
            arms = (rng.random((2, trainings, 20, 1)) < 0.9) * 1.0
            low, high = change_intervals(*arms, (0.0, 1.0), 500, number)
            held += not (low[0] > 0 or high[0] < 0)
        report(f"accuracy, {trainings} trainings", [held / repetitions])
        assert held / repetitions >= at_least(0.94, repetitions)
