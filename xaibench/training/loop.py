"""The training loop of every trainer: devices and precision by Accelerate, a checkpoint each epoch, resume, metrics.

It knows nothing of what is trained for: the loss is a function that it is given, the data a loader, the evaluation a
function. Randomness is reseeded at each epoch from (seed, "epoch", number), so a training that was killed and resumed
takes the same steps as one that was not.
"""

from __future__ import annotations

import io
import json
import math
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import Sampler

from xaibench.datasets.loading import batches, make_loader
from xaibench.errors import XaibenchError, one_line
from xaibench.models.state import load_state, read_state, save_state
from xaibench.progress import bar
from xaibench.results.files import make_folder, obstacle, write_atomic
from xaibench.seeds import derive, generator
from xaibench.training.recipe import Recipe
from xaibench.training.task import Objective

Loss = Callable[[nn.Module, Any], dict[str, Tensor]]
Evaluate = Callable[[nn.Module], dict[str, float]]


@dataclass(frozen=True)
class Trained:
    """What a training gave: metrics of every epoch, and the epoch whose weights are left in the network."""

    history: list[dict[str, float]]
    epoch: int


class EpochOrder(Sampler[int]):
    """A fresh order of `count` indices in every epoch, from (seed, "order", epoch)."""

    def __init__(self, count: int, seed: int):
        self.count, self.seed, self.epoch = count, seed, 0

    def __iter__(self):
        return iter(torch.randperm(self.count, generator=generator(self.seed, "order", self.epoch)).tolist())

    def __len__(self) -> int:
        return self.count


def fit(
    objective: Objective,
    recipe: Recipe,
    folder: Path,
    *,
    title: str,
    seed: int = 0,
    workers: int = 0,
    device: str = "cpu",
    precision: str = "float32",
    quiet: bool = False,
    keep: Callable[[nn.Module, Trained], None] | None = None,
) -> Trained:
    """Trains objective.net in place and leaves the weights of the epoch whose monitored metric was highest (the last of
    equals).

    objective.loss(net, batch) returns scalar terms, of which "loss" is minimised and the others are reported; batches
    come from objective.data, whose `epoch` attribute is set before each epoch. objective.evaluate(net) returns metrics
    after each epoch, objective.monitor among them. folder receives `checkpoint/` (removed at the end), and
    `metrics.parquet` with one row per epoch. Call again with the same folder to resume. keep(net, trained) stores the
    result, in one process, while the checkpoint is still there, so that no kill can lose it. Raises XaibenchError when
    a loss is not finite, and for a precision that nothing is trained in, and where a checkpoint cannot be written (the
    one before it is then still there).
    """
    net, loss, data, monitor = objective.net, objective.loss, objective.data, objective.monitor
    kinds = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
    if precision not in kinds:
        raise XaibenchError(f"cannot train in precision {precision!r}; it is one of {', '.join(kinds)}")
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision=kinds[precision])
    order = EpochOrder(len(data), seed)
    loader = make_loader(data, workers, batch_size=recipe.batch_size, sampler=order, drop_last=True)
    if not len(loader):
        raise XaibenchError(
            f"{len(data)} training images do not fill one batch of {recipe.batch_size}; lower --batch-size"
        )
    optimizer = make_optimizer(net, recipe)
    with warnings.catch_warnings(action="ignore"):  # torch advises on the number of loading processes
        net, optimizer, loader = accelerator.prepare(net, optimizer, loader)
    history = _resume(accelerator, folder)
    per_epoch = len(loader)
    steps, first = per_epoch * recipe.epochs, len(history)
    with bar(title, steps - first * per_epoch, quiet or not accelerator.is_main_process) as progress:
        for epoch in range(first, recipe.epochs):
            began = time.monotonic()
            order.epoch = data.epoch = epoch
            torch.manual_seed(derive(seed, "epoch", epoch))
            net.train()
            means = _Means()
            for number, batch in enumerate(batches(loader)):
                rate = recipe.rate_at(epoch * per_epoch + number, steps)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                with accelerator.autocast():
                    terms = loss(net, batch)
                accelerator.backward(terms["loss"])
                optimizer.step()
                optimizer.zero_grad()
                means.add(terms, f"epoch {epoch + 1}, batch {number + 1}")
                words = ", ".join(f"{name} {value:.3g}" for name, value in means.values().items())
                last = f"; validation {monitor} {history[-1][monitor]:.3f}" if history else ""
                progress.advance(1, f"epoch {epoch + 1}/{recipe.epochs}, {words}{last}")
            plain = accelerator.unwrap_model(net)
            metrics = {f"train_{k}": v for k, v in means.values().items()} | objective.evaluate(plain)
            seconds = time.monotonic() - began
            history.append({"epoch": epoch + 1, "seconds": seconds, "learning_rate": rate} | metrics)
            if accelerator.is_main_process:
                if objective.after_epoch:
                    objective.after_epoch(plain, history[-1])
                _save_epoch(accelerator, plain, history, folder, monitor)
            accelerator.wait_for_everyone()
    best = _best(history, monitor)
    plain = accelerator.unwrap_model(net)
    path = folder / "best.safetensors"
    load_state(plain, read_state(path), "the network that was trained")
    trained = Trained(history, best)
    if accelerator.is_main_process:
        if keep:
            keep(plain, trained)
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        path.unlink()
    return trained


def make_optimizer(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimizer of a recipe over all parameters of a network; the loop sets its learning rate at every step."""
    rates = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(net.parameters(), **rates)
    return torch.optim.SGD(net.parameters(), momentum=recipe.momentum, nesterov=recipe.nesterov, **rates)


class _Means:
    """Running means of the loss terms of an epoch, over the last steps more than the first."""

    def __init__(self, momentum: float = 0.95):
        self._momentum, self._sums, self._weight = momentum, {}, 0.0

    def add(self, terms: dict[str, Tensor], where: str) -> None:
        values = {name: float(value.detach()) for name, value in terms.items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise XaibenchError(f"{name} is {value} in {where}; lower the learning rate (--learning-rate)")
            self._sums[name] = self._momentum * self._sums.get(name, 0.0) + (1 - self._momentum) * value
        self._weight = self._momentum * self._weight + 1 - self._momentum

    def values(self) -> dict[str, float]:
        return {name: value / self._weight for name, value in self._sums.items()}


def _best(history: list[dict[str, float]], monitor: str) -> int:
    """The epoch (from 1) of the highest monitored metric, the last among equals."""
    return max(history, key=lambda row: (row[monitor], row["epoch"]))["epoch"]


def _save_epoch(accelerator: Accelerator, net: nn.Module, history: list[dict], folder: Path, monitor: str) -> None:
    """Best weights, metrics and the checkpoint; the checkpoint's folder is swapped in whole.

    Raises XaibenchError where something cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    make_folder(folder)
    if _best(history, monitor) == len(history):
        save_state(net, folder / "best.safetensors", {})
    metrics = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(history), metrics)
    write_atomic(folder / "metrics.parquet", metrics.getvalue())
    fresh, kept, old = folder / "checkpoint.part", folder / "checkpoint", folder / "checkpoint.old"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        accelerator.save_state(str(fresh))
        (fresh / "history.json").write_text(json.dumps(history))
        if kept.exists():
            shutil.rmtree(old, ignore_errors=True)
            kept.rename(old)
        fresh.rename(kept)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise obstacle(error, fresh) from error
    except (RuntimeError, SafetensorError) as error:  # what torch and safetensors make of a failure to write
        words = one_line(error)
        raise XaibenchError(
            f"the checkpoint of epoch {len(history)} cannot be written in {folder} (is the disk full?): {words}; "
            "the one before it is kept, the same command goes on from there"
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _resume(accelerator: Accelerator, folder: Path) -> list[dict[str, float]]:
    """Loads the last whole checkpoint, if there is one, and returns the epochs it knows."""
    for kept in (folder / "checkpoint", folder / "checkpoint.old"):
        if (kept / "history.json").is_file():
            accelerator.load_state(str(kept))
            return json.loads((kept / "history.json").read_text())
    return []
