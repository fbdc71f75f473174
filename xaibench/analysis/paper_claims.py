"""Whether numbers show a paper's claim: what the statistics of boards and comparisons say, in one of three words.

A paper names its claims beforehand, so each is tested by itself, at the level of 5 %: of many claims that are wrong, a
few may show. Each statistic can say `shows`, `does not show` (the opposite is established) or `cannot be told`. Nothing
is decided by the order of means alone. Claims about methods hold for the networks at hand; claims about designs need
`ENOUGH` trainings of each arm (`comparison`). A claim of several parts shows where every part does, and does not where
any part is established the other way round.
"""

from __future__ import annotations

from collections.abc import Callable

from xaibench.analysis.board_claims import at_most, better, order, trade_off
from xaibench.analysis.comparison import ENOUGH
from xaibench.analysis.design_claims import accuracy, across, change
from xaibench.analysis.group_claims import between_groups, correlated, ratio
from xaibench.analysis.training_claims import changes_less, seconds
from xaibench.analysis.verdicts import UNTOLD, ClaimText, Measured, State, Verdict, names_of

DECIDED: dict[str, Callable[[ClaimText, Measured], tuple[State, str]]] = {
    "better": better, "at-most": at_most, "between-groups": between_groups, "correlation": correlated, "ratio": ratio,
    "change": change, "across": across, "accuracy": accuracy, "seconds": seconds, "changes-less": changes_less,
    "order": order, "trade-off": trade_off,
}  # fmt: skip


def decide(claim: ClaimText, measured: Measured) -> Verdict:
    """The verdict on a claim."""
    if claim.statistic == "none":
        return Verdict(claim.name, claim.text, UNTOLD, claim.why)
    for name in names_of(claim):
        if name not in measured.boards and name not in measured.studies:
            absent = f"{name} is not part of this scale"
            if name == claim.comparison:
                absent = f"this scale does not compare {name}: claims about designs take {ENOUGH} trainings of each arm"
            lacking = measured.lacking.get(name) or claim.why or absent
            return Verdict(claim.name, claim.text, UNTOLD, lacking)
    state, why = DECIDED[claim.statistic](claim, measured)
    return Verdict(claim.name, claim.text, state, why)
