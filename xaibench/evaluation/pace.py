"""How fast a run is: the seconds of each method and protocol so far, and from them the time that is left.

Time is split into parts: the maps of a method, the scores of a method under a protocol, what a protocol prepares for
all methods, and the rest (loading, predictions). Each part is counted with the images that it was done for, so methods
of different cost, and methods that lack different images, are each extrapolated for themselves.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xaibench.evaluation.compute import Missing
from xaibench.evaluation.plan import Plan
from xaibench.progress import clock

Part = tuple[str | None, str | None]  # method, protocol
REST: Part = (None, None)
SHOWN = 5  # methods, in one line


def part_images(plan: Plan, missing: Missing) -> Counter[Part]:
    """For how many images each part of the work is to be done, where `missing` says which images each key lacks."""
    images: dict[Part, set[str]] = {}
    for job in plan.jobs:
        lacking = missing.get(job.key)
        if not lacking:
            continue
        method, protocol = job.method.name if job.method else None, job.protocol.name
        for part in {(method, None), (method, protocol), (None, protocol), REST}:
            images.setdefault(part, set()).update(lacking)
    return Counter({part: len(found) for part, found in images.items()})


@dataclass
class Pace:
    """Seconds and images of each part so far. todo: images of each part in the whole run."""

    plan: Plan
    todo: Counter[Part] = field(default_factory=Counter)
    done: Counter[Part] = field(default_factory=Counter)
    seconds: dict[Part, float] = field(default_factory=dict)
    _part: Part = REST
    _since: float = field(default_factory=time.perf_counter)

    @classmethod
    def of(cls, plan: Plan, missing: Missing) -> Pace:
        """The pace of a run that lacks these images of each result key."""
        return cls(plan, part_images(plan, missing))

    def resume(self) -> None:
        """The time since the last part is nobody's: other processes were waited for."""
        self._part, self._since = REST, time.perf_counter()

    def elsewhere(self, before: Missing, now: Missing) -> None:
        """Another process has computed what was missing before and is no longer."""
        self.todo = self.todo - part_images(self.plan, before) + part_images(self.plan, now)

    def at(self, method: str | None, protocol: str | None) -> None:
        """From now on time is spent on this part."""
        now = time.perf_counter()
        self.seconds[self._part] = self.seconds.get(self._part, 0.0) + now - self._since
        self._part, self._since = (method, protocol), now

    def finished(self, missing: Missing) -> None:
        """A batch is done, which lacked these images of each key."""
        self.at(None, None)
        self.done += part_images(self.plan, missing)

    def left(self, part: Part) -> float:
        """Seconds that are left for a part; one that was never timed counts as the mean of its kind."""
        images = max(0, self.todo[part] - self.done[part])
        if self.done[part]:
            return images * self.seconds.get(part, 0.0) / self.done[part]
        kind = [p for p in self.done if (p[0] is None, p[1] is None) == (part[0] is None, part[1] is None)]
        return images * sum(self.seconds.get(p, 0.0) / self.done[p] for p in kind) / max(1, len(kind))

    @property
    def seconds_left(self) -> float | None:
        """Seconds that are left in all; None before the first batch."""
        return sum(map(self.left, self.todo)) if self.done else None

    def lines(self) -> list[str]:
        """Shares of time, and the time left: of methods (maps and scores) and of protocols (preparing and scores)."""
        parts = [*dict.fromkeys([*self.seconds, *self.todo])]
        methods = {part[0]: [p for p in parts if p[0] == part[0]] for part in parts if part[0]}
        protocols = {part[1]: [p for p in parts if p[1] == part[1]] for part in parts if part[1]}
        found = [self._line("time of methods", methods)] if methods else []
        return found + ([self._line("time of protocols", protocols)] if protocols else [])

    def _line(self, title: str, groups: Mapping[str, Sequence[Part]]) -> str:
        every = sum(self.seconds.values()) or 1.0
        spent = {name: sum(self.seconds.get(part, 0.0) for part in parts) for name, parts in groups.items()}
        names = sorted(groups, key=lambda name: -spent[name])
        texts = [
            f"{name} {spent[name] / every:.0%} ({clock(sum(map(self.left, groups[name])))} left)"
            for name in names[:SHOWN]
        ]
        return f"{title}: {', '.join(texts)}{more(len(names) - SHOWN)}"


def more(number: int) -> str:
    """` and 3 more`, or nothing."""
    return f" and {number} more" if number > 0 else ""
