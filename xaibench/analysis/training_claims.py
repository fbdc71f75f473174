"""Claims about how long trainings take, and about which of two scores a design changes less."""

from __future__ import annotations

import numpy as np

from xaibench.analysis.arm import Arm
from xaibench.analysis.changes import change_intervals
from xaibench.analysis.comparison import ENOUGH, Comparison
from xaibench.analysis.design_claims import of_pairs, study_of, too_few
from xaibench.analysis.group_claims import welch
from xaibench.analysis.ranking import RANKED
from xaibench.analysis.verdicts import NOT, SHOWS, UNTOLD, ClaimText, Measured, State, in_range


def seconds(claim: ClaimText, measured: Measured) -> tuple[State, str]:
    """The ratio of the seconds of an epoch, the second arm's over the first's: Welch's interval of the difference of
    their logarithms over trainings. Seconds are those of one machine; its load is part of their spread."""
    study = study_of(measured.studies[claim.comparison], claim.protocol)

    def part(pair: Comparison) -> tuple[State, str]:
        arms = study.arms[pair.before], study.arms[pair.after]
        what = f"seconds of an epoch, {pair.before} to {pair.after}"
        times = [np.array([second for second in arm.seconds if second > 0]) for arm in arms]  # NaN is not
        if unknown := [arm.name for arm, known in zip(arms, times, strict=True) if not len(known)]:
            return UNTOLD, f"{what}: those of {' and '.join(unknown)} are not recorded"
        if min(map(len, times)) < ENOUGH:
            found = times[1].mean() / times[0].mean()
            return UNTOLD, f"{what}: {found:.2f} times as long; {too_few(tuple(map(len, times)))}"
        return in_range(claim, f"{what}, ratio", *np.exp(welch(*map(np.log, times))))

    return of_pairs(claim, measured, part)


def changes_less(claim: ClaimText, measured: Measured) -> tuple[State, str]:
    """Whether the score of `other_protocol` changes less, in size, than that of `protocol` from the first arm to the
    second: `|change| > |other change|` is `s * change - other > 0` and `s * change + other > 0` for the sign s of the
    change, and it shows where the intervals of both are above 0; the other way round it does not."""
    every = measured.studies[claim.comparison]
    studies = [study_of(every, protocol) for protocol in (claim.protocol, claim.other_protocol)]
    if studies[1] is None:
        return UNTOLD, f"not run under {claim.other_protocol}"

    def part(pair: Comparison) -> tuple[State, str]:
        if pair.after not in studies[1].arms or pair.before not in studies[1].arms:
            return UNTOLD, f"{pair.before} to {pair.after}: not run under {claim.other_protocol}"
        scores = [_paired([study.arms[name] for study in studies], claim) for name in (pair.before, pair.after)]
        (first, other_first), (second, other_second) = scores
        changes = float(second.mean() - first.mean()), float(other_second.mean() - other_first.mean())
        found = f"{claim.protocol} {changes[0]:+.3f}, {claim.other_protocol} {changes[1]:+.3f}"
        why = f"{pair.before} to {pair.after}: {found}"
        if min(pair.trainings) < ENOUGH:
            return UNTOLD, f"{why}; {too_few(pair.trainings)}"
        if _larger((first, second), (other_first, other_second), np.sign(changes[0])):
            return SHOWS, why
        return (NOT if _larger((other_first, other_second), (first, second), np.sign(changes[1])) else UNTOLD), why

    return of_pairs(claim, measured, part)


def _larger(scores: tuple[np.ndarray, np.ndarray], others: tuple[np.ndarray, np.ndarray], sign: float) -> bool:
    """Whether the change of scores, of a sign, is surely larger in size than that of others."""
    lows = [
        change_intervals(*(sign * score + way * other for score, other in zip(scores, others, strict=True)))[0][0]
        for way in (-1, 1)
    ]
    return bool(np.all(np.array(lows) > 0))


def _paired(arms: list[Arm], claim: ClaimText) -> list[np.ndarray]:
    """Scores of an arm under two protocols on the images of both, (trainings, images, 1) each: of one method, or the
    mean of those that are ranked."""
    images = [image for image in arms[0].images if image in set(arms[1].images)]
    found = []
    for arm in arms:
        named = claim.methods or [name for name, kind in zip(arm.methods, arm.kinds, strict=True) if kind in RANKED]
        part = arm.scores[:, [arm.images.index(image) for image in images]]
        found.append(part[:, :, [arm.methods.index(name) for name in named]].mean(axis=-1, keepdims=True))
    return found
