"""From stored rows to the scores that boards average: which metric, what is left out, what an undefined map counts."""

from __future__ import annotations

from typing import Any

import pandas as pd

from xaibench.errors import XaibenchError

NO_CLASS = -1  # the target of rows that explain none


def of_metric(rows: pd.DataFrame, protocol: dict[str, Any], metric: str | None) -> str:
    """The given metric, by default the protocol's main one; XaibenchError where no row has it."""
    stored = sorted(rows["metric"].unique())
    metric = metric or protocol.get("metric") or (stored[0] if stored else protocol["name"])
    if stored and metric not in stored:
        raise XaibenchError(f"no metric {metric!r} is stored for {protocol['name']}; there are {', '.join(stored)}")
    return metric


def bounds_of(protocol: dict[str, Any]) -> tuple[float, float] | None:
    """The least and the largest score that a protocol, or its declaration of a metric, allows; None where unknown."""
    low, high = protocol.get("range") or (None, None)
    return None if low is None or high is None else (float(low), float(high))


def pair_index(rows: pd.DataFrame) -> pd.MultiIndex:
    """The (image, explained class) of each row, `NO_CLASS` where it explains none."""
    return pd.MultiIndex.from_arrays([rows["image_id"], rows["target"].fillna(NO_CLASS).astype("int64")])


def scored(rows: pd.DataFrame, protocol: dict[str, Any]) -> pd.DataFrame:
    """The rows of one metric that count, with a boolean column `broken`: an undefined map has the protocol's cost.

    A question (image, class, unit) whose reference is undefined for one method is left out for all. Raises
    XaibenchError for undefined maps of a protocol that declares no cost for them.
    """
    reference = rows["status"] == "undefined-reference"
    question = pd.MultiIndex.from_frame(rows[["image_id", "target", "unit"]].astype(object).fillna(NO_CLASS))
    # Instances of a class share a question, so there one without a reference must not take the others with it.
    shared = question[(reference & (rows["unit"] != "instance")).to_numpy()]
    rows = rows[~(question.isin(shared) | reference.to_numpy())]
    broken = rows["status"] == "undefined-map"
    cost = protocol.get("undefined_cost")
    if broken.any() and cost is None:
        raise XaibenchError(
            f"{broken.sum()} maps are undefined, and protocol {protocol['name']} declares no undefined_cost"
        )
    return rows.assign(score=rows["score"].mask(broken, cost) if broken.any() else rows["score"], broken=broken)
