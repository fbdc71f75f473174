"""A study on many GPUs as discrete events: trainings, shards, stragglers, lost nodes, and a shared results folder.

Every GPU takes work as xaibench's processes do. It stays with a network as long as that has shards; then it starts
again with the network that has most left for each GPU at it. Trainings go first, the longest first, and their epochs
follow each other. A killed GPU loses the task or the epoch that it computes. Times are seconds, all draws follow from a
seed.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from parts import Machines, Network, Outcome, Rules

ALONE = Rules()
WINDOW = 600.0  # seconds over which the peaks of requests are means


@dataclass(eq=False)
class _Gpu:
    node: int
    slowness: float
    at: int | None = None  # the network that its process has open
    seen: int = 0  # files of the folder that it has read
    running: _Running | None = None


@dataclass(eq=False)
class _Running:
    network: int
    gpus: list[_Gpu]
    training: bool
    began: float
    parts: dict[str, float] = field(default_factory=dict)  # seconds of each GPU by cause
    killed: bool = False


def simulate(networks: Sequence[Network], machines: Machines, rules: Rules = ALONE, seed: int = 0) -> Outcome:
    """Carries out all networks; raises ValueError without a GPU or work."""
    if machines.gpus < 1 or not any(network.seconds for network in networks):
        raise ValueError("a simulation needs a GPU and work")
    return _Simulation(networks, machines, rules, random.Random(seed)).run()


class _Simulation:
    def __init__(self, networks: Sequence[Network], machines: Machines, rules: Rules, draws: random.Random):
        self.networks, self.machines, self.rules, self.draws = networks, machines, rules, draws
        self.now, self.serial, self.kills, self.requests, self.served = 0.0, 0, 0, 0.0, 0.0
        self.events: list[tuple[float, int, str, object]] = []
        self.spent: Counter[str] = Counter()
        self.windows: Counter[int] = Counter()
        self.epochs = [network.epochs for network in networks]
        self.open = [network.tasks for network in networks]
        self.left = sum(self.epochs) + sum(self.open)
        self.workers = [0] * len(networks)
        self.files: Counter[int] = Counter()
        self.away: dict[int, float] = {}  # since when nodes are away
        order = sorted(range(len(networks)), key=lambda n: networks[n].epochs * networks[n].epoch_seconds)
        self.to_train = [n for n in order if self.epochs[n]]  # the longest last
        self.ready = {n for n in order if self.open[n] and not self.epochs[n]}  # those with shards to compute now
        self.gpus = [_Gpu(n // machines.per_node, self._slowness()) for n in range(machines.gpus)]
        self.idle = dict.fromkeys(reversed(self.gpus))  # the last one in is the first to get work
        for node in range(-(-machines.gpus // machines.per_node)):
            self._clocks(node)

    def run(self) -> Outcome:
        self._hand_out()
        while self.left:
            at, _, kind, what = heapq.heappop(self.events)
            if kind == "done" and what.killed:
                continue
            self.spent[self._reason()] += len(self.idle) * (at - self.now)
            self.now = at
            getattr(self, f"_{kind}")(what)
            self._hand_out()
        for node, since in self.away.items():
            self.spent["away"] += (self.now - since) * len(self._of(node))
        peak = max(self.windows.values(), default=0.0) / min(WINDOW, self.now)
        files = sum(self.files.values())
        return Outcome(self.now, len(self.gpus), dict(self.spent), files, self.requests, peak, self.kills)

    def _hand_out(self) -> None:
        """Gives idle GPUs work, as long as there is any; they wait for a training that needs several of them."""
        while self.idle:
            if self.to_train:
                count = min(self.rules.training_gpus, len(self.gpus))
                if len(self.idle) < count:
                    return
                self._train(self.to_train.pop(), [self.idle.popitem()[0] for _ in range(count)], True)
                continue
            gpu = next(reversed(self.idle))
            found = self._network_for(gpu)
            if found is None:
                return
            del self.idle[gpu]
            self._compute(found, gpu)

    def _network_for(self, gpu: _Gpu) -> int | None:
        """The network that it has open, if any shard is left; else that with most work for each GPU at it."""
        if gpu.at in self.ready and self.open[gpu.at]:
            return gpu.at
        most = self.rules.together or len(self.gpus)
        free = [n for n in self.ready if self.workers[n] < most]
        return max(
            free, key=lambda n: self.open[n] * self.networks[n].task_seconds / (self.workers[n] + 1), default=None
        )

    def _train(self, network: int, gpus: list[_Gpu], starting: bool) -> None:
        whole = self.networks[network].epoch_seconds
        usual = whole / (1 + (len(gpus) - 1) * self.rules.training_gain)
        real = usual * max(gpu.slowness for gpu in gpus) * self._spread(self.machines.task_spread)
        parts = {"start": self._startup() if starting else 0.0, "work": whole / len(gpus)}
        parts |= {"parallel training": usual - parts["work"], "stragglers": real - usual}
        self._begin(_Running(network, gpus, True, self.now, parts))

    def _compute(self, network: int, gpu: _Gpu) -> None:
        self.open[network] -= 1
        if not self.open[network]:
            self.ready.discard(network)
        self.workers[network] += 1
        parts = {"start": 0.0}
        if gpu.at != network:
            gpu.at, gpu.seen = network, 0
            parts["start"] = self._startup()
        usual = self.networks[network].task_seconds
        real = usual * gpu.slowness * self._spread(self.machines.task_spread)
        parts |= {"folder": self._look(network, gpu), "work": usual, "stragglers": real - usual}
        self._begin(_Running(network, [gpu], False, self.now, parts))

    def _look(self, network: int, gpu: _Gpu) -> float:
        """Seconds that a task waits for the folder: listing, reading what is new, locks, and writing its rows."""
        folder, work = self.rules.folder, self.networks[network]
        if folder is None:
            return 0.0
        listed = self.files[network if folder.own else 0]
        new, gpu.seen = listed - gpu.seen, listed
        asked = listed * work.shards * folder.list_requests + new * folder.read_requests
        asked += work.locks * folder.lock_requests + folder.write_requests
        self.requests += asked
        self.windows[int(self.now // WINDOW)] += asked
        self.served = max(self.served, self.now) + asked / folder.rate
        waited = max(asked * folder.latency, self.served - self.now)
        return listed * work.shards * folder.lists + new * folder.reads + waited

    def _begin(self, running: _Running) -> None:
        for gpu in running.gpus:
            gpu.running = running
        self._at(self.now + sum(running.parts.values()), "done", running)

    def _done(self, running: _Running) -> None:
        for cause, seconds in running.parts.items():
            self.spent[cause] += seconds * len(running.gpus)
        self.left -= 1
        network = running.network
        if running.training:
            self.epochs[network] -= 1
            if self.epochs[network]:
                return self._train(network, running.gpus, False)
            self._make_ready(network)
        else:
            self.workers[network] -= 1
            self.files[network if self.rules.folder and self.rules.folder.own else 0] += 1
        for gpu in running.gpus:
            gpu.running = None
            self.idle[gpu] = None

    def _lost(self, node: tuple[int, float]) -> None:
        """A node goes: what its GPUs compute is lost, and processes elsewhere that train with them end."""
        number, away = node
        for gpu in self._of(number):
            if gpu.running:
                self._kill(gpu.running)
            self.idle.pop(gpu, None)
            gpu.at = None
        self.away[number] = self.now
        self._at(self.now + away, "back", number)

    def _kill(self, running: _Running) -> None:
        running.killed = True
        self.kills += 1
        self.spent["killed"] += (self.now - running.began) * len(running.gpus)
        for gpu in running.gpus:
            gpu.running, gpu.at = None, None
            self.idle[gpu] = None
        if running.training:
            self.to_train.append(running.network)
        else:
            self.workers[running.network] -= 1
            self.open[running.network] += 1
            self.ready.add(running.network)

    def _back(self, number: int) -> None:
        gpus = self._of(number)
        self.spent["away"] += (self.now - self.away.pop(number)) * len(gpus)
        self.idle |= dict.fromkeys(gpus)
        self._clocks(number)

    def _reason(self) -> str:
        """Why GPUs without work wait."""
        if self.ready and not self.to_train:
            return "locks"
        return "trainings" if any(self.epochs) else "tail"

    def _make_ready(self, network: int) -> None:
        if self.open[network]:
            self.ready.add(network)

    def _clocks(self, number: int) -> None:
        """When a node is lost next, and for how long."""
        machines = self.machines
        causes = [(machines.failure, machines.failure_away), (machines.preemption, machines.preemption_away)]
        next_ones = [(self.draws.expovariate(1 / mean), away) for mean, away in causes if mean]
        if next_ones:
            after, away = min(next_ones)
            self._at(self.now + after, "lost", (number, away))

    def _of(self, number: int) -> list[_Gpu]:
        return self.gpus[number * self.machines.per_node : (number + 1) * self.machines.per_node]

    def _at(self, when: float, kind: str, what: object) -> None:
        self.serial += 1
        heapq.heappush(self.events, (when, self.serial, kind, what))

    def _startup(self) -> float:
        return self.draws.uniform(*self.machines.startup)

    def _slowness(self) -> float:
        slow = self.machines.slow_factor if self.draws.random() < self.machines.slow_share else 1.0
        return slow * self._spread(self.machines.gpu_spread)

    def _spread(self, spread: float) -> float:
        """A factor of mean 1."""
        return self.draws.lognormvariate(-spread * spread / 2, spread) if spread else 1.0
