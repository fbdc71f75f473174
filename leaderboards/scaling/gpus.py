"""GPUs and what they carry out in a simulation, and the random numbers of machines."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from parts import Machines


@dataclass(eq=False)
class Gpu:
    node: int
    slowness: float
    at: int | None = None  # the network that its process has open
    seen: int = 0  # files of the folder that it has read
    running: Running | None = None


@dataclass(eq=False)
class Running:
    network: int
    gpus: list[Gpu]
    training: bool
    began: float
    parts: dict[str, float] = field(default_factory=dict)  # seconds of each GPU by cause
    killed: bool = False


class Draws:
    """Random numbers of machines, from a seed."""

    def __init__(self, machines: Machines, seed: int):
        self.machines, self.random = machines, random.Random(seed)

    def startup(self) -> float:
        """Seconds from a command to its first pass."""
        return self.random.uniform(*self.machines.startup)

    def slowness(self) -> float:
        """A GPU's time for the work of one of usual speed."""
        slow = self.machines.slow_factor if self.random.random() < self.machines.slow_share else 1.0
        return slow * self._spread(self.machines.gpu_spread)

    def task(self) -> float:
        """A task's time for the work of a usual one."""
        return self._spread(self.machines.task_spread)

    def loss(self) -> tuple[float, float] | None:
        """In how many seconds a node is lost, and for how long; None for never."""
        machines = self.machines
        causes = [(machines.failure, machines.failure_away), (machines.preemption, machines.preemption_away)]
        return min(((self.random.expovariate(1 / mean), away) for mean, away in causes if mean), default=None)

    def _spread(self, spread: float) -> float:
        """A factor of mean 1."""
        return self.random.lognormvariate(-spread * spread / 2, spread) if spread else 1.0
