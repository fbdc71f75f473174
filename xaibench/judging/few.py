"""Which few protocols carry what all of them say: chosen on some networks, tested on others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from xaibench.judging.stability import kendall
from xaibench.judging.summary import Stored


@dataclass(frozen=True)
class Few:
    """Protocols in the order in which they were chosen, and after each choice Kendall's tau with the mean ranking of
    all: on the networks where they were chosen, and on the others; each (len(chosen),)."""

    chosen: tuple[str, ...]
    seen: tuple[float, ...]
    unseen: tuple[float, ...]


def items_of(stored: Stored, network: str) -> pd.Series:
    """Mean qualities of what a protocol scored on a network: each dose of each ladder, and each method."""
    ladder, methods = stored.of(network, "ladder"), stored.of(network, "methods")
    rungs = ladder.groupby(["truth", "name", "dose"])["quality"].mean()
    rungs.index = [f"{truth} {name} {dose:g}" for truth, name, dose in rungs.index]
    return pd.concat([rungs, methods.groupby("name")["quality"].mean()]).astype(np.float64)


def rankings(protocols: Sequence[Stored]) -> dict[str, pd.DataFrame]:
    """By network the ranks (items x protocols), 1 for the worst, of the items that every protocol scored."""
    networks = set.intersection(*(set(each.rows) for each in protocols)) if protocols else set()
    found = {}
    for network in sorted(networks):
        means = pd.DataFrame({each.label: items_of(each, network) for each in protocols}).dropna()
        if len(means) > 2:
            found[network] = means.rank()
    return found


def choose_few(ranks: Mapping[str, pd.DataFrame], train: Sequence[str], test: Sequence[str], most: int = 5) -> Few:
    """Greedily the protocols whose mean rank agrees best with that of all on `train`, and how well on `test`.

    ranks: by network, items x the same protocols. A protocol that is chosen is part of all, so agreement of a few is
    no surprise; the worth of a choice is what it keeps on networks that it was not made on.
    """
    names, chosen, seen, unseen = list(next(iter(ranks.values()))), [], [], []
    while len(chosen) < min(most, len(names)):
        rest = [name for name in names if name not in chosen]
        best = max(rest, key=lambda name: _agreement(ranks, train, [*chosen, name]))
        chosen.append(best)
        seen.append(_agreement(ranks, train, chosen))
        unseen.append(_agreement(ranks, test, chosen))
    return Few(tuple(chosen), tuple(seen), tuple(unseen))


def _agreement(ranks: Mapping[str, pd.DataFrame], networks: Sequence[str], chosen: Sequence[str]) -> float:
    """Mean over networks of tau between the mean rank by a few and that by all; -1 where the few tie everything."""
    taus = [
        kendall(ranks[name][list(chosen)].mean(axis=1).to_numpy(), ranks[name].mean(axis=1).to_numpy())
        for name in networks
    ]
    return float(np.mean(np.nan_to_num(taus, nan=-1.0))) if taus else float("nan")
