"""Forgeries of a submission, by kind: each changes a copy of its folder, or writes a ZIP file of it.

`structural(folder)` yields (kind, name, forge): `forge(root, relist)` gives the path that is handed in. relist
lists the sums anew, as a forger who knows the format would; where it is not called, the sums betray the change. A
folder `board` that it leaves beside root is the board that the submission is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from forged_archives import archives, folders
from forged_cells import cells
from forged_details import details
from forged_lists import lists
from forged_records import code, listed, records
from forged_rows import rows
from forged_values import values
from forging import Forge


def structural(folder: Path) -> Iterator[tuple[str, str, Forge]]:
    """All of them."""
    for part in (archives, folders, listed, cells, values, rows, lists, records, code, details):
        yield from part(folder)
