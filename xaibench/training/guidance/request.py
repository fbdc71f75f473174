"""Which guided trainings are run: lambdas, seeds and subsets; and how one model is chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from xaibench.errors import XaibenchError
from xaibench.training.guidance.guided import Guided

CHOICES = ("epg", "score")


@dataclass(frozen=True)
class Search:
    """What is trained and how one model is chosen.

    task: everything but lambda, which is each of `lambdas` in turn. repeats: seeds, from the training's on. subsets:
    draws of the annotated images, from the task's seed of them on. choose: `epg`, the highest EPG of those that lose at
    most 5 points of F1 or accuracy against the baseline; `score`, the highest F1 or accuracy. test_images: the first so
    many test images, None for all, 0 where another command evaluates the chosen model. Raises XaibenchError for
    settings that are out of range.
    """

    task: Guided
    lambdas: tuple[float, ...]
    repeats: int = 1
    subsets: int = 1
    choose: str = "epg"
    test_images: int | None = None
    name: str = "guided"

    def __post_init__(self):
        if not self.lambdas or len(set(self.lambdas)) < len(self.lambdas):
            raise XaibenchError("--lambda is one number or several different ones, separated by commas")
        if self.choose not in CHOICES:
            raise XaibenchError(f"--choose is {' or '.join(CHOICES)}, not {self.choose!r}")
        if self.subsets > 1 and self.task.annotations.fraction == 1:
            raise XaibenchError("--subsets draws images to annotate; with --fraction 1 all are annotated")

    @property
    def key_fields(self) -> dict[str, Any]:
        """Those of the task with all lambdas, and how one model is chosen; test images choose nothing."""
        more = {"lambda": list(self.lambdas), "choose": self.choose, "repeats": self.repeats, "subsets": self.subsets}
        return self.task.key_fields | more

    def tasks(self, subset: int) -> list[Guided]:
        """A task for each lambda, with one draw of the annotated images."""
        annotations = replace(self.task.annotations, seed=self.task.annotations.seed + subset)
        return [replace(self.task, weight=weight, annotations=annotations) for weight in self.lambdas]
