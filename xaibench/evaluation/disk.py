"""Whether what a run stores fits on the disk, told before it starts."""

from __future__ import annotations

import shutil
from pathlib import Path

from xaibench.attribution.runner import PRECISIONS
from xaibench.errors import XaibenchError
from xaibench.evaluation.compute import Missing
from xaibench.evaluation.plan import Plan
from xaibench.printing import size_text
from xaibench.results.maps import MapIndex


def free_bytes(folder: Path) -> int:
    """Free bytes of the file system of a folder, which need not be there yet."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def least_map_bytes(plan: Plan, missing: Missing, kept: MapIndex, precision: str) -> int:
    """The bytes that maps which are not kept yet take at least: one map for each image and map key, with nothing around
    it. Images may have more classes to explain, and files have headers."""
    images: dict[str, set[str]] = {}
    for job in plan.jobs:
        if job.method and (lacking := missing.get(job.key)):
            images.setdefault(job.maps, set()).update(lacking)
    lacking = sum(len(found - kept.images(key)) for key, found in images.items())
    return lacking * plan.side**2 * PRECISIONS[precision].itemsize


def check_disk(needed: int, folder: Path, what: str) -> None:
    """Raises XaibenchError where more bytes are needed than a folder's file system has."""
    free = free_bytes(folder)
    if needed > free:
        raise XaibenchError(
            f"this run does not fit on the disk: {what} take {size_text(needed)} or more, {size_text(free)} are free "
            f"in {folder}; free some space, name another --out, or leave out --keep-maps"
        )
