"""Three truths about a network whose function is known, which are three questions and need not agree.

- `intervention`: what the explained logit loses if the scene is drawn again without one feature, and all else equal.
- `shapley`: Shapley values of the same game over all features that the image shows.
- `association`: how much more often the data have the explained class where the feature is shown, whatever the network
  does; a suppressor variable counts nothing. `association-given-rest` holds the image's other features fixed, and a
  suppressor counts.

The map gives each pixel of a feature's mask the same share, so that the pixels of the mask add up to its value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from xaibench.errors import XaibenchError, unknown
from xaibench.judging.badges import SIDE
from xaibench.judging.knowledge import Known

TRUTHS = ("intervention", "shapley", "association", "association-given-rest")
PLAYERS = 6
OK, ZERO, UNDEFINED = "ok", "zero", "undefined"


@dataclass(frozen=True)
class Truth:
    """What is true of an image in one sense.

    map (H, W) float64: all zero unless the status is `ok`. values: of each feature that the image shows, in logits for
    `intervention` and `shapley`, as a difference of probabilities for the associations; NaN where it is undefined.
    status: `ok`; `zero` where every value is 0, as in an OR of two features that are both there, or where the image
    shows none; `undefined` where a value is, because the data never show the image without that feature and with the
    others as they are.
    """

    map: Tensor
    values: Mapping[str, float]
    status: str


def truth(known: Known, image_id: str, kind: str) -> Truth:
    """One of the `TRUTHS` about the class that a network predicts for an image.

    Raises XaibenchError for another kind and, where Shapley values are asked for, for an image with more than 6
    features.
    """
    if kind not in TRUTHS:
        raise unknown("truth", kind, TRUTHS)
    shown = known.dataset.shown(image_id)
    values = _VALUES[kind](known, image_id, shown)
    undefined = any(math.isnan(value) for value in values.values())
    status = UNDEFINED if undefined else OK if any(values.values()) else ZERO
    return Truth(spread(values, known.masks(image_id)) if status == OK else _nothing(), values, status)


def spread(values: Mapping[str, float], masks: Mapping[str, np.ndarray]) -> Tensor:
    """A map (H, W) float64 in which each mask's pixels share its value evenly; masks without pixels are refused."""
    total = _nothing()
    for name, value in values.items():
        if not masks[name].any():
            raise XaibenchError(f"feature {name} has no pixel, so its value cannot be placed; draw it visibly")
        total[torch.from_numpy(masks[name])] += value / int(masks[name].sum())
    return total


def _nothing() -> Tensor:
    return torch.zeros(SIDE, SIDE, dtype=torch.float64)


def _interventions(known: Known, image_id: str, shown: Sequence[str]) -> dict[str, float]:
    """z(image) - z(image without the feature) of the explained class.

    NaN where the data never show the image's other features without this one: then it is no intervention within the
    distribution.
    """
    law, state, target = known.dataset.law, known.dataset.state(image_id), known.target(image_id)
    sets = [set(shown), *(set(shown) - {name} for name in shown)]
    logits = known.logits_of(image_id, sets)[:, target].tolist()
    values = {}
    for name, changed in zip(shown, logits[1:], strict=True):
        without = tuple(0 if other == name else value for other, value in zip(law.features, state, strict=True))
        values[name] = logits[0] - changed if law.probability(without) > 0 else math.nan
    return values


def _shapley(known: Known, image_id: str, shown: Sequence[str]) -> dict[str, float]:
    """Shapley values of the explained logit; each coalition is the scene drawn with its features alone.

    Some coalitions of correlated features are never in the data; they are drawn all the same.
    """
    if len(shown) > PLAYERS:
        raise XaibenchError(
            f"{image_id} shows {len(shown)} features; Shapley values are enumerated for at most {PLAYERS}"
        )
    sets = coalitions(shown)
    logits = known.logits_of(image_id, sets)[:, known.target(image_id)].tolist()
    return shapley_values(shown, dict(zip(sets, logits, strict=True)).__getitem__)


def coalitions(players: Sequence[str]) -> list[frozenset[str]]:
    """All 2**n sets of players, the smallest first."""
    return [frozenset(chosen) for size in range(len(players) + 1) for chosen in combinations(players, size)]


def shapley_values(players: Sequence[str], worth: Callable[[frozenset[str]], float]) -> dict[str, float]:
    """Exact Shapley values of a game (Shapley 1953): each player's mean gain over all orders in which they may join.

    players: different names. worth: from a set of players to its value. Double precision, 2**n calls for each player.
    """
    n, values = len(players), {}
    for player in players:
        others = [name for name in players if name != player]
        gains = [(worth(s | {player}) - worth(s)) / (n * math.comb(n - 1, len(s))) for s in coalitions(others)]
        values[player] = math.fsum(gains)
    return values


def _associations(known: Known, image_id: str, shown: Sequence[str]) -> dict[str, float]:
    return _associated(known, image_id, shown, {})


def _associations_given_rest(known: Known, image_id: str, shown: Sequence[str]) -> dict[str, float]:
    return _associated(known, image_id, shown, dict(zip(known.features, known.dataset.state(image_id), strict=True)))


def _associated(known: Known, image_id: str, shown: Sequence[str], given: Mapping[str, int]) -> dict[str, float]:
    law, target = known.dataset.law, known.target(image_id)
    found = {name: law.association(name, target, given) for name in shown}
    return {name: math.nan if value is None else value for name, value in found.items()}


_VALUES = {
    "intervention": _interventions,
    "shapley": _shapley,
    "association": _associations,
    "association-given-rest": _associations_given_rest,
}
