"""What a protocol makes of a ladder: its response to the dose, pairs in the wrong order, and how many images it needs.

Qualities are scores turned so that higher is better, NaN where an image has none through no map's fault; such an image
is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy import stats

from xaibench.analysis.bootstrap import TIE
from xaibench.analysis.intervals import Bounds, mean_intervals

POWER, LEVEL = 0.8, 0.05
MOST_IMAGES = 100_000  # from here on two steps count as never told apart
LARGEST = 10.0  # effect: three images are then enough
REACHED, NOT_REACHED, WRONG_WAY = "reached", "not reached", "wrong way"


def dose_response(quality: np.ndarray, bounds: Bounds | None = None) -> np.ndarray:
    """Mean quality of each dose with its 95 % interval over images: (doses, 3) float64 from (images, doses).

    bounds: the least and the largest possible quality, if known. NaN throughout where no image has all doses.
    """
    whole = quality[np.isfinite(quality).all(axis=1)]
    if not len(whole):
        return np.full((quality.shape[1], 3), np.nan)
    low, high = mean_intervals(whole, None, bounds)
    return np.stack([whole.mean(axis=0), low, high], axis=1)


class Pairs(NamedTuple):
    """Of each image the share of pairs of doses whose worse map scores at least as high, and the share that ties;
    both (images,) float64, NaN where the image has no pair with two scores."""

    discordant: np.ndarray
    tied: np.ndarray


def discordant_pairs(quality: np.ndarray) -> Pairs:
    """Pairs of doses in the wrong order, ties included, of qualities (images, doses) with rising dose.

    A score that knows nothing has one half without ties; one that is constant has 1, all of it ties.
    """
    better, worse = (quality[:, list(each)] for each in zip(*combinations(range(quality.shape[1]), 2), strict=True))
    margin = TIE * np.maximum(1.0, np.maximum(np.abs(better), np.abs(worse)))
    known = np.isfinite(better) & np.isfinite(worse)
    with np.errstate(invalid="ignore", divide="ignore"):
        tied = known & (np.abs(better - worse) <= margin)
        wrong = tied | (known & (worse > better))
        count = known.sum(axis=1)
        return Pairs(wrong.sum(axis=1) / count, tied.sum(axis=1) / count)


@dataclass(frozen=True)
class Needed:
    """How many images tell two neighbouring steps apart; infinite unless the status is `reached`."""

    images: float
    status: str


def power_of(effect: float, images: int, level: float = LEVEL) -> float:
    """The probability that a two-sided paired t-test at a level finds a mean difference above zero.

    effect: mean of the differences over their standard deviation, at least 0. images: at least 2. The exact formula for
    normal differences, by the noncentral t (Cohen, Statistical Power Analysis, 1988).
    """
    return float(stats.nct.sf(stats.t.isf(level / 2, images - 1), images - 1, effect * math.sqrt(images)))


def effect_of(differences: np.ndarray) -> float:
    """The standardised mean of paired differences: mean over standard deviation, with Hedges' correction for few images
    (Journal of Educational Statistics 6, 1981); in [-LARGEST, LARGEST].

    differences: (images,), quality of the better map less that of the worse; NaN is left out. NaN where fewer than two
    are known.
    """
    known = differences[np.isfinite(differences)]
    if len(known) < 2:
        return math.nan
    mean, deviation = float(known.mean()), float(known.std(ddof=1))
    if abs(mean) <= TIE * max(1.0, float(np.abs(known).max())):
        return 0.0
    correction = 1 - 3 / (4 * (len(known) - 1) - 1)
    return max(-LARGEST, min(LARGEST, correction * mean / max(deviation, TIE * abs(mean))))


def images_needed(effect: float, power: float = POWER, level: float = LEVEL) -> Needed:
    """The fewest images at which a paired t-test tells the better step from the worse with a power.

    effect: as of `effect_of`. `wrong way` where it is not above zero, `not reached` where more than `MOST_IMAGES` would
    be needed or it is not known.
    """
    if not math.isfinite(effect):
        return Needed(math.inf, NOT_REACHED)
    if effect <= 0:
        return Needed(math.inf, WRONG_WAY)
    normal = math.ceil(((stats.norm.isf(level / 2) + stats.norm.ppf(power)) / effect) ** 2)
    if normal > MOST_IMAGES:
        return Needed(math.inf, NOT_REACHED)
    low, high = max(1, normal - 1), max(2, normal + 8)  # the t-test needs the normal formula's number or a few more
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(effect, middle, level) >= power else (middle, high)
    return Needed(high, REACHED)


def steps_needed(qualities: Sequence[np.ndarray], power: float = POWER) -> list[Needed]:
    """`images_needed` of every two neighbouring doses, from qualities (images, doses) of several networks.

    The effect is the mean over networks: in one network a few images can show an effect where there is none.
    """
    doses = qualities[0].shape[1]
    effects = np.array([[effect_of(each[:, a] - each[:, a + 1]) for a in range(doses - 1)] for each in qualities])
    found = []
    for step in effects.T:
        known = step[np.isfinite(step)]
        found.append(images_needed(float(known.mean()) if len(known) else math.nan, power))
    return found
