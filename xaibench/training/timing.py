"""How long a training will take, from a few timed steps: nothing is stored, and the weights are not used."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xaibench.datasets.loading import batches, make_loader
from xaibench.models.state import save_state
from xaibench.training.api import Training
from xaibench.training.resources import TrainingResources
from xaibench.training.steps import make_optimizer

STEPS = 3  # of which the first warms up
CPU_BATCH = 16  # images in a timed step on a CPU, whose time is proportional to them


@dataclass(frozen=True)
class TrainingEstimate:
    """What is trained, its images (each counted once an epoch), and seconds of all steps, without validation."""

    title: str
    images: int
    epochs: int
    seconds: float


def untrained(training: Training, path: Path, resources: TrainingResources) -> TrainingEstimate:
    """Writes the weights before the first step to `path`, and times a few steps in memory.

    Raises XaibenchError where the training could not start.
    """
    opened = training.opened(quiet=True)
    save_state(opened.model.net, path, opened.header | {"metrics": {}})
    recipe = training.recipe
    net = opened.model.net.requires_grad_(True).to(memory_format=torch.channels_last).to(resources.device)
    objective = training.task.objective(opened.model, opened.split, recipe, training.config.seed, 0)
    count = len(objective.data)
    size = min(recipe.batch_size, count, CPU_BATCH if resources.device == "cpu" else recipe.batch_size)
    loader = make_loader(objective.data, 0, batch_size=size, drop_last=True)
    optimizer, times = make_optimizer(objective.net, recipe), []
    objective.net.to(resources.device).train()
    objective.data.epoch = 0
    began = time.perf_counter()
    for _, batch in zip(range(STEPS), batches(loader), strict=False):
        objective.loss(objective.net, _moved(batch, resources.device))["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        next(net.parameters()).detach().sum().item()  # waits for the device
        times.append(time.perf_counter() - began)
        began = time.perf_counter()
    used = times[1:] or times
    images = count // recipe.batch_size * recipe.batch_size
    seconds = sum(used) / len(used) / size * images * recipe.epochs
    return TrainingEstimate(training.title, images, recipe.epochs, seconds)


def _moved(batch: Any, device: str) -> Any:
    """A batch on a device."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {name: _moved(part, device) for name, part in batch.items()}
    return type(batch)(_moved(part, device) for part in batch) if isinstance(batch, (list, tuple)) else batch
