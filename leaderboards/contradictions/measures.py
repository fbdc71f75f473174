"""Tables of the study from what `study.py` left: one row per training, and the change of each pair of arms.

python leaderboards/contradictions/measures.py DIR --csv trainings.csv --pairs pairs.csv --figure contradictions.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

MEASURED = ("best", "own", "saliency", "grad-cam", "additivity", "against", "drops", "flat", "accuracy")
OWN, FIXED = "b-cos", "b-cos less baseline"
PAIRS = {
    "1 B-cos": [
        ("standard", "B-cos"), ("standard", "standard, AdamW"), ("standard, AdamW", "standard, AdamW, BCE"),
        ("standard, AdamW, BCE", "standard, AdamW, BCE, six channels"),
        ("standard, AdamW, BCE, six channels", "B-cos"), ("B-cos, B = 1", "B-cos, B = 1.5"),
        ("B-cos, B = 1.5", "B-cos"), ("B-cos, not aligned", "B-cos"), ("B-cos", "B-cos, long"),
        ("B-cos", "B-cos, 256 images"), ("B-cos", "B-cos, 8x8 cells"), ("B-cos, long", "B-cos, conjunction"),
        ("standard, not aligned", "B-cos, not aligned"), ("standard, conjunction", "B-cos, conjunction"),
        ("standard, 256 images", "B-cos, 256 images"), ("standard, 8x8 cells", "B-cos, 8x8 cells"),
        ("standard, long", "B-cos, long"),
    ],
    "2 depth": [
        ("standard", "4 blocks"), ("4 blocks", "8 blocks"), ("8 blocks", "16 blocks"), ("standard", "8 blocks"),
        ("standard, long", "8 blocks, long"), ("standard, not aligned", "8 blocks, not aligned"),
        ("standard, 8x8 cells", "8 blocks, 8x8 cells"), ("standard, conjunction", "8 blocks, conjunction"),
        ("standard, 256 images", "8 blocks, 256 images"),
    ],
    "3 Fixup": [
        ("standard", "Fixup, slow"), ("standard, slow", "Fixup, slow"), ("standard", "standard, slow"),
        ("standard, AdamW", "Fixup, fast"), ("Fixup, slow", "Fixup, slow, long"),
        ("standard, slow, long", "Fixup, slow, long"),
        ("Fixup, fast", "Fixup, fast, long"), ("standard, AdamW, long", "Fixup, fast, long"),
    ],
}  # fmt: skip
"""By contradiction, pairs of arms that differ in one thing, but for the first, which is the contradiction itself."""


def images_of(folder: Path) -> dict[tuple[str, int], pd.DataFrame]:
    """By arm and seed, one row per image: accuracy, size of drops, additivity, and scores.

    drops: the mean standard deviation of an image's drops over its cells, in logits. flat: the share of cells whose
    drop is below a tenth of the largest one of the image in size. against: the share of the drops that is negative, in
    size: cells without which the label's logit is higher. own: of the explanation of B-cos, NaN for others;
    best: the best mean of the methods that any network has.
    """
    found = {}
    for path in sorted(folder.glob("*--*.npz")):
        arm, _, seed = path.stem.rpartition("--")
        kept = np.load(path)
        drops = kept["drops"]
        size = np.abs(drops)
        columns = {
            "accuracy": kept["right"], "drops": drops.std(1), "flat": (size < 0.1 * size.max(1, keepdims=True)).mean(1),
            "against": np.maximum(-drops, 0).sum(1) / size.sum(1), "additivity": kept["additivity"],
        }  # fmt: skip
        scores = {key[6:]: kept[key] for key in kept.files if key.startswith("score ")}
        others = {name: values for name, values in scores.items() if name not in (OWN, FIXED)}
        nothing = np.full(len(drops), np.nan)
        columns["best"] = max(others.values(), key=np.mean)
        columns["own"], columns["own_less_baseline"] = scores.get(OWN, nothing), scores.get(FIXED, nothing)
        found[arm, int(seed)] = pd.DataFrame(columns | others).astype("float64")
    return found


def rows_of(images: dict[tuple[str, int], pd.DataFrame]) -> pd.DataFrame:
    """One row per training: the means over its images."""
    means = {key: table.mean() for key, table in images.items()}
    return pd.DataFrame(means).T.rename_axis(["arm", "seed"]).reset_index()


def change(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """The mean change from the trainings of one arm to those of another, and half of its 95 % interval (Welch)."""
    variances = [x.var(ddof=1) / len(x) for x in (before, after)]
    total = sum(variances)
    if not total > 0:
        return float(after.mean() - before.mean()), 0.0
    freedom = total**2 / sum(v**2 / (len(x) - 1) for v, x in zip(variances, (before, after), strict=True))
    return float(after.mean() - before.mean()), float(t.ppf(0.975, freedom) * total**0.5)


def paired(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """The mean change from one training to another on the same images, and half of its 95 % interval (Student's t)."""
    change = after - before
    return float(change.mean()), float(t.ppf(0.975, len(change) - 1) * change.std(ddof=1) / len(change) ** 0.5)


def pairs_of(images: dict[tuple[str, int], pd.DataFrame]) -> pd.DataFrame:
    """One row per pair of arms and quantity: the change with its interval.

    Over trainings where both arms have at least two; else over the images of one training each, which speaks of these
    two networks alone, and only where both are of the same data. `best to own` is the explanation of the B-cos network
    against the best method on the other one; of an arm and itself, against the best method on the same network."""
    rows, found = rows_of(images), []
    same = [("1 B-cos", name, name) for name in dict.fromkeys(rows["arm"]) if name.startswith("B-cos")]
    for contradiction, before, after in [*((c, *pair) for c, pairs in PAIRS.items() for pair in pairs), *same]:
        sides = [rows[rows["arm"] == name] for name in (before, after)]
        over = "trainings" if min(map(len, sides)) > 1 else "images"
        if not min(map(len, sides)) or (over == "images" and ("conjunction" in before) != ("conjunction" in after)):
            continue
        if over == "images":
            sides = [images[name, int(side["seed"].iloc[0])] for name, side in zip((before, after), sides, strict=True)]
        quantities = {} if before == after else {name: (name, name) for name in MEASURED}
        quantities |= {"best to own": ("best", "own"), "best to own less baseline": ("best", "own_less_baseline")}
        for quantity, columns in quantities.items():
            values = [side[column].to_numpy() for side, column in zip(sides, columns, strict=True)]
            if np.isnan(values[0]).any() or np.isnan(values[1]).any():
                continue
            pair = over == "images" or before == after  # trainings of one arm are the same ones
            mean, width = (paired if pair else change)(*values)
            found.append({
                "contradiction": contradiction, "before": before, "after": after, "quantity": quantity, "over": over,
                "n": min(map(len, values)), "from": values[0].mean(), "to": values[1].mean(), "change": mean,
                "low": mean - width, "high": mean + width,
            })  # fmt: skip
    return pd.DataFrame(found)


def markdown(pairs: pd.DataFrame) -> str:
    """Tables for the documentation, one per contradiction: the change of each quantity with its interval, in bold where
    0 is outside of it."""
    columns = ("best", "best to own", "best to own less baseline", "own", "saliency", "additivity", "against")
    lines = []
    for contradiction, some in pairs.groupby("contradiction", sort=False):
        own = [c for c in columns if c in set(some["quantity"]) or not c.startswith(("best to", "own"))]
        lines += [
            f"**{contradiction}**",
            "",
            f"| from, to | over | {' | '.join(own)} |",
            f"| {'--- | ' * (len(own) + 2)}",
        ]
        for (before, after), part in some.groupby(["before", "after"], sort=False):
            told = part.set_index("quantity")
            cells = [_told(told.loc[name]) if name in told.index else "" for name in own]
            lines.append(f"| {before} to {after} | {told['n'].iloc[0]} {told['over'].iloc[0]} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _told(row: pd.Series) -> str:
    text = f"{row['change']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
    return f"**{text}**" if row["low"] > 0 or row["high"] < 0 else text


def draw(rows: pd.DataFrame, path: Path) -> None:
    """The best score of each training against the additivity of its network, and B-cos by its exponent."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    kinds = {"B-cos": "tab:orange", "Fixup": "tab:green", "blocks": "tab:purple", "standard": "tab:blue"}
    for kind, colour in kinds.items():
        some = rows[rows["arm"].str.contains(kind, regex=False)]
        axes[0].scatter(some["additivity"], some["best"], s=16, color=colour, alpha=0.7, label=f"{kind}: best of all")
    own = rows.dropna(subset=["own"])
    axes[0].scatter(own["additivity"], own["own_less_baseline"], s=16, marker="x", color="black", label="B-cos: own")
    axes[0].set(xlabel="additivity over cells", ylabel="IDSDS")
    axes[0].legend(fontsize=8)
    names = {"B-cos, B = 1": 1.0, "B-cos, B = 1.5": 1.5, "B-cos": 2.0}
    some = rows[rows["arm"].isin(names)].assign(b=lambda x: x["arm"].map(names))
    for column, colour, label in (
        ("ig", "tab:blue", "Integrated Gradients"), ("own", "tab:orange", "own explanation"),
        ("own_less_baseline", "black", "own explanation less baseline"), ("additivity", "grey", "additivity"),
    ):  # fmt: skip
        axes[1].scatter(some["b"], some[column], s=14, color=colour, alpha=0.5)
        means = some.groupby("b")[column].mean()
        axes[1].plot(means.index, means, color=colour, label=label)
    axes[1].set(xlabel="exponent B", ylabel="IDSDS, or correlation", xticks=[1, 1.5, 2])
    axes[1].legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Reads the options, and writes the tables and the figure."""
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    for name in ("csv", "pairs", "figure", "markdown"):
        options.add_argument(f"--{name}", type=Path)
    given = options.parse_args()
    images = images_of(given.folder)
    rows, pairs = rows_of(images), pairs_of(images)
    if given.csv:
        rows.round(4).to_csv(given.csv, index=False)
    if given.pairs:
        pairs.round(4).to_csv(given.pairs, index=False)
    if given.figure:
        draw(rows, given.figure)
    print(rows.groupby("arm").mean(numeric_only=True).drop(columns="seed").round(2).to_string())
    if given.markdown:
        given.markdown.write_text(markdown(pairs))
    if len(pairs):
        shown = pairs[~pairs["quantity"].isin(["drops", "flat", "accuracy"])]
        print(shown.drop(columns="contradiction").round(3).to_string(index=False))


if __name__ == "__main__":
    main()
