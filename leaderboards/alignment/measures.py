"""Tables of the study from what `study.py` left: one row per training, and one per arm with intervals over seeds.

python leaderboards/alignment/measures.py DIR --csv trainings.csv --summary arms.csv --figure alignment.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax
from scipy.stats import kendalltau, spearmanr, t

REFERENCE, CEILING, MARGIN, ALL = "published", "published-again", 0.05, 2240


def of_label(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What each image (N) has for its label, of logits or probabilities (N, 17, K): (N, 17)."""
    return np.take_along_axis(logits, labels[:, None, None], 2)[..., 0]


def drops_of(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The drops (N, 16) of the label's logit."""
    chosen = of_label(logits, labels)
    return chosen[:, :1] - chosen[:, 1:]


def agreement(drops: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Agreement of drops (N, 16) with others, image by image.

    spearman: the mean over images. slope: of the regression of the drops on the reference's, each less the mean of its
    image. signal: in the same regression, what is explained over what is not.
    """
    ranks = [spearmanr(one, other)[0] for one, other in zip(drops, reference, strict=True)]
    own, other = (x - x.mean(1, keepdims=True) for x in (drops, reference))
    squared = (own * other).sum() ** 2 / ((own**2).sum() * (other**2).sum())
    slope = (own * other).sum() / (other**2).sum()
    return {
        "spearman": float(np.nanmean(ranks)),
        "slope": float(slope),
        "signal": float(squared / (1 - squared)) if squared < 1 - 1e-9 else np.nan,
    }


def rows_of(folder: Path) -> pd.DataFrame:
    """One row per training: agreement with the published recipe of its seed, accuracies, drops, softmax and board."""
    found = []
    for path in sorted(folder.glob("*-*-*.npz")):
        name, images, seed = path.stem.rsplit("-", 2)
        whole, plain = (folder / f"{which}-{seed}.npz" for which in (f"{REFERENCE}-2240", "plain-2240"))
        if not whole.exists():
            continue
        kept, reference, before = np.load(path), np.load(whole), np.load(plain)
        labels, logits = kept["labels"], kept["logits"]
        drops, right = drops_of(logits, labels), logits.argmax(2) == labels[:, None]
        answers = [of_label(softmax(one["logits"], 2), labels)[:, 0] for one in (kept, before)]
        row = {"arm": name, "images": int(images), "seed": int(seed)}
        row |= agreement(drops, drops_of(reference["logits"], labels))
        row |= {
            "accuracy": right[:, 0].mean(), "accuracy_deleted": right[:, 1:].mean(),
            "corrupted_accuracy": right.all(1).mean(),
            "variance": drops.var(1).mean(), "softmax_change": np.abs(answers[0] - answers[1]).mean(),
        }  # fmt: skip
        boards = [folder / f"{stem}.board.json" for stem in (path.stem, whole.stem)]
        if all(board.exists() for board in boards):
            own, other = (json.loads(board.read_text()) for board in boards)
            row["kendall"] = kendalltau([own[m] for m in own], [other[m] for m in own])[0]
        found.append(row)
    return pd.DataFrame(found)


def interval(values: np.ndarray) -> tuple[float, float]:
    """Mean and half width of the 95 % interval of Student's t over seeds."""
    width = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return float(values.mean()), float(width)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per arm and number of images: means over seeds; of the Spearman also the interval, and that of its
    difference to the ceiling of the same seed; `passes`: whether its lower end is above -0.05. The gain is that in
    corrupted accuracy, the share of images that stay right without any one cell, over the plain network."""
    ceiling = rows[rows["arm"] == CEILING].set_index("seed")["spearman"]
    plain = rows[rows["arm"] == "plain"].set_index("seed")["corrupted_accuracy"]
    found = []
    for (arm, images), some in rows[rows["arm"] != REFERENCE].groupby(["arm", "images"]):
        mean, width = interval(some["spearman"].to_numpy())
        shared = some.set_index("seed")["spearman"]
        shared = shared[shared.index.isin(ceiling.index)]
        difference, wide = interval((shared - ceiling[shared.index]).to_numpy())
        row = {"arm": arm, "images": images, "seeds": len(some), "spearman": mean, "half_width": width}
        row |= {"to_ceiling": difference, "to_ceiling_low": difference - wide, "passes": difference - wide > -MARGIN}
        gain = some.set_index("seed")["corrupted_accuracy"] - plain
        row["corrupted_gain"], row["gain_half_width"] = interval(gain.dropna().to_numpy())
        others = [c for c in some if c not in ("arm", "images", "seed", "spearman")]
        found.append(row | some[others].mean().to_dict())
    return pd.DataFrame(found)


def draw(rows: pd.DataFrame, path: Path) -> None:
    """Agreement by the number of images with floor and ceiling, and corrupted accuracy of all arms.

    A mark is a training, a bar a mean."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained", width_ratios=[3, 2])
    levels = rows.groupby("arm")["spearman"].mean()
    names = {"self": "own answers", "self-kept": "own answers, statistics kept", "labels": "labels"}
    for arm, colour in zip(names, ("tab:blue", "tab:green", "tab:orange"), strict=True):
        some = rows[rows["arm"] == arm]
        axes[0].scatter(some["images"], some["spearman"], s=14, color=colour, alpha=0.6)
        means = some.groupby("images")["spearman"].mean()
        axes[0].plot(means.index, means, color=colour, label=names[arm])
    for arm, style, label in (("plain", ":", "not aligned"), (CEILING, "-", "published recipe, again")):
        axes[0].axhline(levels[arm], color="black", linestyle=style, label=label)
    axes[0].axhline(levels[CEILING] - MARGIN, color="grey", linestyle="--", label=f"ceiling - {MARGIN}")
    axes[0].set(xscale="log", xlabel="images", ylabel="Spearman of drops with the published recipe")
    axes[0].set_xticks(sorted(set(rows["images"])), sorted(set(rows["images"])), minor=False)
    axes[0].minorticks_off()
    axes[0].legend(fontsize=8)
    axes[1].set(xlabel="gain in corrupted accuracy")
    plain = rows[rows["arm"] == "plain"].set_index("seed")["corrupted_accuracy"]
    order = ["bn-only", "intact-only", "deleted-answer", "logits", "hard", "labels", "self", "self-kept", CEILING]
    some = rows[(rows["images"] == 256) | (rows["arm"] == CEILING)]
    for number, arm in enumerate(order):
        values = some[some["arm"] == arm].set_index("seed")["corrupted_accuracy"] - plain
        axes[1].scatter(values, [number] * len(values), s=14, color="tab:blue", alpha=0.6)
        axes[1].scatter(values.mean(), number, marker="|", s=200, color="black")
    axes[1].set_yticks(range(len(order)), [f"{arm} ({ALL if arm == CEILING else 256})" for arm in order])
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Reads the options, and writes the tables and the figure."""
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    for name in ("csv", "summary", "figure"):
        options.add_argument(f"--{name}", type=Path)
    given = options.parse_args()
    rows = rows_of(given.folder)
    summary = summarise(rows)
    if given.csv:
        rows.round(5).to_csv(given.csv, index=False)
    if given.summary:
        summary.round(5).to_csv(given.summary, index=False)
    if given.figure:
        draw(rows, given.figure)
    print(summary.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
