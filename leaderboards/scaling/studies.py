"""The two studies: which networks they have, what a task of each is, and the ways of carrying them out."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from costs import HESSE, REFERENCE
from parts import Folder, Machines, Network, Rules

from xaibench.evaluation.executor import FLUSH_SECONDS
from xaibench.evaluation.shards import LEAST_IMAGES, SLOTS

IMAGES = 50_000  # of ImageNet's validation part
TRAINING_IMAGES, EPOCHS = 1_281_167, 30  # of the published fine-tuning with deleted cells
PASSES_TRAINING = 3  # forward-equivalents for each image of a training
PASSES_MAPS = 2930  # of the methods of Hesse et al. for one image, measured
GRIDS = (2, 4, 8, 16)  # the published weights are for 4 x 4
Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Way:
    """How a study is carried out. batch: images in one; spot: nodes are preempted; training_gpus: of each training;
    own: a results folder for each network; minutes: shards take so long each, and have one lock for each key and no
    other, instead of being cut and locked as in shards.py."""

    title: str
    batch: int = 32
    spot: bool = False
    training_gpus: int = 1
    own: bool = False
    minutes: float | None = None


TODAY = Way("as it is (batches of 32)")
SPOT = Way("as it is, on spot nodes", spot=True)
SMALL = Way("batches of 8, a folder for each network", batch=8, own=True)
MENDED = Way("mended", training_gpus=8, own=True, minutes=10)
WAYS = {"as-it-is": TODAY, "spot": SPOT, "small-batches": SMALL, "mended": MENDED}


@dataclass(frozen=True)
class Study:
    """A study. keys: result keys of each network. networks: of the numbers, 10^9 multiplications, forward-equivalents
    an image, and whether it must be trained, for each network."""

    title: str
    keys: int
    networks: Callable[[Numbers], list[tuple[float, float, bool]]]

    @property
    def name(self) -> str:
        """For files and headings."""
        return self.title.split(":")[0]


def _hesse(numbers: Numbers) -> list[tuple[float, float, bool]]:
    return [(size, PASSES_MAPS + grid**2 + 1, grid != 4) for size in HESSE.values() for grid in GRIDS]


def _world(numbers: Numbers) -> list[tuple[float, float, bool]]:
    draws = random.Random(200)  # the same models in every simulation
    sizes = [REFERENCE * math.exp(numbers["world spread"] * draws.gauss(0, 1)) for _ in range(200)]
    return [(size, numbers["world passes"], True) for size in sizes]


STUDIES = (
    Study("Hesse: 16 models, 23 methods, 4 grids, 50,000 images", 23, _hesse),
    Study("World: 200 models, 60 methods, 30 protocols, 50,000 images", 60 * 30, _world),
)


def shard_of(way: Way, image_seconds: float) -> int:
    """Images of a shard: whole batches of at least LEAST_IMAGES, or as many as take the way's minutes."""
    if way.minutes is None:
        return way.batch * math.ceil(LEAST_IMAGES / way.batch)
    return min(IMAGES, max(1, round(way.minutes * 60 / image_seconds)))


def locks_of_key(way: Way) -> int:
    """Locks of each key that a shard takes, as `Shard.locks`; one where shards are cut by minutes."""
    return 1 if way.minutes else min(SLOTS, math.ceil(shard_of(way, 1) / LEAST_IMAGES))


def together(way: Way) -> int | None:
    """GPUs that can hold locks of one network at once; None where there are locks for all."""
    return None if way.minutes else SLOTS // locks_of_key(way)


def network(way: Way, numbers: Numbers, keys: int, size: float, passes: float, trained: bool) -> Network:
    """A network's work. Rows are stored when 15 s are over, so a task is as many shards as fill them."""
    scale = size / REFERENCE
    image = scale * numbers["pass"] * passes
    images = shard_of(way, image)
    shards = max(1, math.ceil(FLUSH_SECONDS / (images * image)))
    tasks = math.ceil(IMAGES / (images * shards))
    epoch = TRAINING_IMAGES * PASSES_TRAINING * scale * numbers["bare pass"]
    locks = shards * keys * locks_of_key(way)
    return Network(tasks, IMAGES * image / tasks, EPOCHS if trained else 0, epoch, shards, locks)


def networks(study: Study, way: Way, numbers: Numbers) -> list[Network]:
    """All networks of a study."""
    return [network(way, numbers, study.keys, *each) for each in study.networks(numbers)]


def machines(numbers: Numbers, gpus: int, way: Way) -> Machines:
    """So many GPUs, with all that goes wrong."""
    startup = numbers["startup"]
    return Machines(
        gpus,
        failure=numbers["failure"] * 3600,
        failure_away=numbers["away"] * 3600,
        preemption=numbers["preemption"] * 3600 if way.spot else None,
        preemption_away=numbers["replaced"] * 60,
        startup=(startup - 1.5, startup + 1.5),
        gpu_spread=numbers["gpu spread"],
        task_spread=numbers["task spread"],
        slow_share=numbers["slow share"],
        slow_factor=2,
    )


def rules(numbers: Numbers, way: Way) -> Rules:
    """The locks, the trainings and the folder of a way."""
    folder = Folder(numbers["rate"], numbers["latency"], numbers["list"], numbers["read"], own=way.own)
    return Rules(together(way), way.training_gpus, folder=folder)
