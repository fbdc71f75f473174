"""Claims about groups of images, sizes of objects and two boards, which rows of boards decide: of their networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from xaibench.analysis.bootstrap import LEVEL
from xaibench.analysis.correlation import correlation
from xaibench.analysis.groups import by_class, by_correctness, known_pairs
from xaibench.analysis.intervals import mean_intervals
from xaibench.analysis.leaderboard import Leaderboard
from xaibench.analysis.scores import pair_index, scored
from xaibench.analysis.verdicts import NOT, SHOWS, UNTOLD, ClaimText, Measured, State, all_of, in_range
from xaibench.errors import XaibenchError
from xaibench.results.cells import metric_declaration

OTHERS = "others"
FEWEST = 5  # images of a group: fewer say nothing of its variance


def between_groups(claim: ClaimText, measured: Measured) -> tuple[State, str]:
    """Welch's interval of the difference of a method's mean between two groups of images, such as one class and the
    others: images of different groups are not paired."""
    board = measured.boards[claim.run]
    if lacking := _lacking(board, claim.methods):
        return UNTOLD, lacking
    try:
        groups = groups_of(board, claim.by)
    except XaibenchError as error:
        return UNTOLD, str(error)
    before, after = claim.groups
    parts = []
    for method in claim.methods:
        scores = scores_by_pair(board, method)
        one, other = (_of_group(scores, groups, name, claim.groups) for name in (before, after))
        if min(len(one), len(other)) < FEWEST:
            counts = f"{len(one)} images of {before}, {len(other)} of {after}"
            parts.append((UNTOLD, f"{method}: {counts}; {FEWEST} of each are the least"))
            continue
        mean, low, high = welch(one, other)
        parts.append(in_range(claim, f"{method}, {before} to {after}", mean, low, high))
    return all_of(parts)


def welch(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """The difference of means, second - first, of two independent samples, with the ends of Welch's 95 % interval;
    NaN where neither varies."""
    from scipy.stats import t

    parts = [sample.var(ddof=1) / len(sample) for sample in (first, second)]
    variance, mean = sum(parts), float(second.mean() - first.mean())
    if not variance > 0:
        return mean, float("nan"), float("nan")
    freedom = variance**2 / sum(
        part**2 / (len(sample) - 1) for part, sample in zip(parts, (first, second), strict=True)
    )
    half = float(t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(variance))
    return mean, mean - half, mean + half


def correlated(claim: ClaimText, measured: Measured) -> tuple[State, str]:
    """The interval over images of Pearson's r of a method's score, or of the score divided by the root of another
    metric, with that metric."""
    board = measured.boards[claim.run]
    if lacking := _lacking(board, claim.methods):
        return UNTOLD, lacking
    try:
        table = correlation(board, claim.metric, per_root=claim.per_root).table.set_index("method")
    except XaibenchError as error:
        return UNTOLD, str(error)
    parts = []
    for method in claim.methods:
        row = table.loc[method]
        what = f"{method}, r with {claim.metric} over {row['n_rows']} rows of {row['n_images']} images"
        parts.append(in_range(claim, what, row["r"], row["ci_low"], row["ci_high"]))
    return all_of(parts)


def ratio(claim: ClaimText, measured: Measured) -> tuple[State, str]:
    """Whether the mean of one method on one board is between `low` and `high` times that of another (`METHOD@RUN`), by
    the intervals of first - low * second and high * second - first over the images that both have."""
    parts = []
    for one, other in claim.pairs:
        frame, lacking = paired_scores(claim, measured, (one, other))
        if lacking:
            parts.append((UNTOLD, lacking))
            continue
        first, second = frame[one].to_numpy(float), frame[other].to_numpy(float)
        margins = np.stack([first - claim.low * second, claim.high * second - first], axis=1)
        low, high = mean_intervals(margins)
        state = SHOWS if (low > 0).all() else NOT if (high < 0).any() else UNTOLD
        found = first.mean() / second.mean() if second.mean() else float("nan")
        what = f"{one} {first.mean():.3f}, {other} {second.mean():.3f}, ratio {found:.2f}"
        parts.append((state, f"{what}, claimed between {claim.low:g} and {claim.high:g}"))
    return all_of(parts)


def paired_scores(claim: ClaimText, measured: Measured, names: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """Scores of methods, one column each, on the images that all have; and what is lacking, "" for nothing. A name is
    that of a method of the claim's board, or METHOD@RUN."""
    columns = {}
    for name in names:
        method, _, run = name.partition("@")
        board = measured.boards.get(run or claim.run)
        if board is None:
            return pd.DataFrame(), measured.lacking.get(run or claim.run, f"{run or claim.run} has no results")
        if lacking := _lacking(board, [method]):
            return pd.DataFrame(), lacking
        columns[name] = board.image_scores()[method]
    frame = pd.DataFrame(columns).dropna()
    return frame, "" if len(frame) else "no image has a score of each method"


def _lacking(board: Leaderboard, methods: Sequence[str]) -> str:
    lacking = [name for name in methods if name not in set(board.table["method"])]
    return f"not on the board: {', '.join(lacking)}" if lacking else ""


def groups_of(board: Leaderboard, by: str) -> pd.Series:
    """The group of each (image, explained class), by its class or by correctness; XaibenchError where none is known."""
    source = board.require_source()
    pairs = known_pairs(source.rows[source.rows["metric"] == board.metric])
    groups = by_correctness(pairs) if by == "correctness" else by_class(pairs, board.context, source)
    if groups.isna().all():
        raise XaibenchError(f"{by} is not known of any image")
    return groups


def scores_by_pair(board: Leaderboard, method: str, metric: str = "") -> pd.Series:
    """A method's mean score of each (image, explained class); metric: "" for the board's."""
    source, metric = board.require_source(), metric or board.metric
    (key,) = [cell.key for cell in source.cells if cell.method_name == method]
    protocol = board.context["protocol"] | metric_declaration(board.context["protocol"], metric)
    rows = source.rows
    rows = scored(rows[rows["metric"] == metric], protocol)
    rows = rows[rows["cell"] == key]
    return rows["score"].set_axis(pair_index(rows)).groupby(level=[0, 1]).mean().dropna()


def _of_group(scores: pd.Series, groups: pd.Series, name: str, named: Sequence[str]) -> np.ndarray:
    """Mean scores of the images of a group; `others` are those in none of the named ones."""
    own = groups.reindex(scores.index)
    chosen = own.notna() & ~own.isin(named) if name == OTHERS else own == name
    return scores[chosen.to_numpy(bool)].groupby(level=0).mean().to_numpy(float)
