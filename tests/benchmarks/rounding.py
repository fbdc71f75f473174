"""What batch sizes and threads change in scores: one run, made again with other ones, compared row by row.

    python tests/benchmarks/rounding.py --model critters_cnn --images 25

prints, against batches of 5 images, how many scores move by more than 1e-5 in batches of 1 and of 32, with one input in
each pass, and with two threads; and the same of the share of tied pixels. docs/protocols.md holds its table. Results
folders go to --out, which a second call extends.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import xaibench
from xaibench.results.equality import TIED, scores_equal

PROTOCOLS = "deletion,insertion,ids,srg,road,sds,part-deletion"  # those that order pixels, cells and parts
METHODS = "grad-cam,grad-cam++,layer-cam,xgrad-cam,hires-cam,eigen-cam,saliency,ixg,ig,rise,occlusion,random"
ROW = ["protocol", "method", "metric", "image_id", "target", "unit"]
BASE = "batch 5"
WAYS: dict[str, tuple[int, int, int]] = {  # images in a batch, inputs in a pass, threads
    BASE: (5, 32, 1), "batch 1": (1, 32, 1), "batch 32": (32, 32, 1), "chunk 1": (5, 1, 1), "two threads": (5, 32, 2),
}  # fmt: skip


def rows_of(way: str, out: Path, protocols: str = PROTOCOLS, methods: str = METHODS, **words: Any) -> pd.DataFrame:
    """The rows of a run made one way, in a results folder of its own."""
    batch, chunk, threads = WAYS[way]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        folder = out / way.replace(" ", "-")
        found = xaibench.run(
            protocols,
            methods=methods,
            out=folder,
            batch_size=batch,
            chunk_size=chunk,
            device="cpu",
            quiet=True,
            **words,
        )
    finally:
        torch.set_num_threads(before)
    return found.rows.fillna({"method": ""})


def compared(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Both scores of each row, their distance `apart` (infinite where one is undefined), and whether they are equal."""
    both = first.merge(second, on=ROW, suffixes=("", "_2"), validate="one_to_one")
    if len(both) != len(first) or len(both) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} rows are not of the same images and methods")
    one_sided = both["score"].isna() != both["score_2"].isna()
    both["apart"] = (both["score"] - both["score_2"]).abs().fillna(0).mask(one_sided, float("inf"))
    scale = both.groupby(["protocol", "method", "metric"])["score"].transform(lambda column: column.abs().max())
    both["equal"] = scores_equal(both["score"], both["score_2"], metric=both["metric"], scale=scale)
    return both


def summary(both: pd.DataFrame) -> dict[str, float]:
    """How many of the scores moved, and of the shares of tied pixels."""
    tied = both["metric"] == TIED
    scores = both[~tied]
    return {
        "scores": len(scores), "beyond 1e-5": int((scores["apart"] > 1e-5).sum()), "largest": scores["apart"].max(),
        "tied": int(tied.sum()), "tied beyond 1e-5": int((both[tied]["apart"] > 1e-5).sum()),
        "unequal": int((~both["equal"]).sum()),
    }  # fmt: skip


def main() -> None:
    """Runs and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="critters_cnn")
    parser.add_argument("--dataset", default="critters")
    parser.add_argument("--images", type=int, default=25)
    parser.add_argument("--steps", type=int, help="of curves; fewer are faster")
    parser.add_argument("--out", type=Path, default=Path("results-rounding"))
    options = parser.parse_args()
    words = {"model": options.model, "dataset": options.dataset, "weights": "plain", "images": options.images}
    if options.steps:
        words["settings"] = {"steps": options.steps}
    first = rows_of(BASE, options.out, **words)
    for way in [way for way in WAYS if way != BASE]:
        both = compared(first, rows_of(way, options.out, **words))
        print(way, summary(both), flush=True)
        moved = both[(both["apart"] > 1e-5) & (both["metric"] != TIED)]
        if len(moved):
            print(moved.groupby(["method", "protocol", "metric"])["apart"].agg(["size", "max"]).to_string())


if __name__ == "__main__":
    main()
