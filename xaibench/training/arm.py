"""The weights of an arm of a comparison that is trained in a way of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from xaibench.errors import XaibenchError
from xaibench.training.guidance.guided import Guided
from xaibench.training.guidance.request import Search
from xaibench.training.guidance.search import guide
from xaibench.training.recipe import expand_recipe
from xaibench.training.subject import Subject
from xaibench.training.task import Task


class NothingToJudge(XaibenchError):
    """A guided training of which every epoch loses too much classification."""


@dataclass(frozen=True)
class Trained:
    """Weights, and the mean seconds of an epoch of their training, without evaluation."""

    weights: Path
    seconds: float


def train_arm(
    subject: Subject, task: Task, seed: int, *, choose: str = "epg", say: Callable[[str], None] = lambda words: None,
    **how: Any,
) -> Trained:  # fmt: skip
    """Trains what is not trained yet, with a seed, from the baseline of the same seed where it does not start afresh.

    choose: of a guided training, the epoch with the highest EPG on validation images that loses at most 5 points of F1
    or accuracy against the baseline (`epg`), or the one with the best classification (`score`); of others the epoch
    that they keep. how: workers, device, precision, quiet. Raises NothingToJudge where every epoch loses more, and
    XaibenchError as `Training.carry_out` does.
    """
    if isinstance(task, Guided):
        outcome = guide(
            replace(subject, seed=seed), Search(task, (task.weight,), choose=choose, test_images=0), say=say, **how
        )
        if outcome.weights is None:
            raise NothingToJudge(
                f"{subject.model} guided by {task.loss} at lambda {task.weight:g}, seed {seed}: every epoch loses more "
                f"than 5 points of {outcome.score}; take a smaller lambda, or choose = score"
            )
        return Trained(outcome.weights, _seconds(outcome.runs[0].trainings[0].path))
    start = (getattr(task, "recipe", {}) | expand_recipe(subject.changes)).get("start")
    weights = subject.baseline(seed, say, **how) if start == "plain" else "plain"
    path = subject.plan(task, seed, weights).run(**how)
    return Trained(path, _seconds(path))


def _seconds(path: Path) -> float:
    seconds = pq.read_table(path.with_name("metrics.parquet"), columns=["train_seconds"])["train_seconds"].to_pylist()
    return sum(seconds) / len(seconds)
