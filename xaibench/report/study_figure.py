"""The pictures of a comparison of designs: the change of every method, and the best score against accuracy."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xaibench.printing import clean
from xaibench.report.inputs import Study
from xaibench.report.study_page import interval_kinds
from xaibench.report.style import ACCENT, COLOURS, INK, QUIET, SOFT, STYLE, WIDTH, save_figure
from xaibench.report.text import UNRANKED_KINDS, count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROW = 0.2  # inches per method
ACROSS = 3  # pairs beside each other
BELOW = 108  # characters of a line below the title
OF_ARMS = (*COLOURS, INK, QUIET)
MARKERS = "osD^vP*X"


def study_figures(study: Study, stem: Path) -> list[Path]:
    """Draws the changes to `stem`.png, and the best score against accuracy to `stem`-accuracy.png where arms are
    models or are trained in ways of their own and their accuracies are known. Returns the paths."""
    drawn = [changes_figure(study, stem.with_name(f"{stem.name}.png"))]
    if (study.across_models or study.trained) and study.summary["accuracy"].notna().any():
        drawn.append(accuracy_figure(study, stem.with_name(f"{stem.name}-accuracy.png")))
    return drawn


def changes_figure(study: Study, path: Path) -> Path:
    """One panel per pair: each method's change with its 95 % interval, grey where that has 0 in it."""
    import matplotlib
    from matplotlib.figure import Figure

    methods = list(dict.fromkeys(name for pair in study.pairs for name in pair.table["method"]))
    wide = min(ACROSS, len(study.pairs))
    rows = -(-len(study.pairs) // wide)
    tall = ROW * len(methods)
    with matplotlib.rc_context(STYLE):
        top = textwrap.wrap(f"{clean(study.title)} · {clean(study.card.question)}", 88)
        over = " or ".join(kind.partition(" (")[0] for kind in interval_kinds(study))
        below = f"change of each method (second - first), 95 % interval {over}; grey: 0 is inside"
        if not all(pair.enough for pair in study.pairs):
            below += "; too few trainings for a claim about the design"
        heading = 0.42 + 0.19 * len(top) + 0.14 * (len(textwrap.wrap(below, BELOW)) - 1)
        height = heading + rows * (tall + 0.85)
        figure = Figure(figsize=(WIDTH, height), facecolor="white")
        _headings(figure, height, top, below)
        left, gap = 0.09 + 0.066 * max(map(len, methods)) / WIDTH, 0.03
        each = (0.98 - left - gap * (wide - 1)) / wide
        ends = np.concatenate([pair.table[["change", "ci_low", "ci_high"]].to_numpy().ravel() for pair in study.pairs])
        low, high = min(np.nanmin(ends), 0), max(np.nanmax(ends), 0)
        margin = 0.04 * max(high - low, 1e-9)
        limits = low - margin, high + margin
        for number, pair in enumerate(study.pairs):
            line, column = divmod(number, wide)
            bottom = height - heading - line * (tall + 0.85) - tall - 0.3
            axes = figure.add_axes((left + column * (each + gap), bottom / height, each, tall / height))
            for row in pair.table.to_dict("records"):
                y = len(methods) - 1 - methods.index(row["method"])
                ranked = row["kind"] not in UNRANKED_KINDS
                colour = (ACCENT if row["better"] else "#b3331d") if row["clear"] and ranked else QUIET
                axes.hlines(y, row["ci_low"], row["ci_high"], color=colour, linewidth=1.4)
                axes.plot(
                    row["change"], y, "o", color=colour, markersize=4, markerfacecolor=colour if ranked else "white"
                )
            axes.axvline(0, color=SOFT, linewidth=0.8)
            axes.set_xlim(*limits)
            axes.set_ylim(-0.6, len(methods) - 0.4)
            axes.set_yticks(np.arange(len(methods))[::-1])
            axes.set_yticklabels([clean(name) for name in methods] if not column else [], parse_math=False, size=7.5)
            axes.tick_params(axis="y", length=0)
            axes.tick_params(axis="x", labelsize=7)
            axes.locator_params(axis="x", nbins=4)
            axes.grid(axis="x", color="#e4e4e4", linewidth=0.7)
            axes.set_axisbelow(True)
            title = textwrap.wrap(f"{clean(pair.before)} \u2192 {clean(pair.after)}", 30)
            title.append(f"{pair.improved} of {pair.count} improve, mean {pair.change:+.3f}")
            axes.set_title("\n".join(title), size=7.5, loc="left", parse_math=False)
            for side in ("top", "right", "left"):
                axes.spines[side].set_visible(False)
        return save_figure(figure, path, small=True)


def accuracy_figure(study: Study, path: Path) -> Path:
    """The best score of every training against its accuracy, a colour and mark per arm, labelled with the best method.

    Where images are in groups it is the accuracy of the worst group.
    """
    import matplotlib
    from matplotlib.figure import Figure

    measure = "worst_group" if "worst_group" in study.summary else "accuracy"
    table = study.summary[study.summary[measure].notna()]
    with matplotlib.rc_context(STYLE):
        top = textwrap.wrap(f"{clean(study.protocol_label)} against accuracy · {clean(study.card.title)}", 88)
        height = 4.3 + 0.19 * len(top)
        figure = Figure(figsize=(WIDTH, height), facecolor="white")
        grouped = measure == "worst_group"
        known = next((arm.accuracy_of for arm in study.arms.values() if arm.accuracy_of), "")
        measured_on = "the worst group of these images" if grouped else known
        alone = table["best_method"].iloc[0] if table["n_methods"].max() == 1 else ""
        images = count(int(table["n_images"].min()), "image")
        chosen = "" if alone else " with its best method, chosen"
        below = f"one mark per training{chosen} on the same {images}; accuracy on {measured_on}"
        _headings(figure, height, top, below)
        axes = figure.add_axes((0.09, 0.5 / height, 0.66, (height - 1.1 - 0.19 * len(top)) / height))
        for number, (name, rows) in enumerate(table.groupby("arm", sort=False)):
            colour, mark = OF_ARMS[number % len(OF_ARMS)], MARKERS[number // len(OF_ARMS) % len(MARKERS)]
            axes.plot(rows[measure], rows["best"], mark, color=colour, markersize=6, label=_short(name), alpha=0.9)
            last, label = rows.iloc[-1], "" if alone else clean(rows.iloc[-1]["best_method"])
            axes.annotate(label, (last[measure], last["best"]), xytext=(4, 4), size=6.5,
                          textcoords="offset points", color=INK, parse_math=False)  # fmt: skip
        axes.margins(0.12)
        axes.set_xlabel("accuracy of the worst group" if grouped else "accuracy")
        axes.set_ylabel(f"{clean(alone or 'best method')}: {clean(study.metric)}", parse_math=False)
        axes.xaxis.set_major_formatter("{x:.1%}")
        axes.locator_params(axis="x", nbins=6)
        axes.grid(color="#e4e4e4", linewidth=0.7)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=7.5)
        return save_figure(figure, path, small=True)


def _headings(figure: Figure, height: float, top: list[str], below: str) -> None:
    figure.text(0.02, 1 - 0.12 / height, "\n".join(top), va="top", weight="bold", linespacing=1.35, parse_math=False)
    figure.text(0.02, 1 - (0.17 + 0.19 * len(top)) / height, textwrap.fill(below, BELOW), va="top", size=7.5,
                color=SOFT, parse_math=False)  # fmt: skip


def _short(name: str) -> str:
    name = clean(name)
    return name if len(name) <= 22 else f"{name[:21]}\u2026"
