"""How far the ranks of methods move with the settings of one protocol: its grid, baseline, target, seed and so on.

Duan et al., On the Evaluation Consistency of Attribution-based Explanations, ECCV 2024 (Meta-Rank): a ranking holds for
the settings that it was made with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from xaibench.analysis.bootstrap import LEVEL, bootstrap_means, ranks
from xaibench.analysis.rank_correlation import order_of, rank_correlation
from xaibench.errors import XaibenchError
from xaibench.presentation import Presentable

RESAMPLES = 1000
FEWEST_METHODS = 3  # two methods can only change places


@dataclass(frozen=True)
class MetaRank(Presentable):
    """The ranks of methods over boards of one protocol that differ in settings alone.

    table: one row per method, by mean rank: method, mean_rank, spread (standard deviation over boards), best_rank,
    worst_rank, n_boards. boards: one row per board, the least alike first: name, tau (mean Kendall's tau-b with the
    others), tau_low, tau_high, title. factors: one row per setting, that which changes the order most first: setting,
    values, tau (mean over pairs of boards that differ in it alone), tau_low, tau_high, n_pairs. ranks: (methods,
    boards), in the orders of both. tau, tau_low, tau_high: mean over all pairs of boards, with its percentile interval
    over images. notes: what was left out.
    """

    layout: ClassVar[str] = "meta-rank"

    table: pd.DataFrame
    boards: pd.DataFrame
    factors: pd.DataFrame
    ranks: pd.DataFrame
    tau: float
    tau_low: float
    tau_high: float
    n_images: int
    title: str
    notes: tuple[str, ...]


def meta_rank(
    scores: Mapping[str, pd.DataFrame], higher: Mapping[str, bool], *,
    settings: Mapping[str, Mapping[str, Any]] | None = None, title: str = "",
    titles: Mapping[str, str] | None = None, notes: tuple[str, ...] = (), seed: int = 0,
) -> MetaRank:  # fmt: skip
    """How far ranks move over boards.

    Only methods that all boards rank and images that all boards have count, so that ranks are of the same methods.

    Args:
        scores: of each board by its name, one row per image and one column per ranked method, finite.
        higher: whether higher scores are better on each board.
        settings: of each board, by the name of the setting; to tell which one changes the order.
        title, titles: what is compared, and of each board.
        seed: of the resampled images.

    Raises XaibenchError for fewer than two boards, three methods in common, or one image in common.
    """
    names = list(scores)
    if len(names) < 2:
        raise XaibenchError("ranks move over two boards or more; run the protocol with another setting or seed")
    methods = [name for name in scores[names[0]] if all(name in scores[other] for other in names)]
    images = sorted(set.intersection(*(set(scores[name].index) for name in names)))
    if len(methods) < FEWEST_METHODS or not images:
        found = f"{len(methods)} ranked methods and {len(images)} images"
        raise XaibenchError(f"the {len(names)} boards have {found} in common; ranks need {FEWEST_METHODS} and 1")
    left_out = sorted({name for board in names for name in scores[board]} - set(methods))
    if left_out:
        notes = (*notes, f"not ranked by every board, so left out: {', '.join(left_out)}")
    values = {name: scores[name].loc[images, methods].to_numpy(np.float64) * (1 if higher[name] else -1)
              for name in names}  # fmt: skip
    taus = _Taus(values, seed)
    placed = pd.DataFrame({name: ranks(each.mean(axis=0)) for name, each in values.items()}, index=methods)
    table = _methods(placed)
    boards = _boards(names, taus, titles or {})
    return MetaRank(
        table, boards, _factors(names, taus, settings or {}), placed.loc[table["method"], boards["name"]],
        *taus.mean(taus.pairs), len(images), title, notes,
    )  # fmt: skip


class _Taus:
    """Kendall's tau-b of every two boards, and in every resample of the images, which are the same for all boards."""

    def __init__(self, values: Mapping[str, np.ndarray], seed: int):
        self.pairs = list(combinations(values, 2))
        whole = {name: order_of(each.mean(axis=0)) for name, each in values.items()}
        drawn = {name: order_of(bootstrap_means(each, RESAMPLES, seed)) for name, each in values.items()}
        self._whole = {pair: float(rank_correlation(*(whole[name] for name in pair)).tau) for pair in self.pairs}
        self._drawn = {pair: rank_correlation(*(drawn[name] for name in pair)).tau for pair in self.pairs}

    def mean(self, pairs: list[tuple[str, str]]) -> tuple[float, float, float]:
        """The mean of some pairs and the ends of its interval; NaN where a board of theirs ties all methods."""
        whole = float(np.mean([self._whole[pair] for pair in pairs])) if pairs else float("nan")
        if not np.isfinite(whole):
            return (float("nan"),) * 3
        drawn, tail = np.mean([self._drawn[pair] for pair in pairs], axis=0), (1 - LEVEL) / 2
        low, high = np.nanquantile(drawn, [tail, 1 - tail])
        return whole, float(low), float(high)


def _methods(placed: pd.DataFrame) -> pd.DataFrame:
    table = pd.DataFrame({
        "method": placed.index, "mean_rank": placed.mean(axis=1), "spread": placed.std(axis=1, ddof=0),
        "best_rank": placed.min(axis=1), "worst_rank": placed.max(axis=1), "n_boards": placed.shape[1],
    })  # fmt: skip
    return table.sort_values(["mean_rank", "spread", "method"]).reset_index(drop=True)


def _boards(names: list[str], taus: _Taus, titles: Mapping[str, str]) -> pd.DataFrame:
    rows = [(name, *taus.mean([pair for pair in taus.pairs if name in pair]), titles.get(name, "")) for name in names]
    table = pd.DataFrame(rows, columns=["name", "tau", "tau_low", "tau_high", "title"])
    return table.sort_values(["tau", "name"]).reset_index(drop=True)


def _factors(names: list[str], taus: _Taus, settings: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Of pairs of boards that differ in one setting alone, by that setting."""
    alone: dict[str, list[tuple[str, str]]] = {}
    for first, second in taus.pairs:
        one, other = settings.get(first, {}), settings.get(second, {})
        differing = [name for name in {**one, **other} if one.get(name) != other.get(name)]
        if len(differing) == 1:
            alone.setdefault(differing[0], []).append((first, second))
    rows = []
    for name, pairs in alone.items():
        values = dict.fromkeys(str(settings[board].get(name)) for pair in pairs for board in pair)
        rows.append((name, ", ".join(values), *taus.mean(pairs), len(pairs)))
    table = pd.DataFrame(rows, columns=["setting", "values", "tau", "tau_low", "tau_high", "n_pairs"])
    return table.sort_values(["tau", "setting"]).reset_index(drop=True)
