"""What an engine is: where the shards of a run are computed, and what it is given for that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from xaibench.evaluation.compute import Missing, Tally
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.plan import Plan
from xaibench.evaluation.resources import Resources
from xaibench.evaluation.shards import Shard
from xaibench.progress import Bar
from xaibench.results.claims import Claims
from xaibench.results.completion import Completion
from xaibench.results.manifest import load_runs
from xaibench.results.store import Store


@dataclass(frozen=True)
class Work:
    """What an executor is made for.

    config, plan: the request and what follows from it; a process elsewhere makes the plan from the request. store,
    completion: the results folder, and what it lacks. claims: what this process computes right now, for others.
    missing: the images that each result key lacks in this part of the run. chunk: inputs in one pass. progress is
    advanced by images; quiet hides other bars. trace: the file that a profile of some batches is written to, None for
    no profile. fitted: settings that protocols chose already, by result key, besides those in records of the folder.
    """

    config: RunConfig
    plan: Plan
    store: Store
    completion: Completion
    claims: Claims
    missing: Missing
    resources: Resources
    chunk: int
    progress: Bar
    quiet: bool
    trace: Path | None = None
    fitted: Mapping[str, dict[str, float]] = field(default_factory=dict)

    @property
    def known_fits(self) -> dict[str, dict[str, float]]:
        """The settings that protocols chose on held-out images before, by result key."""
        return {key: chosen for run in load_runs(self.store) for key, chosen in run.fitted.items()} | dict(self.fitted)


class Executor(Protocol):
    """Computes shards, in any order and anywhere, into a results folder; what is complete it never decides.

    tally: what was counted so far. fitted: the settings that protocols chose on held-out images, by result key.
    """

    tally: Tally
    fitted: dict[str, dict[str, float]]

    def execute(self, shards: Sequence[Shard]) -> list[Shard]:
        """Computes what is missing of shards and stores it; returns those that another process is computing right now.

        Rows of finished batches are stored also when it is interrupted.
        """


Engine = Callable[[Work], AbstractContextManager[Executor]]
"""Makes an executor for a piece of work, and ends what it needed when the block ends."""
