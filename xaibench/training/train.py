"""One training from its task to a file of weights: the loop, and the header that says how they were made."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch
from torch import nn

from xaibench.models.base import Model
from xaibench.models.state import save_state
from xaibench.training.head import HeadStage
from xaibench.training.loop import TIMES, Trained, fit
from xaibench.training.recipe import Recipe
from xaibench.training.task import Split, Task


def train(
    model: Model,
    split: Split,
    task: Task,
    recipe: Recipe,
    folder: Path,
    key_fields: dict,
    *,
    title: str,
    seed: int = 0,
    workers: int = 0,
    device: str = "cpu",
    precision: str = "float32",
    quiet: bool = False,
    head: Collection[str] = (),
) -> Path:
    """Trains model.net for a task and writes `folder/weights.safetensors`, whose header holds the facts and metrics.

    head names the tensors of model.net that the recipe's head_epochs train alone. Call again with the same folder to
    resume. Returns the path of the weights.
    """
    model.net.requires_grad_(True).to(memory_format=torch.channels_last)
    objective = task.objective(model, split, recipe, seed, workers)
    path = folder / "weights.safetensors"
    stage = HeadStage(model.net, head, recipe.head_epochs) if recipe.head_epochs else None

    def keep(net: nn.Module, trained: Trained) -> None:
        chosen = {} if objective.monitor == "accuracy" else {"monitor": objective.monitor}
        save_state(model.net, path, key_fields | {"metrics": _kept(trained)} | chosen)

    fit(
        objective, recipe, folder, title=f"training {title}", seed=seed, workers=workers, device=device,
        precision=precision, quiet=quiet, keep=keep, before_epoch=stage,
    )  # fmt: skip
    return path


def _kept(trained: Trained) -> dict[str, float]:
    return {k: v for k, v in trained.history[trained.epoch - 1].items() if k not in TIMES}
