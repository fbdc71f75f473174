"""The training loop of every trainer: devices and precision by Accelerate, a checkpoint each epoch, resume, metrics.

It does not depend on the task: loss, data and evaluation are given to it. Randomness is reseeded at each epoch from
(seed, "epoch", number), so a training that was killed and resumed takes the same steps as one that was not. Several
processes share each batch of the recipe, and so take the steps that one process takes.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Sampler

from xaibench.datasets.loading import batches, make_loader
from xaibench.errors import XaibenchError
from xaibench.models.state import load_state, read_state
from xaibench.printing import print_line
from xaibench.progress import bar
from xaibench.seeds import derive, generator
from xaibench.training.checkpoint import best_epoch, resume, save_epoch
from xaibench.training.processes import check_shares, mean_values
from xaibench.training.recipe import Recipe
from xaibench.training.resources import TrainingResources
from xaibench.training.shared_batch import SharedBatch
from xaibench.training.steps import Means, check_finite, ids_in, make_optimizer, set_modes, validate_terms
from xaibench.training.task import LAST, Objective
from xaibench.training.times import TIMES
from xaibench.training.together import check_alike, make_accelerator, other_processes_named
from xaibench.training.working import BEST, discard


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
    resources: TrainingResources = TrainingResources(),  # noqa: B008
    keep: Callable[[nn.Module, Trained], None] | None = None,
    before_epoch: Callable[[int], None] | None = None,
) -> Trained:
    """Trains objective.net in place and leaves the weights of the epoch whose monitored metric was highest (the last of
    equals).

    objective.loss(net, batch) returns scalar terms, of which "loss" is minimised and the others are reported; batches
    come from objective.data, whose `epoch` attribute is set before each epoch. objective.evaluate(net) returns metrics
    after each epoch, objective.monitor among them. folder receives `checkpoint/` (removed at the end), and
    `metrics.parquet` with one row per epoch, in which `train_seconds` are those of `seconds` without evaluation. Call
    again with the same folder to resume. keep(net, trained) stores the result, in one process, while the checkpoint is
    still there, so that no kill can lose it. before_epoch(epoch) is called before each epoch (from 0), with the
    network in training mode; it may decide which parameters learn. Raises XaibenchError that names the images of the
    batch when a loss or a gradient is not finite, and for a precision that nothing is trained in, and where a
    checkpoint cannot be written; the checkpoint before that is then still there. Raises it too where the processes
    cannot share a batch equally, differ in what changes a result, or one of them ended.
    """
    with other_processes_named():
        return _fit(objective, recipe, folder, title, seed, resources, keep, before_epoch)


def _fit(
    objective: Objective,
    recipe: Recipe,
    folder: Path,
    title: str,
    seed: int,
    resources: TrainingResources,
    keep: Callable[[nn.Module, Trained], None] | None,
    before_epoch: Callable[[int], None] | None,
) -> Trained:
    """`fit`, whose errors of connections to other processes are those of torch."""
    net, loss, data, monitor = objective.net, objective.loss, objective.data, objective.monitor
    accelerator = make_accelerator(resources, partly=before_epoch is not None)
    processes = accelerator.num_processes
    check_shares(recipe.batch_size, processes)
    check_alike(folder, {"number of training images": len(data), "--precision": resources.precision})
    if processes > 1 and accelerator.is_main_process and not resources.quiet:
        each = recipe.batch_size // processes
        print_line(f"{processes} processes: {each} images each of the {recipe.batch_size} of a batch")
    order = EpochOrder(len(data), seed)
    loader = make_loader(data, resources.workers, batch_size=recipe.batch_size, sampler=order, drop_last=True)
    if not len(loader):
        raise XaibenchError(
            f"{len(data)} training images do not fill one batch of {recipe.batch_size}; lower --batch-size"
        )
    optimizer = make_optimizer(net, recipe)
    with warnings.catch_warnings(action="ignore"):  # torch advises on the number of loading processes
        net, optimizer, loader = accelerator.prepare(net, optimizer, loader)
    history = resume(accelerator, folder)
    per_epoch = len(loader)
    batch_count, first = per_epoch * recipe.epochs, len(history)
    groups = math.ceil(per_epoch / recipe.accumulation)  # steps an epoch
    shared = SharedBatch(recipe.batch_size // processes) if processes > 1 else nullcontext()
    with bar(title, batch_count - first * per_epoch, resources.quiet or not accelerator.is_main_process) as progress:
        for epoch in range(first, recipe.epochs):
            began = time.monotonic()
            order.epoch = data.epoch = epoch
            torch.manual_seed(derive(seed, "epoch", epoch))
            set_modes(net, recipe)
            if before_epoch:
                before_epoch(epoch)
            means, seen = Means(), []
            for number, batch in enumerate(batches(loader)):
                where = f"epoch {epoch + 1}, batch {number + 1}"
                group, place = divmod(number, recipe.accumulation)
                together = min(recipe.accumulation, per_epoch - group * recipe.accumulation)
                seen = ids_in(batch) if place == 0 else seen + ids_in(batch)
                with accelerator.autocast(), shared:
                    terms = loss(net, batch)
                means.add(validate_terms(terms, where, ids_in(batch)))
                accelerator.backward(terms["loss"] / together if together > 1 else terms["loss"])
                if place + 1 == together:
                    rate = recipe.rate_at(epoch * groups + group, groups * recipe.epochs)
                    for parameters in optimizer.param_groups:
                        parameters["lr"] = rate
                    norm = accelerator.clip_grad_norm_(net.parameters(), recipe.gradient_clip or math.inf)
                    if resources.precision != "float16":  # whose scaling leaves out steps that overflow
                        check_finite("the norm of the gradient", float(norm), where, seen)
                    optimizer.step()
                    optimizer.zero_grad()
                shown = ", ".join(f"{name} {value:.3g}" for name, value in means.values().items())
                last = f"; validation {monitor} {history[-1][monitor]:.3f}" if history and monitor != LAST else ""
                progress.advance(1, f"epoch {epoch + 1}/{recipe.epochs}, {shown}{last}")
            trained = time.monotonic() - began
            plain = accelerator.unwrap_model(net)
            learnt = mean_values(means.values(), accelerator.device)
            metrics = {f"train_{k}": v for k, v in learnt.items()} | objective.evaluate(plain)
            times = dict(zip(TIMES, (time.monotonic() - began, trained), strict=True))
            history.append({"epoch": epoch + 1} | times | {"learning_rate": rate} | metrics)
            if accelerator.is_main_process:
                if objective.after_epoch:
                    objective.after_epoch(plain, history[-1])
                save_epoch(accelerator, plain, history, folder, monitor)
            accelerator.wait_for_everyone()
    best = best_epoch(history, monitor)
    plain = accelerator.unwrap_model(net)
    load_state(plain, read_state(folder / BEST), "the network that was trained")
    trained = Trained(history, best)
    if accelerator.is_main_process and keep:
        keep(plain, trained)
    accelerator.wait_for_everyone()  # the others have read the best weights, and find what was kept
    if accelerator.is_main_process:
        discard(folder)
    return trained
