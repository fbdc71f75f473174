"""What published boards of critters say of the three contradictions: scores by kind of method, with 95 % intervals.

    python leaderboards/contradictions/boards.py leaderboards/critters --csv boards.csv

Intervals are over images (paired, Student's t) where a network has one training, and over trainings where there are
five of it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

KINDS = {
    "signed": ("ixg", "ig", "ig-u"),
    "smoothed": ("ixg-sg", "ig-sg"),
    "absolute": ("saliency", "ixg-abs", "ig-abs", "ig-u-abs", "ixg-sg-abs", "ig-sg-abs", "ig-sg-sq"),
    "last map": ("grad-cam", "grad-cam++", "xgrad-cam", "layer-cam", "sg-cam++"),
    "masks": ("rise", "rise-u"),
    "edges": ("edges",),
}
NETWORKS = (
    "resnet18",
    "resnet50",
    "resnet101",
    "resnet152",
    "bcos_resnet18",
    "bagnet9",
    "fixup_resnet50",
    "x_resnet50",
)
USUAL = {"attribution_output": "logit", "baseline": "zero", "drop_output": "logit", "grid": 4, "target": "label"}


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and 95 % interval of Student's t."""
    mean = float(values.mean())
    if len(values) < 2:
        return mean, np.nan, np.nan
    width = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
    return mean, mean - width, mean + width


def usual_boards(folder: Path) -> dict[str, list[str]]:
    """By network, the boards of the usual settings whose weights were trained by the network's own recipe."""
    cells = pd.read_parquet(folder / "cells.parquet")
    settings = cells["protocol_settings"].map(json.loads)
    usual = cells[(cells["protocol"] == "idsds") & settings.map(lambda one: one == USUAL)]
    other = usual["title"].str.contains("loss|learning_rate|recipe", regex=True)
    kept = usual[~other].groupby("model")["board"].unique()
    return {name: sorted(kept[name]) for name in NETWORKS if name in kept}


def by_kind(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean score of each kind of method (columns) by board and image (rows)."""
    kind_of = {method: kind for kind, methods in KINDS.items() for method in methods}
    kind_of |= {"b-cos": "own", "bagnet": "own"}
    known = scores[scores["method"].isin(kind_of)]
    known = known.assign(kind_of=known["method"].map(kind_of), score=known["score"].fillna(0.0))  # the card's cost
    return known.pivot_table(index=["model", "board", "image_id"], columns="kind_of", values="score")


def main() -> None:
    """Prints, and writes, levels of all networks and the differences that the contradictions are about."""
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    options.add_argument("--csv", type=Path)
    given = options.parse_args()
    boards = usual_boards(given.folder)
    scores = pd.read_parquet(given.folder / "scores.parquet")
    table = by_kind(scores[scores["board"].isin([board for some in boards.values() for board in some])])
    rows = []
    for model, own in boards.items():
        part = table.loc[model]
        for kind in table.columns:
            values = part[kind].dropna()
            if len(values):
                over = values.groupby("board").mean() if len(own) > 1 else values
                unit = "trainings" if len(own) > 1 else "images"
                rows.append((model, "", kind, unit, len(over), *interval(over)))
    pairs = [("resnet50", "fixup_resnet50"), ("fixup_resnet50", "x_resnet50"), ("resnet101", "resnet152")]
    for before, after in pairs:
        one, other = (table.loc[name].groupby("image_id").mean() for name in (before, after))
        for kind in ("signed", "smoothed", "absolute", "last map", "masks"):
            change = (other[kind] - one[kind]).dropna()
            rows.append((before, after, kind, "images", len(change), *interval(change)))
    for model in ("bcos_resnet18", "bagnet9"):  # the network's own explanation and the others of the same network
        part = table.loc[model]
        change = part["own"] - part["signed"]
        several = len(boards[model]) > 1
        over = change.groupby("board").mean() if several else change
        unit = "trainings" if several else "images"
        rows.append((model, model, "own less signed", unit, len(over), *interval(over)))
    found = pd.DataFrame(rows, columns=["network", "to", "kind", "over", "n", "mean", "low", "high"])
    if given.csv:
        found.round(4).to_csv(given.csv, index=False)
    print(found.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
