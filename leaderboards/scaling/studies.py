"""The two studies: which networks they have, what a task of each is, and the ways of carrying them out."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from costs import HESSE, REFERENCE
from parts import Folder, Machines, Network, Rules

IMAGES = 50_000  # of ImageNet's validation part
LEAST_IMAGES, FLUSH_SECONDS = 8, 15.0  # of a shard, and between two files: those of the engine
TRAINING_IMAGES, EPOCHS = 1_281_167, 30  # of the published fine-tuning with deleted cells
PASSES_TRAINING = 3  # forward-equivalents for each image of a training
PASSES_MAPS = 2930  # of the methods of Hesse et al. for one image, measured
GRIDS = (2, 4, 8, 16)  # the published weights are for 4 x 4
Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Way:
    """How a study is carried out. training_gpus: of each training. divided: shards by --shard or Ray, in place of the
    same command in every process. own: a results folder for each network. spot: nodes are preempted. together: GPUs
    that may be at the shards of one network, None for any number."""

    title: str
    training_gpus: int = 1
    divided: bool = False
    own: bool = False
    spot: bool = False
    together: int | None = None


WAYS = {
    "one-gpu": Way("the same command in every process, trainings on one GPU each"),
    "node": Way("... trainings on eight GPUs each", 8),
    "divided": Way("... and shards divided by `--shard` or Ray", 8, True),
    "folders": Way("... and a results folder for each network", 8, True, True),
    "spot": Way("... on spot nodes", 8, True, True, True),
    "locks": Way("former engine: 4 GPUs at a network, trainings on one", together=4),
}
BATCH = 32  # the default on a GPU
BEST = "folders"


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


def network(numbers: Numbers, size: float, passes: float, trained: bool) -> Network:
    """A network's work. Rows are stored when 15 s are over, so a task is as many shards as fill them."""
    scale = size / REFERENCE
    image = scale * numbers["pass"] * passes
    images = BATCH * math.ceil(LEAST_IMAGES / BATCH)
    shards = max(1, math.ceil(FLUSH_SECONDS / (images * image)))
    tasks = math.ceil(IMAGES / (images * shards))
    epoch = TRAINING_IMAGES * PASSES_TRAINING * scale * numbers["bare pass"]
    return Network(tasks, IMAGES * image / tasks, EPOCHS if trained else 0, epoch, shards)


def networks(study: Study, numbers: Numbers) -> list[Network]:
    """All networks of a study."""
    return [network(numbers, *each) for each in study.networks(numbers)]


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
    """The trainings and the folder of a way."""
    costs = (numbers[name] for name in ("rate", "latency", "list", "read", "claim"))
    folder = Folder(*costs, own=way.own, meets=not way.divided)
    return Rules(way.together, way.training_gpus, numbers["training gain"], folder)
