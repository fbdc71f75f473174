"""A study on many GPUs as discrete events: trainings, shards, stragglers, lost nodes, and a shared results folder.

Every GPU takes work as xaibench's processes do. It stays with a network as long as that has shards; then it starts
again with the network that has most left for each GPU at it. Trainings go first, the longest first, and their epochs
follow each other. A killed GPU loses the task or the epoch that it computes. Times are seconds, all draws follow from a
seed.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence

from gpus import Draws, Gpu, Running
from parts import Machines, Network, Outcome, Rules
from shared_folder import SharedFolder

ALONE = Rules()


def simulate(networks: Sequence[Network], machines: Machines, rules: Rules = ALONE, seed: int = 0) -> Outcome:
    """Carries out all networks; raises ValueError without a GPU or work."""
    if machines.gpus < 1 or not any(network.seconds for network in networks):
        raise ValueError("a simulation needs a GPU and work")
    return _Simulation(networks, machines, rules, Draws(machines, seed)).run()


class _Simulation:
    def __init__(self, networks: Sequence[Network], machines: Machines, rules: Rules, draws: Draws):
        self.networks, self.machines, self.rules, self.draws = networks, machines, rules, draws
        self.now, self.serial, self.kills = 0.0, 0, 0
        self.folder = SharedFolder(rules.folder)
        self.events: list[tuple[float, int, str, object]] = []
        self.spent: Counter[str] = Counter()
        self.epochs = [network.epochs for network in networks]
        self.open = [network.tasks for network in networks]
        self.left = sum(self.epochs) + sum(self.open)
        self.workers = [0] * len(networks)
        self.away: dict[int, float] = {}  # since when nodes are away
        order = sorted(range(len(networks)), key=lambda n: networks[n].epochs * networks[n].epoch_seconds)
        self.to_train = [n for n in order if self.epochs[n]]  # the longest last
        self.ready = {n for n in order if self.open[n] and not self.epochs[n]}  # those with shards to compute now
        self.gpus = [Gpu(n // machines.per_node, self.draws.slowness()) for n in range(machines.gpus)]
        self.idle = dict.fromkeys(reversed(self.gpus))  # the last one in is the first to get work
        for node in range(-(-machines.gpus // machines.per_node)):
            self._clocks(node)

    def run(self) -> Outcome:
        """Simulates event by event until nothing is left to train or compute; times are seconds of the simulation."""
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
        folder, files = self.folder, sum(self.folder.files.values())
        more = files, folder.claims, folder.requests, folder.peak(self.now), self.kills
        return Outcome(self.now, len(self.gpus), dict(self.spent), *more)

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

    def _network_for(self, gpu: Gpu) -> int | None:
        """The network that it has open, if any shard is left; else that with most work for each GPU at it."""
        if gpu.at in self.ready and self.open[gpu.at]:
            return gpu.at
        most = self.rules.together or len(self.gpus)
        free = [n for n in self.ready if self.workers[n] < most]
        return max(
            free, key=lambda n: self.open[n] * self.networks[n].task_seconds / (self.workers[n] + 1), default=None
        )

    def _train(self, network: int, gpus: list[Gpu], starting: bool) -> None:
        whole = self.networks[network].epoch_seconds
        usual = whole / (1 + (len(gpus) - 1) * self.rules.training_gain)
        real = usual * max(gpu.slowness for gpu in gpus) * self.draws.task()
        parts = {"start": self.draws.startup() if starting else 0.0, "work": whole / len(gpus)}
        parts |= {"parallel training": usual - parts["work"], "stragglers": real - usual}
        self._begin(Running(network, gpus, True, self.now, parts))

    def _compute(self, network: int, gpu: Gpu) -> None:
        self.open[network] -= 1
        if not self.open[network]:
            self.ready.discard(network)
        self.workers[network] += 1
        parts = {"start": 0.0}
        if gpu.at != network:
            gpu.at, gpu.seen = network, 0
            parts["start"] = self.draws.startup()
        usual = self.networks[network].task_seconds
        real = usual * gpu.slowness * self.draws.task()
        waited, gpu.seen = self.folder.wait(
            self.now, network, self.networks[network], gpu.seen, self.workers[network] - 1
        )
        parts |= {"folder": waited, "work": usual, "stragglers": real - usual}
        self._begin(Running(network, [gpu], False, self.now, parts))

    def _begin(self, running: Running) -> None:
        for gpu in running.gpus:
            gpu.running = running
        self._at(self.now + sum(running.parts.values()), "done", running)

    def _done(self, running: Running) -> None:
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
            self.folder.stored(network)
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

    def _kill(self, running: Running) -> None:
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
        if loss := self.draws.loss():
            self._at(self.now + loss[0], "lost", (number, loss[1]))

    def _of(self, number: int) -> list[Gpu]:
        return self.gpus[number * self.machines.per_node : (number + 1) * self.machines.per_node]

    def _at(self, when: float, kind: str, what: object) -> None:
        self.serial += 1
        heapq.heappush(self.events, (when, self.serial, kind, what))
