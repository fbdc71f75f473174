"""Whole runs on both devices, compared row by row."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from machine import second_device

import xaibench
from xaibench import registry

if TYPE_CHECKING:
    from check import Options

CARDS = Path(__file__).with_name("cards")
METHODS = ("ixg,grad-cam,saliency,rise,random,oracle", "ixg,oracle")  # full, dry
KEYS = ["protocol", "method", "metric", "image_id", "target", "unit"]


def subject(options: Options) -> dict:
    """What is judged: a small network trained on drawn images, on the first use and for both devices."""
    if options.dry:
        return {"model": "gpu-tiny", "dataset": "gpu-mini", "images": 2, "cards": [CARDS]}
    return {"model": "critters_cnn", "dataset": "critters", "images": 8}


def groups(protocols: list[str]) -> list[tuple[list[str], dict]]:
    """Protocols that can be run together, with the settings they need."""
    together, alone = [], []
    for name in protocols:
        if name == "model-similarity":
            alone.append(([name], {"weights": "plain", "reference_weights": "aligned"}))
        elif registry.card("protocol", name).weights == "plain":
            together.append(name)
        else:
            alone.append(([name], {}))
    return ([(together, {"weights": "plain"})] if together else []) + alone


def compared_runs(options: Options, precision: str, protocols: list[str], planted: float) -> dict[str, dict]:
    """For each protocol, by method (`` where it judges the model): the difference of its rows, or why there is none."""
    found: dict[str, dict] = {}
    for names, settings in groups(protocols):
        try:
            found |= compared_group(options, precision, names, settings, planted)
        except xaibench.XaibenchError as error:
            if len(names) == 1:
                found[names[0]] = {"": {"verdict": "not tried", "why": str(error)}}
                continue
            for name in names:  # one of them cannot be run: the others can
                found |= compared_runs(options, precision, [name], planted)
    return found


def compared_group(options: Options, precision: str, names: list[str], settings: dict, planted: float) -> dict:
    """The differences of protocols that run together."""
    sides = []
    for side, device, chunk in (("second", second_device(options.dry), 5 if options.dry else 32), ("first", "cpu", 32)):
        results = xaibench.run(
            names, methods=METHODS[options.dry], device=device, chunk_size=chunk, precision=precision, quiet=True,
            out=options.out / "work" / f"rows-{side}", **(subject(options) | settings),
        )  # fmt: skip
        rows = results.rows.fillna({"method": ""})
        if side == "second" and options.plant:
            rows.loc[rows["protocol"].isin(options.plant) | rows["method"].isin(options.plant), "score"] *= planted
        sides.append(rows)
    second, first = sides
    both = first.merge(second, on=KEYS, how="outer", suffixes=("", "_2"), indicator=True)
    return {name: by_method(both[both["protocol"] == name]) for name in names}


def by_method(both: pd.DataFrame) -> dict:
    """The entries of a protocol: the largest difference of a score, relative to the largest of its metric."""
    if both.empty:
        return {"": {"verdict": "raised", "why": "it gave no rows"}}
    scale = both.groupby("metric")["score"].transform(lambda column: column.abs().max()).fillna(0).clip(lower=1e-30)
    apart = (both["score"] - both["score_2"]).abs() / scale
    one_sided = (both["_merge"] != "both") | (both["status"] != both["status_2"])
    apart = apart.fillna(0).mask(one_sided | (both["score"].isna() != both["score_2"].isna()), float("inf"))
    means = both.groupby(["metric", "method"])[["score", "score_2"]].mean()
    ranks = means.groupby("metric").rank()
    moves = (ranks["score"] != ranks["score_2"]) & ranks.notna().all(axis=1)
    return {
        method: {
            "difference": float(apart[rows.index].max()),
            "rows": len(rows),
            "beyond_1e-4": int((apart[rows.index] > 1e-4).sum()),
            "predictions_differ": int((rows["prediction"] != rows["prediction_2"]).sum()),
            "rank_moves": int(moves[moves.index.get_level_values("method") == method].sum()),
        }
        for method, rows in both.groupby("method")
    }
