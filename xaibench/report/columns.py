"""Every column of every board, once: its name, what it means, and how it is shown. A new column is a new entry here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from xaibench.report.table import EVERYWHERE, FOR_PEOPLE, FOR_PROGRAMS, ON_SCREEN, Column
from xaibench.report.text import format_cost, format_p, format_share, format_short


def _name(name: str, explanation: str, **more: Any) -> Column:
    """A column of names: on the left, on several lines where a terminal is narrow."""
    return Column(name, explanation, align="left", wraps=True, **more)


def rank_interval(row: Mapping[str, Any]) -> str:
    """Best and worst rank of a row, such as `1-3`; "" without a rank."""
    return "" if pd.isna(row["rank_low"]) else f"{row['rank_low']}-{row['rank_high']}"


def verdict(row: Mapping[str, Any]) -> str:
    """Whether a change is better or worse, or its interval has 0 in it; `here` where trainings are too few for more."""
    if not row["clear"]:
        return "not told apart"
    return ("better" if row["better"] else "worse") + ("" if row.get("enough_trainings", True) else " here")


def tau_interval(row: Mapping[str, Any]) -> str:
    """The interval of tau, such as `0.41 to 0.78`; "" where there is none."""
    return "" if pd.isna(row["tau_low"]) else f"{row['tau_low']:.2f} to {row['tau_high']:.2f}"


def yes_or_nothing(value: Any) -> str:
    """`yes` for a true value, "" for a false one."""
    return "yes" if value else ""


METHOD = _name("method", "attribution method")
MODEL = _name("model", "the explained model")
KIND = Column("kind", "method, variant, control or oracle; the last two are not ranked", align="left", dropped=1)
MEAN = Column("mean", "mean score over images")
CI_LOW = Column("ci_low", "lower end of the 95 % interval")
CI_HIGH = Column("ci_high", "upper end of the 95 % interval")
RANK = Column("rank", "rank by the mean among methods and variants that have every image")
RANKS = Column(
    "ranks",
    "rank set: best and worst rank, for all methods at once at 95 %",
    value=rank_interval,
    outputs=ON_SCREEN,
    dropped=2,
)
RANK_LOW = Column("rank_low", "best rank of the 95 % rank set", outputs=FOR_PROGRAMS | {"markdown"})
RANK_HIGH = Column("rank_high", "worst rank of the 95 % rank set", outputs=FOR_PROGRAMS | {"markdown"})
LETTERS = Column("group", "methods that share a letter cannot be told apart", align="left", dropped=3)
N_IMAGES = Column("n_images", "images in the mean")
N_UNDEFINED = Column("n_undefined", "images with an undefined map, which count at the protocol's cost")
COVERAGE = Column(
    "coverage", "share of the image list that is stored", format=format_share, format_markdown=format_short,
    hidden_if=lambda values: all(value == 1 for value in values),
)  # fmt: skip
PASSES = Column(
    "passes", "forward passes an image that its maps need when it is run alone; a backward pass counts as two",
    format=format_cost, dropped=4,
)  # fmt: skip
PASSES_SHARED = Column(
    "passes_shared", "the same, with each shared pass divided equally among the methods of the run that use it",
    format=format_cost, outputs=FOR_PROGRAMS,
)  # fmt: skip
SECONDS = Column(
    "seconds", "seconds an image that its maps take when it is run alone", format=format_cost, dropped=3
)  # fmt: skip
SECONDS_SHARED = Column(
    "seconds_shared", "the same, with shared work divided equally among the methods of the run that use it",
    format=format_cost, outputs=FOR_PROGRAMS,
)  # fmt: skip
COST_IMAGES = Column("cost_images", "images on which passes and seconds were measured", outputs=FOR_PROGRAMS)
COSTS = (PASSES, SECONDS, PASSES_SHARED, SECONDS_SHARED, COST_IMAGES)
ACCURACY = Column("accuracy", "accuracy of the model", format=format_share)
ACCURACY_ON = _name("accuracy_on", "the images on which the accuracy was measured")
BEST_METHOD = _name("best_method", "the ranked method with the best mean on these images")
BEST = Column("best", "mean score of the best method")
MEAN_OF_METHODS = Column("mean", "mean score over the ranked methods")
N_METHODS = Column("n_methods", "number of ranked methods")
REPLAY = _name(
    "replay", "whether enough of a submitted result was computed again, and all of its submission's that was is equal"
)

LEADERBOARD = (
    RANK, METHOD, MEAN, CI_LOW, CI_HIGH, N_IMAGES, N_UNDEFINED, RANKS, RANK_LOW, RANK_HIGH, LETTERS, COVERAGE, *COSTS,
    KIND, REPLAY,
)  # fmt: skip

GROUP = _name("group", "group of images; all: every image")
GROUPS = (
    GROUP, N_IMAGES, Column("n_pairs", "explained classes of images"),
    Column("n_reference", "explained classes left out, as the reference is undefined"),
    Column("accuracy", "accuracy of the model on the explained classes"),
)  # fmt: skip
BREAKDOWN = (
    GROUP, METHOD, MEAN, CI_LOW, CI_HIGH, N_IMAGES, replace(N_UNDEFINED, hidden_if=lambda values: not any(values)),
    KIND,
)  # fmt: skip

CORRELATION = (
    METHOD, Column("r", "Pearson's correlation of the two scores"), CI_LOW, CI_HIGH,
    Column("n_rows", "rows with both scores"), replace(N_IMAGES, explanation="images that these rows are of"),
    Column("n_undefined", "rows left out, as one of the two scores is undefined"), KIND,
)  # fmt: skip


def pair_verdict(row: Mapping[str, Any]) -> str:
    """Whether a board tells the first method of a pair from the second."""
    if row["n_tied"] == row["n_images"]:
        return "identical"
    return "surely better" if row["surely_better"] else "not told apart"


P = Column("p", "p-value of this test alone, two-sided", format=format_p)
PAIRS = (
    _name("first", "the method with the better mean"), _name("second", "the method that it is compared with"),
    Column("difference", "mean of the first - mean of the second"),
    replace(CI_LOW, explanation="lower end of the 95 % interval of the difference, of this pair alone"),
    replace(CI_HIGH, explanation="upper end of the 95 % interval of the difference, of this pair alone"),
    Column("d_z", "mean of the images' differences over their standard deviation", dropped=2),
    Column(
        "superiority", "share of images on which the first is better, ties counted half", format=format_share, dropped=4
    ),
    Column("n_tied", "images on which both score the same", dropped=1, hidden_if=lambda values: not any(values)),
    replace(N_IMAGES, outputs=FOR_PROGRAMS), replace(P, dropped=3),
    Column("p_holm", "p-value after Holm's step over all pairs", format=format_p),
    Column("surely_better", "whether the board tells the first from the second", outputs=FOR_PROGRAMS),
    _name("verdict", "whether the first is surely better, all pairs judged at once", value=pair_verdict,
          outputs=FOR_PEOPLE),
)  # fmt: skip

SURVEY = (
    _name("test", "the statistical test"), Column("unit", "what the test takes as independent", align="left"),
    Column("n", "number of units; for McNemar, answers that changed"),
    Column("quantity", "what is estimated", align="left", dropped=2),
    Column("estimate", "mean change, after - before; or answers corrected per answer lost"),
    replace(CI_LOW, explanation="lower end of the 95 % interval of the estimate"),
    replace(CI_HIGH, explanation="upper end of the 95 % interval of the estimate"),
    Column("statistic", "t, chi-square, or the smaller of the two counts of changes for the exact test"),
    Column("df", "degrees of freedom", format=format_short, dropped=1), P,
)  # fmt: skip

PRINTED = (
    _name("name", "what the number is of, as the paper calls it"), Column("printed", "the number in the paper"),
    Column("ours", "our mean"), Column("difference", "ours - printed"),
    Column("quantity", "what the numbers are", align="left", outputs=FOR_PROGRAMS),
)  # fmt: skip
CLAIMS = (
    Column("claim", "the name of the claim", align="left"),
    _name("text", "what the paper says", title="the paper says"),
    Column("state", "shows, does not show, or cannot be told", align="left"),
    _name("why", "the numbers that decide", title="here"),
)  # fmt: skip

ACROSS_MODELS = (
    replace(RANK, explanation="rank by the mean among all ranked pairs of model and method"), MODEL, METHOD, MEAN,
    CI_LOW, CI_HIGH, replace(N_IMAGES, outputs=FOR_PROGRAMS), RANKS, replace(RANK_LOW, outputs=FOR_PROGRAMS),
    replace(RANK_HIGH, outputs=FOR_PROGRAMS), replace(LETTERS, outputs=FOR_PROGRAMS), KIND,
)  # fmt: skip
GROUP_OF_MODELS = replace(
    LETTERS, explanation="models that share a letter cannot be told apart by their best methods",
    hidden_if=lambda values: not any(values),
)  # fmt: skip
MODELS = (
    MODEL, ACCURACY, replace(ACCURACY_ON, dropped=2), BEST_METHOD, BEST, CI_LOW, CI_HIGH, GROUP_OF_MODELS,
    MEAN_OF_METHODS, replace(N_METHODS, dropped=1),
)  # fmt: skip

BEFORE = Column("before", "mean of the first arm")
AFTER = Column("after", "mean of the second arm")
CHANGE = Column("change", "second arm - first arm")
BETTER = Column("better", "whether the change is in the better direction", outputs=FOR_PROGRAMS)
CLEAR = Column("clear", "whether the interval leaves out 0", outputs=FOR_PROGRAMS)
VERDICT = _name(
    "verdict", "better or worse where the interval leaves out 0; here: no claim about the design", value=verdict,
    outputs=FOR_PEOPLE,
)  # fmt: skip
CHANGES = (METHOD, BEFORE, AFTER, CHANGE, CI_LOW, CI_HIGH, BETTER, CLEAR, VERDICT, KIND)
CHANGES_OF_PAIRS = (
    *CHANGES,
    Column("pair", "the two arms"),
    Column("judge", "the protocol with its settings"),
    Column("enough_trainings", "whether there are enough trainings of both arms for a claim about the design"),
)
ACCURACY_CHANGES = (
    Column("images", "group of images"), Column("count", "number of images"), BEFORE, AFTER, CHANGE, CI_LOW, CI_HIGH,
    BETTER, CLEAR, VERDICT,
)  # fmt: skip
SPREAD = (
    METHOD, replace(MEAN, explanation="mean over trainings"),
    Column("deviation", "standard deviation over trainings (n - 1)"), Column("lowest", "of the trainings' means"),
    Column("highest", "of the trainings' means"), Column("trainings", "number of trainings"), KIND,
)  # fmt: skip
TRAININGS = (
    _name("arm", "side of the comparison"), Column("training", "number of the training"), ACCURACY, BEST_METHOD, BEST,
    MEAN_OF_METHODS, replace(N_IMAGES, explanation="images of the means"), N_METHODS,
    Column("worst_group", "accuracy of the worst group of images"),
    Column("epoch_seconds", "seconds of an epoch of training, without evaluation"),
)  # fmt: skip
OVERVIEW = (
    _name("arm", "side of the comparison"), METHOD, Column("trainings", "number of trainings", dropped=1),
    Column("accuracy", "mean accuracy of the trainings"), Column("worst_group", "mean accuracy of the worst group"),
    Column("epoch_seconds", "mean seconds of an epoch of training, without evaluation"),
)  # fmt: skip

BOARD = _name("name", "the board, by what tells it from the others", title="board")
AGREEING_BOARDS = (
    BOARD, Column("reliability", "rho to be expected between its order and that of as many other images"),
    N_METHODS, replace(N_IMAGES, explanation="images of its means"),
)  # fmt: skip
_TAU_ENDS = (
    Column("tau_low", "lower end of its 95 % bootstrap interval", outputs=FOR_PROGRAMS | {"markdown", "html"}),
    Column("tau_high", "upper end of its 95 % bootstrap interval", outputs=FOR_PROGRAMS | {"markdown", "html"}),
    Column("interval", "95 % bootstrap interval of tau", value=tau_interval, outputs=frozenset({"text"})),
)  # fmt: skip
AGREEMENT = (
    _name("first", "one board"), _name("second", "the other board"),
    Column("tau", "Kendall's tau-b of the two orders of methods"),
    *_TAU_ENDS,
    Column("rho", "Spearman's rho of the two orders of methods"),
    Column("rho_low", "lower end of its 95 % bootstrap interval", outputs=FOR_PROGRAMS),
    Column("rho_high", "upper end of its 95 % bootstrap interval", outputs=FOR_PROGRAMS),
    Column("corrected", "rho without what so few images take from it"),
    _name("status", "why a number is undefined, or from what it was cut", hidden_if=lambda values: not any(values)),
    Column("n_methods", "ranked methods that both boards have", dropped=1),
    Column("n_images", "images that both boards have", dropped=2),
)  # fmt: skip

META_RANK = (
    METHOD, Column("mean_rank", "mean rank over boards"),
    Column("spread", "standard deviation of the rank over boards"),
    Column("best_rank", "its best rank on a board"), Column("worst_rank", "its worst rank on a board"),
    Column("n_boards", "boards that differ in settings alone", dropped=1),
)  # fmt: skip
META_RANK_SETTINGS = (
    _name("setting", "the setting in which two boards differ"), _name("values", "its values on these boards"),
    Column("tau", "mean Kendall's tau-b of pairs of boards that differ in it alone"), *_TAU_ENDS,
    Column("n_pairs", "such pairs of boards", dropped=1),
)  # fmt: skip
META_RANK_BOARDS = (BOARD, Column("tau", "mean Kendall's tau-b with the other boards"), *_TAU_ENDS)

PARETO_POINTS = (
    METHOD, MODEL, ACCURACY, replace(ACCURACY_ON, dropped=1), BEST_METHOD, replace(PASSES, dropped=0),
    replace(SECONDS, dropped=0), replace(PASSES_SHARED, outputs=EVERYWHERE),
    replace(SECONDS_SHARED, outputs=EVERYWHERE), MEAN, CI_LOW, CI_HIGH,
    Column("on_front", "whether no other is at least as good in both and better in one", format=yes_or_nothing),
    _name("beaten_by", "the best mean of those that are no worse in both, and better in one"),
    Column("surely", "whether the board tells it from one that beats it", format=yes_or_nothing),
)  # fmt: skip
