"""One study, run or read from what is stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from xaibench import registry
from xaibench.analysis.comparison import ENOUGH
from xaibench.analysis.reproduction import Reproduction
from xaibench.analysis.stored import StoredResults
from xaibench.analysis.verdicts import Measured
from xaibench.cards.study import Scale
from xaibench.plugins import add
from xaibench.reproduction.measure import StoredStudies, compute, measured
from xaibench.reproduction.needs import check_data, scale_of
from xaibench.reproduction.reproduce import reproduce


def study(
    name: str, scale: Scale, out: Path, *, also: tuple[Path, ...] = (), stored: bool = False, trainings: int = 0,
    quiet: bool = False, report: Callable[[str], None] = lambda line: None, cards: tuple[Path, ...] = (),
    **changes: Any,
) -> Reproduction:  # fmt: skip
    """Runs what a study lacks in a results folder, and gives its numbers and verdicts.

    Args:
        name: of the study's card; scale: which data.
        out: the results folder.
        also: folders whose results count too: what they have is not run.
        stored: compute nothing, and use what the folders have.
        trainings: how many trainings of each arm of a comparison are run; 0 for as many as the card has. What is stored
            counts whole, up to the larger of this and the five that claims about designs take.
        report: is given a line before each step.
        cards: folders of cards.
        changes: fields of runs and comparisons that replace those of the card, such as device.

    Raises XaibenchError where the scale cannot run (with what to fetch and the cost), and what runs raise.
    """
    add((), cards)
    card = registry.card("study", name)
    one = scale_of(card, scale)
    if not stored:
        check_data(card, scale, changes.get("data_root"))
        changed = {name: value for name, value in changes.items() if value}
        compute(card, one, out, quiet, report, also, trainings, **changed)
    if not (one.runs or one.comparisons):  # figures of images are drawn from networks
        return reproduce(card, scale, Measured({}, {}, {}, {}))
    folders = [out] if (out / "rows").is_dir() or not also else []  # nothing had to be run
    results = StoredResults(*folders, *also, newest=registry.shipped_version)
    found = StoredStudies(results, max(trainings, ENOUGH))
    return reproduce(card, scale, measured(one, found, changes.get("data_root")))
