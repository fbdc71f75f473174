"""The table of judged protocols that ships with xaibench: `leaderboards/judges`."""

from __future__ import annotations

from functools import cache

import pandas as pd

from xaibench.home import shipped_folder
from xaibench.judging.columns import COLUMNS
from xaibench.report.table import FOR_PROGRAMS


@cache
def published_judges() -> pd.DataFrame:
    """One row per protocol, with what `xaibench judge --format csv` prints: texts, float64, and `named` as bool."""
    table = pd.read_csv(shipped_folder("_judges", "leaderboards/judges") / "judges.csv")
    texts = [c.name for c in COLUMNS if c.align == "left" and c.outputs & FOR_PROGRAMS]
    return table.assign(**{name: table[name].fillna("").astype(str) for name in texts if name in table})
