"""What each method costs, where methods share passes: the work behind evidence, and who used it.

Work is in parts. A part is what evidence computes once and remembers (`Evidence.once`), or what a method does besides.
The cost of a method **alone** is that of all parts that its maps need, as if nobody else had asked for them. Its
**share** is the same with each part divided equally among the methods of the run that used it, so the shares of all
methods, and the parts that no method used, add up to all the work there was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import torch

Value = TypeVar("Value")


@dataclass
class Cost:
    """Forward-equivalents (passes of one input, a backward pass counts as two) and seconds."""

    forward_equivalents: float = 0.0
    seconds: float = 0.0

    def add(self, other: Cost, part: float = 1.0) -> None:
        """Adds a part of another cost."""
        self.forward_equivalents += part * other.forward_equivalents
        self.seconds += part * other.seconds


@dataclass(eq=False)
class Part:
    """A part of the work: its own cost, without that of the parts that it used."""

    own: Cost = field(default_factory=Cost)
    used: set[Part] = field(default_factory=set)

    def needs(self) -> set[Part]:
        """This part and all that it used, directly or not."""
        found, todo = set(), [self]
        while todo:
            part = todo.pop()
            if part not in found:
                found.add(part)
                todo += part.used
        return found


@dataclass
class MethodCost:
    """What a method has cost so far: for how many images, with how many maps (one for each explained class), alone and
    as its share."""

    images: int = 0
    maps: int = 0
    alone: Cost = field(default_factory=Cost)
    share: Cost = field(default_factory=Cost)

    def add(self, other: MethodCost) -> None:
        """Adds what the same method has cost elsewhere."""
        self.images += other.images
        self.maps += other.maps
        self.alone.add(other.alone)
        self.share.add(other.share)

    def per_image(self) -> dict[str, float]:
        """The fields of `results.records.MethodCosts`: how many images and maps, and means over the images."""
        return {
            "images": self.images,
            "maps": self.maps,
            "forward_equivalents_alone": round(self.alone.forward_equivalents / self.images, 6),
            "forward_equivalents_shared": round(self.share.forward_equivalents / self.images, 6),
            "seconds_alone": round(self.alone.seconds / self.images, 6),
            "seconds_shared": round(self.share.seconds / self.images, 6),
        }


class CostLedger:
    """The work on one batch, as a tree of parts; `passes` tells the forward-equivalents so far.

    clock: seconds, when all that was started before has ended.
    """

    def __init__(self, passes: Callable[[], float], clock: Callable[[], float] = time.perf_counter):
        self._passes, self._clock = passes, clock
        self._open = [Part()]  # the parts that are being computed, the innermost last
        self._last = Cost(passes(), clock())
        self._drawn: list[tuple[str, int, int, Part]] = []

    def shared(self, compute: Callable[[], Value]) -> tuple[Value, Part]:
        """What `compute` returns, and the part of the work that it was; whoever is computing now uses it."""
        with self._part() as part:
            value = compute()
        self.use(part)
        return value, part

    def use(self, part: Part | None) -> None:
        """Whoever is computing now uses a part that is there already; None: one whose cost is unknown."""
        if part is not None:
            self._open[-1].used.add(part)

    @contextmanager
    def drawing(self, method: str, images: int, maps: int) -> Iterator[None]:
        """In this block a method makes maps of so many images; one that raises is not counted."""
        with self._part() as part:
            yield
        self._drawn.append((method, images, maps, part))

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """In this block the network is prepared once for the whole run, which is the cost of no method."""
        with self._part():
            yield

    def add_to(self, costs: dict[str, MethodCost]) -> None:
        """Adds what each method has cost in this batch."""
        needs = [part.needs() for *_, part in self._drawn]
        users: dict[Part, int] = {}
        for parts in needs:
            for part in parts:
                users[part] = users.get(part, 0) + 1
        for (method, images, maps, _), parts in zip(self._drawn, needs, strict=True):
            cost = costs.setdefault(method, MethodCost())
            cost.images += images
            cost.maps += maps
            for part in parts:
                cost.alone.add(part.own)
                cost.share.add(part.own, 1 / users[part])

    @contextmanager
    def _part(self) -> Iterator[Part]:
        self._settle()
        self._open.append(Part())
        try:
            yield self._open[-1]
        finally:
            self._settle()
            self._open.pop()

    def _settle(self) -> None:
        """Charges the innermost part with the work since the last time."""
        now = Cost(self._passes(), self._clock())
        self._open[-1].own.add(now)
        self._open[-1].own.add(self._last, -1)
        self._last = now


def clock_of(device: str) -> Callable[[], float]:
    """A clock of seconds that waits for what a device still has to do, as its work is only started by the program."""
    kind = torch.device(device).type

    def seconds() -> float:
        if kind == "cuda":
            torch.cuda.synchronize(device)
        elif kind == "mps":
            torch.mps.synchronize()
        return time.perf_counter()

    return seconds
