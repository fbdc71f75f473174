"""Claims that boards decide: which methods are better, how high a mean is, whether two boards order methods alike."""

from __future__ import annotations

import warnings

import numpy as np

from xaibench.analysis.agreement import agreement
from xaibench.analysis.comparison import ENOUGH
from xaibench.analysis.group_claims import paired_scores
from xaibench.analysis.sign_flip import holm, sign_flip, subsets_of
from xaibench.analysis.verdicts import NOT, SHOWS, UNTOLD, ClaimText, Measured, State, all_of
from xaibench.printing import NO_METHOD
from xaibench.seeds import derive

LIMIT = 0.05  # of p
MOST = 4  # pairs that are all shown
PAIRINGS = 9999  # of models with accuracies


def better(claim: ClaimText, measured: Measured) -> tuple[State, str]:
    """Paired sign-flip tests of the pairs that the paper names, on the images of one board or, of `METHOD@RUN`, of two:
    it shows where each pair differs in the claimed direction (p < .05), and does not where any differs the other way
    after Holm's step over these pairs. It speaks of these networks."""
    names = list(dict.fromkeys(name for pair in claim.pairs for name in pair))
    board = measured.boards[claim.run]
    scores, lacking = paired_scores(claim, measured, names)
    if lacking:
        return UNTOLD, lacking
    subsets, means = subsets_of(scores.to_numpy()), scores.mean()
    tests = [sign_flip(subsets, names.index(one), names.index(other)) for one, other in claim.pairs]
    adjusted = holm(np.array([test.p for test in tests]))
    parts = []
    for (one, other), test, p in zip(claim.pairs, tests, adjusted, strict=True):
        ahead = (means[one] > means[other]) == board.higher_is_better
        state = SHOWS if ahead and test.p < LIMIT else NOT if not ahead and p < LIMIT else UNTOLD
        shown = [f"{name.removeprefix(f'{NO_METHOD}@')} {means[name]:.3f}" for name in (one, other)]
        parts.append((state, f"{', '.join(shown)}, p = {test.p:.2g}"))
    return _shortened(parts) if len(parts) > MOST else all_of(parts)


def _shortened(parts: list[tuple[State, str]]) -> tuple[State, str]:
    """Of many pairs, those that differ as claimed as a number, and the others in full."""
    state, _ = all_of(parts)
    others = [why for of_pair, why in parts if of_pair != SHOWS]
    count = f"{len(parts) - len(others)} of {len(parts)} pairs differ as claimed (p < {LIMIT:g})"
    return state, "; ".join([count, *others])


def at_most(claim: ClaimText, measured: Measured) -> tuple[State, str]:
    """The interval of the mean of each method: it shows where all of it is at most the bound, and does not where all of
    it is above."""
    table, parts = measured.boards[claim.run].table.set_index("method"), []
    for name in claim.methods:
        if name not in table.index or not np.isfinite(table.loc[name, "ci_low"]):
            parts.append((UNTOLD, f"{name} has no interval"))
            continue
        low, high = table.loc[name, ["ci_low", "ci_high"]]
        state = SHOWS if high <= claim.bound else NOT if low > claim.bound else UNTOLD
        parts.append((state, f"{name} {table.loc[name, 'mean']:.3f} [{low:.3f}, {high:.3f}], claimed at most "
                             f"{claim.bound:g}"))  # fmt: skip
    return all_of(parts)


def order(claim: ClaimText, measured: Measured) -> tuple[State, str]:
    """The interval of the rank correlation of two boards: it shows where all of it is at least the bound, and does not
    where all of it is below."""
    boards = {name: measured.boards[name] for name in (claim.run, claim.other)}
    found = agreement({name: board.ranked_scores() for name, board in boards.items()},
                      {name: board.higher_is_better for name, board in boards.items()})  # fmt: skip
    row = found.table.iloc[0]
    if not np.isfinite(row["rho"]):
        return UNTOLD, row["status"]
    state = SHOWS if row["rho_low"] >= claim.bound else NOT if row["rho_high"] < claim.bound else UNTOLD
    return state, (
        f"rank correlation {row['rho']:.2f} [{row['rho_low']:.2f}, {row['rho_high']:.2f}] of {row['n_methods']} "
        f"methods on {row['n_images']} images, claimed at least {claim.bound:g}"
    )


def trade_off(claim: ClaimText, measured: Measured) -> tuple[State, str]:
    """Over models: best ranked mean against accuracy, by a permutation test of Spearman's rho."""
    points = []
    for name, board in measured.boards.items():
        means = board.table.loc[board.table["rank"].notna(), "mean"]
        if len(means) and np.isfinite(measured.accuracies.get(name, np.nan)):
            points.append((measured.accuracies[name], means.max() if board.higher_is_better else means.min()))
    if len(points) < ENOUGH:
        return UNTOLD, f"{len(points)} models with known accuracy; {ENOUGH} are the least"
    rho, p = _rank_test(*np.array(points).T)
    why = f"rank correlation of best score and accuracy {rho:+.2f} over {len(points)} models, p = {p:.3f}"
    if not p < LIMIT:
        return UNTOLD, why
    return (SHOWS if (rho > 0) == (claim.direction == "up") else NOT), why


def _rank_test(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Spearman's rho of two lists and its two-sided p over pairings: all of them where they are few."""
    from scipy.stats import permutation_test, spearmanr

    with warnings.catch_warnings(action="ignore"):  # of a list that is constant: rho is NaN, and so is p
        found = permutation_test(
            (first,), lambda values: spearmanr(values, second).statistic, permutation_type="pairings", vectorized=False,
            n_resamples=PAIRINGS, rng=np.random.default_rng(derive(0, "pairings of models")),
        )  # fmt: skip
    return float(found.statistic), float(found.pvalue)
