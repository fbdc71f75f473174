"""Which shards each task of an engine gets, and what becomes of those whose process or node is lost; counts alone."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

ATTEMPTS = 4  # of a shard whose process ends each time
TASK_SECONDS = 30.0  # that a task should take: little time goes between tasks, and the last ones end together
FIT = -1  # in place of a shard number: protocols choose their settings on held-out images


def task_shards(left: int, slots: int, seconds: float | None, wanted_seconds: float = TASK_SECONDS) -> int:
    """How many shards the next task gets: about `wanted_seconds` of work, where a shard takes so many seconds (None:
    not known yet), and few enough that the last tasks of all slots end at about the same time."""
    wanted = 1 if seconds is None else max(1, round(wanted_seconds / max(seconds, 1e-3)))
    return max(1, min(wanted, left // (2 * max(1, slots))))


@dataclass
class TaskQueue:
    """Shard numbers that wait for a task.

    chunk: inputs in one pass. task_seconds: that a task should take. lost: shards that were given up, and why.
    """

    chunk: int
    task_seconds: float = TASK_SECONDS
    lost: dict[int, str] = field(default_factory=dict)
    _waiting: deque[int] = field(default_factory=deque)
    _attempts: Counter[int] = field(default_factory=Counter)
    _chunks: dict[int, int] = field(default_factory=dict)  # of shards that ran out of memory
    _seconds: float = 0.0  # in which _shards were computed
    _shards: int = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, numbers: Iterable[int]) -> None:
        """Shards that no task has had yet."""
        self._waiting.extend(numbers)

    def next(self, slots: int) -> tuple[tuple[int, ...], int]:
        """The shards of the next task, and its chunk. A shard whose process was lost before is a task alone, so that it
        takes no others with it. slots: how many tasks run at once."""
        waiting = self._waiting
        numbers = [waiting.popleft()]
        left, known = len(waiting) + 1, self._of_a_shard
        size = 1 if self._is_alone(numbers[0]) else task_shards(left, slots, known, self.task_seconds)
        while waiting and len(numbers) < size and not self._is_alone(waiting[0]):
            numbers.append(waiting.popleft())
        return tuple(numbers), self._chunks.get(numbers[0], self.chunk)

    def put_back(self, numbers: tuple[int, ...]) -> None:
        """The shards of a task that was refused come first again."""
        self._waiting.extendleft(reversed(numbers))

    def failed(self, numbers: tuple[int, ...], reason: str, *, counts: bool = True, halve: bool = False) -> None:
        """The shards of a task whose process was lost come last, each alone, or are given up after ATTEMPTS.

        counts: whether the shard may be the cause. halve: whether passes become smaller.
        """
        for number in numbers:
            self._attempts[number] += counts
            if halve:
                self._chunks[number] = max(1, self._chunks.get(number, self.chunk) // 2)
            if self._attempts[number] >= ATTEMPTS:
                self.lost[number] = f"its process ended {ATTEMPTS} times: {reason}"
            else:
                self._waiting.append(number)

    def computed(self, shards: int, seconds: float) -> None:
        """A task has computed so many shards in so many seconds."""
        self._shards, self._seconds = self._shards + shards, self._seconds + seconds

    def seconds_left(self, running: int, slots: int) -> float | None:
        """Seconds until all is computed; running: shards of tasks that run or are on their way. None at first."""
        known = self._of_a_shard
        return None if known is None or not slots else known * (len(self) + running) / slots

    @property
    def _of_a_shard(self) -> float | None:
        return self._seconds / self._shards if self._shards else None

    def _is_alone(self, number: int) -> bool:
        return number == FIT or self._attempts[number] > 0
