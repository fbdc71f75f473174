"""Our numbers beside those that a paper prints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from xaibench.analysis.rank_correlation import order_of, rank_correlation

COLUMNS = ("name", "printed", "ours", "difference")
FEWEST = 3  # two numbers can only be in the same order or not


@dataclass(frozen=True)
class Beside:
    """Printed numbers and ours.

    table: one row per printed number with `COLUMNS`, in the paper's order; ours and difference (ours - printed) are NaN
    where there is none. quantity: what the numbers are. rho: Spearman's, of the numbers that both have; NaN for fewer
    than `FEWEST`, or where either are all equal. count: how many both have. farthest: the name with the largest
    difference, "" for none.
    """

    table: pd.DataFrame
    quantity: str
    rho: float
    count: int
    farthest: str

    @property
    def largest(self) -> float:
        """The difference of `farthest`, NaN where there is none."""
        found = self.table.loc[self.table["name"] == self.farthest, "difference"]
        return float(found.iloc[0]) if len(found) else float("nan")


def beside(printed: dict[str, float], ours: dict[str, float], quantity: str) -> Beside:
    """Numbers by name: those of a paper, and those of ours that exist (finite)."""
    table = pd.DataFrame({"name": list(printed), "printed": list(printed.values())}).astype({"printed": float})
    table["ours"] = [float(ours.get(name, np.nan)) for name in printed]
    table["difference"] = table["ours"] - table["printed"]
    both = table.dropna()
    rho = float("nan")
    if len(both) >= FEWEST:
        rho = float(rank_correlation(order_of(both["printed"].to_numpy()), order_of(both["ours"].to_numpy())).rho)
    farthest = both.loc[both["difference"].abs().idxmax(), "name"] if len(both) else ""
    return Beside(table[list(COLUMNS)], quantity, rho, len(both), str(farthest))
