"""Fitting protocols to held-out images before they score: each method has settings of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import torch
from torch import Tensor

from xaibench.datasets.loading import load_groups
from xaibench.errors import XaibenchError
from xaibench.evaluation.compute import Computer
from xaibench.evaluation.drawing import BatchMaps
from xaibench.evaluation.plan import Job, ProtocolRun
from xaibench.evaluation.plugin_errors import MethodRaised, call_protocol, in_one_line
from xaibench.evaluation.resources import Resources
from xaibench.evaluation.targets import collect_targets
from xaibench.progress import bar
from xaibench.protocols.base import Protocol


def calibrate(
    computer: Computer,
    keys: Set[str],
    known: Mapping[str, Mapping[str, float]],
    resources: Resources,
    quiet: bool,
    most: int | None = None,
) -> dict[str, Protocol]:
    """The fitted protocols of those jobs with these result keys whose protocols are fitted at all.

    known: what earlier runs chose, by result key, which is kept. A method that fails here fails under that protocol;
    the computer's tally says why. most: of how many held-out images, where the fit is not to be used. Raises
    XaibenchError where a held-out image is among those that are evaluated.
    """
    jobs = [job for job in computer.plan.jobs if job.key in keys and job.protocol.protocol.held_out_images]
    found = {job.key: job.protocol.protocol.with_fitted(known[job.key]) for job in jobs if job.key in known}
    open_jobs = [job for job in jobs if job.key not in found]
    for run in dict.fromkeys(job.protocol for job in open_jobs):
        found |= _fit(computer, run, [job for job in open_jobs if job.protocol is run], resources, quiet, most)
    return found


def _fit(
    computer: Computer, run: ProtocolRun, jobs: Sequence[Job], resources: Resources, quiet: bool, most: int | None
) -> dict[str, Protocol]:
    """One protocol, fitted to the maps of each job's method."""
    plan = computer.plan
    images = plan.held_out.first(run.protocol.held_out_images)
    if both := set(images) & set(plan.images):
        raise XaibenchError(
            f"{run.name}: {len(both)} of {len(images)} held-out images are evaluated too, such as "
            f"{min(both)}; evaluate fewer (--images), hold out fewer (held_out) or name a fixed threshold"
        )
    images = images[:most]
    prepared: list[Any] = []
    maps: dict[str, list[Tensor]] = {job.key: [] for job in jobs}
    groups = [images[at : at + resources.batch] for at in range(0, len(images), resources.batch)]
    with bar(f"fitting {run.name} on held-out images", len(images), quiet) as progress, computer.runner.arithmetic():
        for samples in load_groups(plan.held_out.dataset, groups, resources.workers, generator=torch.Generator()):
            base = computer.evidence(samples, plan.held_out.dataset)
            targets = collect_targets([run], base, None, samples)[run.protocol.target, run.protocol.attribution_output]
            if len(targets):
                prepared.append(call_protocol(run, run.protocol.prepare, targets.evidence))
                for job in jobs:
                    if job.key not in maps:
                        continue
                    try:
                        maps[job.key].append(BatchMaps().draw(job, targets, prepared[-1]))
                    except MethodRaised as raised:
                        computer.tally.failed[f"{job.method.name} under {run.name}"] = in_one_line(raised.error)
                        del maps[job.key]
            progress.advance(len(samples))
    return {key: run.protocol.fit(prepared, drawn) for key, drawn in maps.items()}
