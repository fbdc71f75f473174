"""Claims about designs of models, which comparisons over trainings and images decide."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from xaibench.analysis.arm import Arm
from xaibench.analysis.changes import change_intervals
from xaibench.analysis.comparison import ENOUGH, Comparison
from xaibench.analysis.ranking import RANKED
from xaibench.analysis.study import Study
from xaibench.analysis.verdicts import UNTOLD, ClaimText, Measured, State, all_of, in_range
from xaibench.printing import NO_METHOD


def study_of(studies: Sequence[Study], protocol: str) -> Study | None:
    """The study of a protocol, as its tables or its card call it, or the first where none is named; None where it has
    no results."""
    named = [study for study in studies if protocol in (study.protocol_label, study.protocol, "")]
    return named[0] if named else None


def change(claim: ClaimText, measured: Measured) -> tuple[State, str]:
    """The mean change over ranked methods, or that of one method, in each pair of arms."""

    def part(pair: Comparison) -> tuple[State, str]:
        mean, low, high, of = pair.change, pair.low, pair.high, _methods_of(pair)
        if claim.methods:
            row = pair.table.set_index("method").reindex([claim.methods[0]]).iloc[0]
            mean, low, high, of = row["change"], row["ci_low"], row["ci_high"], f", {claim.methods[0]}"
        return directed(claim, f"{pair.before} to {pair.after}{of}", mean, low, high, pair.trainings, pair.confounded)

    return of_pairs(claim, measured, part)


def _methods_of(pair: Comparison) -> str:
    """Of which methods a change is the mean, such as `, mean of 19 methods`, `, ixg`, and nothing of networks alone."""
    if pair.count != 1:
        return f", mean of {pair.count} methods"
    (name,) = pair.table.loc[pair.table["kind"].isin(RANKED), "method"]
    return "" if name == NO_METHOD else f", {name}"


def accuracy(claim: ClaimText, measured: Measured) -> tuple[State, str]:
    """The change of the accuracy on a group of images, or on all, in each pair of arms."""

    def part(pair: Comparison) -> tuple[State, str]:
        known = {} if pair.accuracy_changes is None else pair.accuracy_changes.set_index("images").to_dict("index")
        group = next((name for name in claim.group if name in known), None)
        if group is None:
            return UNTOLD, f"the accuracy on {' or '.join(claim.group)} is not known"
        what = f"{pair.before} to {pair.after}, accuracy on {group}"
        ends = (known[group][name] for name in ("change", "ci_low", "ci_high"))
        return directed(claim, what, *ends, pair.trainings, pair.confounded)

    return of_pairs(claim, measured, part)


def of_pairs(
    claim: ClaimText, measured: Measured, part: Callable[[Comparison], tuple[State, str]]
) -> tuple[State, str]:
    """One verdict over the pairs of arms that a claim names, or all; of every model where there are several."""
    study = study_of(measured.studies[claim.comparison], claim.protocol)
    if study is None:
        return _no_protocol(claim.protocol)
    there = {(pair.before, pair.after): pair for pair in study.pairs}
    wanted = _of_models(claim, measured.models.get(claim.comparison, ())) or [*there]
    return all_of([part(there[arms]) if arms in there else _without_results(*arms) for arms in wanted])


def _of_models(claim: ClaimText, models: Sequence[str]) -> list[tuple[str, str]]:
    """The names of the arms that a claim is about, of each model where the comparison has several."""
    found: list[tuple[str, str]] = []
    for before, after in claim.pairs:
        named = any(before.startswith(f"{model}: ") for model in models)
        found += (
            [(before, after)] if named or len(models) < 2 else [(f"{m}: {before}", f"{m}: {after}") for m in models]
        )
    return found


def _no_protocol(protocol: str) -> tuple[State, str]:
    return UNTOLD, f"not run under {protocol}"


def _without_results(before: str, after: str) -> tuple[State, str]:
    return UNTOLD, f"{before} to {after}: not run"


def across(claim: ClaimText, measured: Measured) -> tuple[State, str]:
    """The mean change from a method of one arm to a method of another; `best` is the arm's best method on half of the
    images, and the others are compared."""
    study, parts = study_of(measured.studies[claim.comparison], claim.protocol), []
    if study is None:
        return _no_protocol(claim.protocol)
    for before, after in claim.pairs:
        if not {before, after} <= study.arms.keys():
            parts.append(_without_results(before, after))
            continue
        arms = study.arms[before], study.arms[after]
        images = sorted(set(arms[0].images) & set(arms[1].images))
        names, half = [], images
        if "best" in claim.methods:  # chosen on half of the images, compared on the others
            half = images[1::2]
        for arm, method in zip(arms, claim.methods, strict=True):
            names.append(_best(arm, images[::2], study.higher_is_better) if method == "best" else method)
        if any(name not in arm.methods for arm, name in zip(arms, names, strict=True)):
            return UNTOLD, f"{' or '.join(names)} is not among the methods of its arm"
        first, second = (scores_of(arm, half, name) for arm, name in zip(arms, names, strict=True))
        low, high = change_intervals(first, second)
        what = f"{names[0]} on {before} to {names[1]} on {after}"
        trainings = arms[0].trainings, arms[1].trainings
        mean = float(second.mean() - first.mean())
        parts.append(directed(claim, what, mean, float(low[0]), float(high[0]), trainings, False))
    return all_of(parts)


def directed(
    claim: ClaimText, what: str, mean: float, low: float, high: float, trainings: tuple[int, int], confounded: bool
) -> tuple[State, str]:
    """Whether a change with its interval is where a claim says."""
    why = f"{what}: {mean:+.3f} [{low:+.3f}, {high:+.3f}]"
    if confounded:
        return UNTOLD, f"{why}; its arms differ in more than the design"
    if min(trainings) < ENOUGH:
        return UNTOLD, f"{why}; {too_few(trainings)}"
    return in_range(claim, what, mean, low, high)


def too_few(trainings: tuple[int, ...]) -> str:
    """What fewer than `ENOUGH` trainings of an arm lack, in words."""
    return f"{min(trainings)} of the {ENOUGH} trainings that a claim about a design takes"


def _best(arm: Arm, images: Sequence[str], higher: bool) -> str:
    ranked = [name for name, kind in zip(arm.methods, arm.kinds, strict=True) if kind in RANKED]
    means = [scores_of(arm, images, name).mean() for name in ranked]
    return ranked[int(np.argmax(means) if higher else np.argmin(means))]


def scores_of(arm: Arm, images: Sequence[str], method: str) -> np.ndarray:
    """Scores of a method, (trainings, images, 1)."""
    places = [arm.images.index(image) for image in images]
    return arm.scores[:, places][:, :, [arm.methods.index(method)]]
