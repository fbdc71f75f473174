"""What other intervals of a mean reach on the same scores, and how much longer ours is for what it holds more.

Each test prints its rows of `docs/statistics.md`; run with `-m slow -s`.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from xaibench.analysis.bootstrap import LEVEL, studentised_tail
from xaibench.analysis.intervals import mean_intervals

IMAGES, ROUNDS, METHODS, RESAMPLES = (8, 16), 100, 40, 1000
SHAPES = {
    "skewed, 1 - 2 Beta(.8, 6)": (1 - 2 * 0.8 / 6.8, lambda rng, *shape: 1 - 2 * rng.beta(0.8, 6, shape)),
    "symmetric, Beta(8, 8)": (0.5, lambda rng, *shape: rng.beta(8, 8, shape)),
    "a long tail, Beta(.5, 20)": (0.5 / 20.5, lambda rng, *shape: rng.beta(0.5, 20, shape)),
    "log-normal": (np.exp(0.5), lambda rng, *shape: rng.lognormal(size=shape)),
}


def parts(scores):
    """Number, mean, standard deviation and skewness of scores (images, methods)."""
    return len(scores), scores.mean(axis=0), scores.std(axis=0), stats.skew(scores)


def student(scores, seed):
    return stats.t.interval(LEVEL, len(scores) - 1, scores.mean(axis=0), stats.sem(scores))


def johnson(scores, seed):
    """Student's t around a mean that is moved by the skewness (Johnson, 1978)."""
    n, _, _, skewness = parts(scores)
    shift = skewness * scores.std(axis=0, ddof=1) / (6 * n)
    return tuple(end + shift for end in student(scores, seed))


def hall(scores, seed):
    """Student's t of Hall's (1992) cubic transformation, which takes the skewness away and can be inverted."""
    n, mean, deviation, skewness = parts(scores)
    ends = []
    for sign in (1, -1):
        value = sign * stats.t.ppf((1 + LEVEL) / 2, n - 1) / np.sqrt(n - 1)
        root = np.cbrt(1 + skewness * (value - skewness / (6 * n)))
        ends.append(mean - 3 / skewness * (root - 1) * deviation)
    return tuple(ends)


def resampled(method):
    """SciPy's own bootstrap."""

    def interval(scores, seed):
        found = stats.bootstrap(
            (scores,), np.mean, n_resamples=RESAMPLES, axis=0, method=method, rng=np.random.default_rng(seed)
        )
        return found.confidence_interval.low, found.confidence_interval.high

    return interval


def nominal(scores, seed):
    """The studentised bootstrap without calibration: the 2.5 % and 97.5 % quantiles."""
    return mean_intervals(scores, None, None, RESAMPLES, seed, 1 - (1 - LEVEL) / (1 - 1 / len(scores)))


def ours(scores, seed):
    return mean_intervals(scores, None, None, RESAMPLES, seed)


INTERVALS = {
    "Student's t": student, "percentile": resampled("percentile"), "BCa": resampled("BCa"), "Johnson's t": johnson,
    "Hall's t": hall, "studentised": nominal, "studentised, calibrated": ours,
}  # fmt: skip


def test_the_uncalibrated_tail_is_the_nominal_one():
    for images in (8, 16, 100):
        assert studentised_tail(images, 1 - 0.05 / (1 - 1 / images)) == pytest.approx(0.025)
        assert studentised_tail(images) == pytest.approx(0.025 * (1 - 1 / images))


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.filterwarnings("ignore::scipy.stats.DegenerateDataWarning")
def test_what_other_intervals_reach(name):
    truth, draw = SHAPES[name]
    rates, widths = {key: [] for key in INTERVALS}, {key: [] for key in INTERVALS}
    for images in IMAGES:
        rng = np.random.default_rng(9)
        drawn = [draw(rng, images, METHODS) for _ in range(ROUNDS)]
        unit = np.array([np.subtract(*student(scores, 0)[::-1]) for scores in drawn])
        for key, interval in INTERVALS.items():
            low, high = np.moveaxis([interval(scores, seed) for seed, scores in enumerate(drawn)], 1, 0)
            rates[key].append((~(low > truth) & ~(high < truth)).mean())
            widths[key].append(np.nanmedian((high - low) / unit))
    for key in INTERVALS:
        cells = [f"{rate:.3f}, {width:.2f}" for rate, width in zip(rates[key], widths[key], strict=True)]
        print(f"| {name} | {key} | {' | '.join(cells)} |")
    for number, (longer, limit) in enumerate(((1.12, 0.93), (1.03, 0.94))):
        best = {key: found[number] for key, found in rates.items()}
        assert best["studentised, calibrated"] >= max(best.values()) - 0.001, "nothing else holds more often"
        assert widths["studentised, calibrated"][number] <= longer * widths["studentised"][number]
        assert name == "log-normal" or best["studentised, calibrated"] >= limit
