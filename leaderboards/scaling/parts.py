"""What a simulated study is made of: networks and their work, machines, the results folder, the rules, the outcome."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """A model with its weights: first `epochs` of training, which no shard can precede, then `tasks`, in any order.

    A task is what is stored in one file, of so many shards, and what a kill loses.
    """

    tasks: int
    task_seconds: float
    epochs: int = 0
    epoch_seconds: float = 0.0
    shards: float = 1

    @property
    def seconds(self) -> float:
        """Its work on one GPU of usual speed."""
        return self.tasks * self.task_seconds + self.epochs * self.epoch_seconds


@dataclass(frozen=True)
class Machines:
    """GPUs in nodes, and what goes wrong.

    failure, preemption: mean seconds until a node is lost, exponential, None for never; *_away: until it, or another in
    its place, is there again. startup: least and most, from a command to its first pass. gpu_spread, task_spread:
    standard deviations of the logarithm of the time of a GPU and of each task, of mean 1; slow_share of the GPUs take
    slow_factor as long.
    """

    gpus: int
    per_node: int = 8
    failure: float | None = None
    failure_away: float = 0.0
    preemption: float | None = None
    preemption_away: float = 0.0
    startup: tuple[float, float] = (0.0, 0.0)
    gpu_spread: float = 0.0
    task_spread: float = 0.0
    slow_share: float = 0.0
    slow_factor: float = 1.0


@dataclass(frozen=True)
class Folder:
    """The results folder, on a file system that serves `rate` requests a second, each in `latency` seconds or more.

    Before each shard a process claims it in the folder's one table, which it holds for `claims` seconds and the time of
    claim_requests, and again to give it up; it lists the folder and reads the files that are new. lists, reads: seconds
    of the processor for each file; *_requests: of each listed file, read file, claim and written file. own: each
    network has a folder of its own. meets: whether the processes at a network each try all its shards, and so ask the
    table once more for each shard that another has; with --shard, or a coordinator, they do not.
    """

    rate: float
    latency: float
    lists: float
    reads: float
    claims: float = 0.0
    list_requests: float = 0.01
    read_requests: float = 3
    claim_requests: float = 6
    write_requests: float = 4
    own: bool = False
    meets: bool = False


@dataclass(frozen=True)
class Rules:
    """together: GPUs that may be at the shards of one network, None for any number. training_gpus: those that train one
    network, with a speed of training_gain for each beyond the first; folder: None where it costs nothing."""

    together: int | None = None
    training_gpus: int = 1
    training_gain: float = 0.9
    folder: Folder | None = None


@dataclass
class Outcome:
    """seconds: until all is done. spent: GPU-seconds by cause, which add up to seconds * gpus. requests: of the file
    system, with the largest number a second in any window; claims: uses of the table; files: in the folder."""

    seconds: float
    gpus: int
    spent: dict[str, float]
    files: int
    claims: float
    requests: float
    peak: float
    kills: int

    @property
    def efficiency(self) -> float:
        """The share of all GPU-seconds that is work."""
        return self.spent["work"] / (self.seconds * self.gpus)
