"""The weights of an arm of a comparison that is trained for a task."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from xaibench.errors import XaibenchError
from xaibench.training.api import fields_without_start, plan_training
from xaibench.training.config import TrainingConfig
from xaibench.training.guidance.options import GuidedOptions
from xaibench.training.guidance.request import Search
from xaibench.training.recipe import expand_recipe
from xaibench.training.resources import TrainingResources
from xaibench.training.subject import Report, Subject, report_nothing


class NoEpochChosen(XaibenchError):
    """A guided training in which every epoch loses too much classification."""


@dataclass(frozen=True)
class TrainedArm:
    """Weights, and the mean seconds of an epoch of their training, without evaluation."""

    weights: Path
    seconds: float


def train_arm(subject: Subject, resources: TrainingResources, report: Report = report_nothing) -> TrainedArm:
    """Trains what a request asks for, unless that is done already, from the baseline of the same seed where its recipe
    starts from plain weights.

    Of a guided training the weights are those of the epoch that its option `choose` selects, of others those of the
    epoch that the task keeps. Raises NoEpochChosen where no epoch can be selected, and XaibenchError as
    `plan_training` and `Training.run` do.
    """
    config = subject.config
    options = config.options
    if isinstance(options, GuidedOptions):
        return _guided(subject, options, resources, report)
    start = (getattr(config.make_task(), "recipe", {}) | expand_recipe(config.recipe)).get("start")
    weights = subject.baseline(config.seed, resources, report) if start == "plain" else config.weights
    path = plan_training(config.with_fields(weights=weights)).run(resources=resources)
    return TrainedArm(path, epoch_seconds(path))


def arm_fields(config: TrainingConfig) -> dict[str, Any]:
    """What the header of the weights that `train_arm` would leave says, without metrics and the digest of the weights
    that they start from: known without any weights. Raises XaibenchError as `plan_training`."""
    options = config.options
    if not isinstance(options, GuidedOptions):
        return fields_without_start(config)
    search = _search(options)
    task = {"name": search.name} | search.key_fields
    return fields_without_start(config, search.tasks(0)[0]) | {"task": task}


def _search(options: GuidedOptions) -> Search:
    return replace(options.search(), test_images=0)  # a comparison evaluates the weights itself


def _guided(subject: Subject, options: GuidedOptions, resources: TrainingResources, report: Report) -> TrainedArm:
    from xaibench.training.guidance_search import guide

    search = _search(options)
    outcome = guide(subject, search, resources, report)
    if outcome.weights is None:
        config, task = subject.config, search.task
        raise NoEpochChosen(
            f"{config.model} guided by {task.loss} at lambda {task.weight:g}, seed {config.seed}: every epoch loses "
            f"more than 5 points of {outcome.score}; take a smaller lambda, or choose = score"
        )
    return TrainedArm(outcome.weights, epoch_seconds(outcome.runs[0].trainings[0].path))


def epoch_seconds(path: Path) -> float:
    """The mean seconds of an epoch of the training that left weights at a path, without evaluation."""
    seconds = pq.read_table(path.with_name("metrics.parquet"), columns=["train_seconds"])["train_seconds"].to_pylist()
    return sum(seconds) / len(seconds)
