"""What a model can be trained for, by name, and the options class of each task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from xaibench.cards import Alignment
from xaibench.errors import XaibenchError, did_you_mean
from xaibench.training.guidance.options import GuidedOptions
from xaibench.training.lico.options import LicoOptions
from xaibench.training.options import (
    AdversarialOptions,
    CgcOptions,
    ClassifierOptions,
    PartDeletionOptions,
    PatchDeletionOptions,
    RandomMasksOptions,
    TaskOptions,
)

if TYPE_CHECKING:
    from xaibench.training.task import Task

TASKS: dict[str, type[TaskOptions]] = {
    "classifier": ClassifierOptions, "patch-deletion": PatchDeletionOptions, "random-masks": RandomMasksOptions,
    "part-deletion": PartDeletionOptions, "guided": GuidedOptions, "lico": LicoOptions, "cgc": CgcOptions,
    "adversarial": AdversarialOptions,
}  # fmt: skip
"""The options of every task, by its name on the command line."""


def parse_options(task: str, options: Mapping[str, Any]) -> TaskOptions:
    """The options of a task from a table of plain values.

    Raises XaibenchError, with the nearest name, for a task or an option that does not exist, and for values of another
    type.
    """
    if task not in TASKS:
        raise XaibenchError(f"no training task is called {task!r}; {_nearest(task, TASKS, 'take')}")
    known = list(TASKS[task].keys().values())
    for option in options:
        if option not in known:
            hint = _nearest(option, known, "it has")
            raise XaibenchError(f"training task {task} has no option {option!r}; {hint}")
    return TASKS[task].parse(options, f"training task {task}")


def make_task(task: str, options: Mapping[str, Any], download: bool = False) -> Task:
    """The task of a name with options; raises XaibenchError as `parse_options` and `TaskOptions.make_task` do."""
    return parse_options(task, options).make_task(download)


def alignment_fields(alignment: Alignment | None) -> dict[str, Any]:
    """The fields `task` and `task_options` of a `TrainingConfig` that train on these deletions; None: on intact images.

    A card's alignment without a field that the task's options have, such as a grid, cannot be made.
    """
    if alignment is None:
        return {"task": "classifier"}
    probability, baseline = alignment.probability, alignment.baseline
    if alignment.kind == "parts":
        return {"task": "part-deletion", "task_options": {"probability": probability}}
    if alignment.kind == "pixels":
        return {"task": "random-masks", "task_options": {"share": probability, "baseline": baseline}}
    options = {"grid": alignment.grid, "baseline": baseline, "probability": probability}
    return {"task": "patch-deletion", "task_options": options}


def _nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    return did_you_mean(name, known, most=1) or f"{otherwise} {', '.join(known)}"
