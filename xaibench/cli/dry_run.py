"""What `xaibench run --dry-run` prints: a run's jobs, passes, time, memory and disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from xaibench.cli.output import echo
from xaibench.printing import clean, size_text
from xaibench.progress import clock

if TYPE_CHECKING:
    from xaibench.evaluation.estimate import Estimate


def print_estimate(found: Estimate) -> None:
    """Prints what a run would take; the last line says what does not fit."""
    for name, text in _lines(found):
        echo(f"{name:<20}{clean(text)}")
    if found.disk > found.free_disk:
        echo(f"does not fit: {size_text(found.disk)} are stored, {size_text(found.free_disk)} are free on the disk")


def _lines(found: Estimate) -> Iterator[tuple[str, str]]:
    """The name and the text of each line."""
    total, timed = found.total, found.timed
    lacking = round(total.images)
    yield "run", f"{found.title}, on {found.device}, {found.batch} images and {found.chunk} passes together"
    yield "results", f"{found.results} ({found.jobs} jobs, {found.images} images), {found.stored} of them stored"
    for training in found.trainings:
        yield (
            "first", f"trains {training.title}: {clock(training.seconds)} for {training.epochs} epochs of "
            f"{training.images} images, without validation; not in the time below"
        )  # fmt: skip
    if not lacking:
        yield "missing", "nothing"
        return
    yield "missing", f"{'at most ' if found.most else ''}{lacking} images"
    fitted = total.forward_equivalents - found.fitting.forward_equivalents
    yield (
        "forward-equivalents", f"{fitted / lacking:.0f} an image, {total.forward_equivalents:.0f} in all"
        + (", with the fit to held-out images" if found.fitting.seconds else "")
    )  # fmt: skip
    each = timed.seconds / timed.images
    yield "time", f"{clock(total.seconds)}, by {round(timed.images)} timed images at {each:.3g} s each"
    yield "memory", f"{size_text(found.memory)} so far, {size_text(found.free_memory)} more are free"
    kept = "kept" if found.keep_maps else "not kept; with --keep-maps"
    yield (
        "disk", f"{size_text(found.row_bytes)} of rows, {size_text(total.map_bytes)} of maps ({kept}), "
        f"{size_text(found.free_disk)} are free"
    )  # fmt: skip
