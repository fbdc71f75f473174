"""One training from its task to a file of weights: the loop, and the header that says how they were made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xaibench.models.base import Model
from xaibench.models.state import WEIGHTS_FILE, save_state
from xaibench.training.head import HeadStage
from xaibench.training.loop import Trained, fit
from xaibench.training.recipe import Recipe
from xaibench.training.resources import TrainingResources
from xaibench.training.task import Split, Task
from xaibench.training.times import without_times


@dataclass(frozen=True)
class TrainingJob:
    """What a model is trained for and how, and where its weights go.

    folder receives `weights.safetensors` with key_fields and metrics in its header. title: for the progress bar. head:
    names of the tensors of the network that the recipe's head_epochs train alone.
    """

    task: Task
    recipe: Recipe
    folder: Path
    key_fields: dict[str, Any] = field(default_factory=dict)
    title: str = "model"
    seed: int = 0
    head: tuple[str, ...] = ()


def train(model: Model, split: Split, job: TrainingJob, resources: TrainingResources = TrainingResources()) -> Path:  # noqa: B008
    """Trains model.net for a task and writes `weights.safetensors` in the folder of the job.

    Call again with the same folder to resume. Returns the path of the weights.
    """
    model.net.requires_grad_(True).to(memory_format=torch.channels_last)
    objective = job.task.objective(model, split, job.recipe, job.seed, resources.workers)
    path = job.folder / WEIGHTS_FILE
    stage = HeadStage(model.net, job.head, job.recipe.head_epochs) if job.recipe.head_epochs else None

    def keep(net: nn.Module, trained: Trained) -> None:
        chosen = {} if objective.monitor == "accuracy" else {"monitor": objective.monitor}
        save_state(
            model.net, path, job.key_fields | {"metrics": without_times(trained.history[trained.epoch - 1])} | chosen
        )

    fit(
        objective, job.recipe, job.folder, title=f"training {job.title}", seed=job.seed, resources=resources, keep=keep,
        before_epoch=stage,
    )  # fmt: skip
    return path
