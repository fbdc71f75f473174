"""What a check of a data set found, as text, CSV and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xaibench.datasets.walk import skipped_lines
from xaibench.printing import clean
from xaibench.report.table import Column, Table
from xaibench.report.text import count, json_text

if TYPE_CHECKING:
    from xaibench.datasets.check import Check

MOST = 20  # problems that are listed
WAYS = {"raw": "shown as stored", "undecided": "undecided", "upright": "turned upright"}
COLUMNS = (
    Column("class", "name of the class", align="left", wraps=True), Column("images", "images with this label"),
    Column("boxes", "boxes of this class"), Column("masks", "masks of this class that have a pixel"),
)  # fmt: skip


def check_text(found: Check, width: int | None, colour: bool) -> str:
    """Pieces, counts, a table of the classes that occur, and groups."""
    parts = [f"{clean(found.name)}: {count(found.images, 'image')}"]
    for piece in found.pieces:
        kind = " (optional)" if piece.optional else ""
        state = f"{piece.count} in" if piece.count is not None else f"MISSING{kind}, looked for in"
        parts.append(f"  {clean(piece.what)}: {state} {clean(piece.path)}")
    if found.groups:
        parts.append("groups: " + ", ".join(f"{clean(name)} {number}" for name, number in found.groups.items()))
    if found.exif:
        parts.append(
            "photos with an EXIF orientation: " + ", ".join(f"{n} {WAYS[way]}" for way, n in found.exif.items())
        )
    parts += [f"left out: {clean(line)}" for line in skipped_lines(found.skipped)]
    parts.append(", ".join(f"{number} without a {what}" for what, number in found.without.items()))
    if found.cut_off:
        parts.append(f"boxes that the display cuts off altogether: {found.cut_off}")
    there = found.classes[(found.classes.drop(columns="class").fillna(0) > 0).any(axis=1)]
    parts.append(f"{len(there)} of {len(found.classes)} classes occur")
    known = tuple(column for column in COLUMNS if found.classes[column.name].notna().any())
    if len(there):
        parts += ["", Table(known, there).to_text(width, colour)]
    return "\n".join(parts)


def problem_lines(found: Check) -> list[str]:
    """The problems, a line each up to `MOST`, and their number."""
    if not found.problems:
        return [f"no problems; {found.read} of {count(found.images, 'image')} read"]
    lines = [clean(line) for line in found.problems[:MOST]]
    more = f", of which {MOST} are listed" if len(found.problems) > MOST else ""
    return [*lines, f"{count(len(found.problems), 'problem')}{more}"]


def check_csv(found: Check) -> str:
    """The table of all classes, empty where there is no value."""
    return Table(COLUMNS, found.classes).to_csv()


def check_json(found: Check) -> str:
    """Everything as one JSON object, null where there is no value."""
    return json_text({
        "dataset": found.name, "images": found.images, "read": found.read, "groups": found.groups,
        "without": found.without, "boxes_cut_off": found.cut_off, "exif": found.exif,
        "skipped": {reason: list(names) for reason, names in found.skipped.items()},
        "problems": found.problems,
        "pieces": [vars(piece) for piece in found.pieces], "classes": Table(COLUMNS, found.classes).records(),
    })  # fmt: skip
