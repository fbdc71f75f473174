"""Figures of a survey: answers before and after by image, changed answers, respondents as box plots, and how often each
of several words was chosen."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from xaibench.printing import clean
from xaibench.report.style import COLOURS, INK, SOFT, STYLE, WIDTH, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEFORE, AFTER = COLOURS[4], COLOURS[0]
HEIGHT = 3.2  # inches of a figure of answers
BAR = 0.26  # inches of a line of choices


def answers_figure(answers: pd.DataFrame, title: str, path: Path) -> Path:
    """Draws answers (`before`, `after`, and `image`, `respondent` or both) to a .png, .svg or .pdf file.

    The panels that they allow: the mean answer about each image; how many answers changed, where answers are 0 and 1;
    and the respondents' means as box plots. Pairs with a missing answer are left out.
    """
    import matplotlib
    from matplotlib.figure import Figure

    whole = answers.dropna(subset=["before", "after"])
    binary = whole[["before", "after"]].isin([0, 1]).all(axis=None)
    panels = [_by_image] if "image" in whole else []
    panels += [_changed] if binary else []
    panels += [_by_respondent] if "respondent" in whole else []
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, HEIGHT), facecolor="white", layout="constrained")
        wide = {_by_image: 2.0, _changed: 1.0, _by_respondent: 1.0}
        every = figure.subplots(1, len(panels), squeeze=False, width_ratios=[wide[draw] for draw in panels])[0]
        for axes, draw in zip(every, panels, strict=True):
            draw(axes, whole, "share of right answers" if binary else "mean answer")
            _plain(axes)
        figure.suptitle(clean(title), size=9, weight="bold", parse_math=False)
        return save_figure(figure, path, small=True)


def _by_image(axes: Axes, answers: pd.DataFrame, label: str) -> None:
    means = answers.groupby("image", sort=False)[["before", "after"]].mean()
    places = np.arange(len(means))
    for shift, name, colour in ((-0.2, "before", BEFORE), (0.2, "after", AFTER)):
        axes.bar(places + shift, means[name], width=0.38, color=colour, label=name)
    axes.set_xticks(places, [textwrap.fill(clean(name), 10) for name in means.index], size=7, parse_math=False)
    axes.set_ylabel(label, color=INK)
    axes.legend(frameon=False, fontsize=7, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)


def _changed(axes: Axes, answers: pd.DataFrame, label: str) -> None:
    change = answers["after"] - answers["before"]
    counts = [int((change > 0).sum()), int((change < 0).sum())]
    drawn = axes.bar(["wrong to\nright", "right to\nwrong"], counts, color=[COLOURS[2], COLOURS[1]], width=0.6)
    axes.bar_label(drawn, size=7)
    axes.set_ylabel("answers that changed", color=INK)


def _by_respondent(axes: Axes, answers: pd.DataFrame, label: str) -> None:
    means = answers.groupby("respondent", sort=False)[["before", "after"]].mean()
    drawn = axes.boxplot(
        [means["before"], means["after"]], patch_artist=True, widths=0.6, medianprops={"color": INK},
        flierprops={"markersize": 3},
    )  # fmt: skip
    for box, colour in zip(drawn["boxes"], (BEFORE, AFTER), strict=True):
        box.set(facecolor=colour, alpha=0.8)
    axes.set_xticks([1, 2], ["before", "after"])
    axes.set_ylabel(f"{label}, respondents", color=INK)


def choices_figure(counts: pd.DataFrame, title: str, path: Path) -> Path:
    """Draws how often each answer was chosen (`image`, `question`, `answer`, `share`, `count`): a bar per image and
    question, cut by the shares of its answers, with the number of answers behind it."""
    import matplotlib
    from matplotlib.figure import Figure

    bars = list(dict.fromkeys(zip(counts["image"], counts["question"], strict=True)))
    words = list(dict.fromkeys(counts["answer"]))
    shares = counts.set_index(["image", "question", "answer"])["share"]
    totals = counts.groupby(["image", "question"])["count"].sum()
    lines = -(-len(words) // 4)
    height = 0.9 + BAR * len(bars) + 0.2 * lines
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), facecolor="white", layout="constrained")
        axes = figure.subplots()
        ends = np.zeros(len(bars))
        for number, word in enumerate(words):
            part = np.array([shares.get((*bar, word), 0.0) for bar in bars])
            hatch = None if number < len(COLOURS) else "///"
            axes.barh(np.arange(len(bars)), part, left=ends, height=0.8, label=clean(word), edgecolor="white",
                      color=COLOURS[number % len(COLOURS)], hatch=hatch, linewidth=0.5)  # fmt: skip
            ends += part
        for place, bar in enumerate(bars):
            axes.text(1.01, place, f"n = {totals[bar]}", size=6, color=SOFT, va="center")
        names = [textwrap.shorten(clean(f"{image}: {question}"), 40, placeholder="...") for image, question in bars]
        axes.set_yticks(np.arange(len(bars)), names, size=7, parse_math=False)
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of answers", color=INK)
        _plain(axes)
        figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=7)
        figure.suptitle(clean(title), size=9, weight="bold", parse_math=False)
        return save_figure(figure, path, small=True)


def _plain(axes: Axes) -> None:
    axes.set_axisbelow(True)
    axes.tick_params(colors=SOFT)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
