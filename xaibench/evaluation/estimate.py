"""What a run would take, from a few timed batches on its device with its model: `xaibench run --dry-run`.

Nothing is written. Images that lack the same results cost the same, so each such group is timed for itself: one image
first, which warms up, then two whole batches unless one would take longer than half a minute.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xaibench.errors import XaibenchError
from xaibench.evaluation.compute import Missing, open_computer, ready
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.disk import free_bytes
from xaibench.evaluation.evaluator import Evaluator
from xaibench.evaluation.open_run import check_request, evaluator_of
from xaibench.evaluation.timed import Cost, Memory, Timer
from xaibench.models.state import WEIGHTS_FILE
from xaibench.results.store import Store
from xaibench.surroundings import own_surroundings
from xaibench.training.api import Training
from xaibench.training.resources import TrainingResources
from xaibench.training.timing import TrainingEstimate, untrained

GROUPS = 4  # of images that lack the same, the largest of which are timed; others count as the mean of these


@dataclass(frozen=True)
class Estimate:
    """What a run would take.

    jobs: methods under protocols. images: of this part of the list; results: (job, image) pairs, of which `stored` are
    there. total: the cost of all missing images; timed: what was measured for it. fitting: seconds and
    forward-equivalents of fitting protocols to held-out images, part of total. row_bytes, free_disk: of the results
    folder. memory: the most that this process took (on a GPU: of the device), of which `free_memory` are left.
    trainings: what would be trained first, whose seconds are not in `total`. most: the run may stop before all images.
    """

    title: str
    device: str
    batch: int
    chunk: int
    jobs: int
    images: int
    results: int
    stored: int
    total: Cost
    timed: Cost
    fitting: Cost
    row_bytes: int
    free_disk: int
    memory: int
    free_memory: int
    keep_maps: bool
    most: bool
    trainings: Sequence[TrainingEstimate] = ()

    @property
    def disk(self) -> int:
        """Bytes that are stored: rows, and maps where they are kept."""
        return self.row_bytes + (round(self.total.map_bytes) if self.keep_maps else 0)


def estimate_config(config: RunConfig) -> Estimate:
    """What a request would take, from a few timed batches; nothing is trained and nothing is written.

    Raises XaibenchError for what the run would raise it for before it starts.
    """
    check_request(config)
    if config.out.exists() and not config.out.is_dir():
        raise XaibenchError(f"--out {config.out} is a file; name a folder")
    trainings: list[TrainingEstimate] = []
    with own_surroundings(), tempfile.TemporaryDirectory() as folder:

        def train(training: Training, resources: TrainingResources) -> Path:
            """The weights that are there, or those before the first step."""
            if training.path.is_file():
                return training.path
            path = Path(folder) / f"{len(trainings)}" / WEIGHTS_FILE
            trainings.append(untrained(training, path, resources))
            return path

        return estimate(evaluator_of(config, quiet=True, folder=Store, train=train), trainings)


def estimate(evaluator: Evaluator, trainings: Sequence[TrainingEstimate] = ()) -> Estimate:
    """What the rest of a run would take; see the head of this file. Raises XaibenchError as the run would."""
    plan, config, resources = evaluator.plan, evaluator.config, evaluator.resources
    completion = evaluator.opened()
    shards, missing = evaluator.missing(completion)
    images = [image for shard in shards for image in shard.images]
    chunk = ready(plan, resources.device, resources.chunk, config.precision)
    timer = Timer(evaluator, completion, missing)
    memory = Memory(resources.device)
    with open_computer(plan, resources.device, chunk, config.precision, config.seed) as computer:
        groups = _groups(images, missing)
        fitting = timer.fitting(computer)
        costs = [timer.group(computer, group) for group in groups[:GROUPS]]
        chunk = computer.runner.chunk
    total, timed = Cost(), Cost()
    for cost in costs:
        timed.add(cost)
    for number, group in enumerate(groups):
        cost = costs[number] if number < GROUPS else timed
        total.add(cost, len(group) / cost.images)
    total.add(fitting)
    results = len(plan.jobs) * len(images)
    return Estimate(
        title=f"{', '.join(run.name for run in plan.protocols)} on {' against '.join(m.name for m in plan.models)}",
        device=resources.device, batch=resources.batch, chunk=chunk, jobs=len(plan.jobs), images=len(images),
        results=results, stored=results - sum(map(len, missing.values())), total=total, timed=timed, fitting=fitting,
        row_bytes=timer.row_bytes(total), free_disk=free_bytes(evaluator.store.root), memory=memory.most(),
        free_memory=memory.free(), keep_maps=config.keep_maps, most=evaluator.stop is not None,
        trainings=tuple(trainings),
    )  # fmt: skip


def _groups(images: Sequence[str], missing: Missing) -> list[list[str]]:
    """The images that lack anything, by which results they lack, the largest group first."""
    lacking: dict[str, list[str]] = {}
    for key, found in missing.items():
        for image in found:
            lacking.setdefault(image, []).append(key)
    groups: dict[tuple[str, ...], list[str]] = {}
    for image in images:
        if image in lacking:
            groups.setdefault(tuple(sorted(lacking[image])), []).append(image)
    return sorted(groups.values(), key=len, reverse=True)
