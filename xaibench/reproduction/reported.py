"""Numbers that papers print: CSV files whose column `item` names the table or figure."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from xaibench.cards import PrintedNumbers, StudyCard
from xaibench.errors import XaibenchError
from xaibench.home import shipped_folder


@cache
def reported() -> Path:
    """The folder of these files: inside the package, or `leaderboards/reported` in a checkout."""
    return shipped_folder("_reported", "leaderboards/reported")


def rows_of(card: StudyCard, printed: PrintedNumbers) -> list[dict[str, str]]:
    """The rows of a file that belong to a study; raises XaibenchError for a missing file, column, or no rows."""
    path = reported() / printed.file
    try:
        with path.open(encoding="utf-8", newline="") as file:
            every = list(csv.DictReader(file))
    except OSError as error:
        raise XaibenchError(f"study {card.name}: printed numbers {path} cannot be read: {error.strerror}") from None
    wanted = {"item", *printed.key, *filter(None, [printed.value])}
    if lacking := wanted - set(every[0] if every else ()):
        raise XaibenchError(f"study {card.name}: {path} has no column {', '.join(sorted(lacking))}")
    found = [row for row in every if row["item"] == (printed.item or card.item)]
    if not found:
        raise XaibenchError(f"study {card.name}: {path} has no row of {printed.item or card.item}")
    return found


def numbers(card: StudyCard, printed: PrintedNumbers) -> dict[str, float]:
    """The printed numbers by name, in the paper's order, divided by their unit; those that are illegible are left out.

    Raises XaibenchError as `rows_of`, for two numbers of one name, and for a value that is no number.
    """
    found: dict[str, float] = {}
    for row in rows_of(card, printed):
        name = ", ".join(row[column] for column in printed.key)
        if name in found:
            raise XaibenchError(f"study {card.name}: {printed.file} has two numbers of {name}")
        if row[printed.value]:
            try:
                found[name] = float(row[printed.value]) / printed.unit
            except ValueError:
                raise XaibenchError(f"study {card.name}: {printed.file}: {row[printed.value]!r} is no number") from None
    return found
