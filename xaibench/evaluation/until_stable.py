"""`xaibench run --until-stable`: when a run has enough images for the order that is asked for.

The images are those that a run without it would have, in the same batches, so rows and keys are the same; only how many
of them are computed is decided here, from the stored rows of the list's beginning alone. Given again, a command
therefore looks at the same places and ends with the same words.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from xaibench.analysis.leaderboard import READ
from xaibench.analysis.ranking import RANKED
from xaibench.analysis.scored_board import image_scores
from xaibench.analysis.settled import NOT_SETTLED, Settlement, settle
from xaibench.cards import ProtocolCard
from xaibench.datasets.base import Dataset, hashed_order
from xaibench.errors import XaibenchError
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.plan import Plan
from xaibench.evaluation.shards import Shard
from xaibench.report.settlement import CLOSEST, look_line
from xaibench.results.cells import Cell
from xaibench.results.store import Store

SLACK = 1e-6  # by which scores may leave their range through rounding, relative to its width
GROWTH = 16  # from so many shards on, a look comes after each further share 1/GROWTH of them


def looks(shards: Sequence[Shard]) -> Iterator[list[Shard]]:
    """The shards between two looks: one by one at first, later a sixteenth of those that are done."""
    done = 0
    while done < len(shards):
        step = max(1, done // GROWTH)
        yield list(shards[done : done + step])
        done += step


@dataclass
class UntilStable:
    """The stop rule of one run. Each protocol's order is settled for itself, at the confidence that is asked for, and
    the run ends when all are.

    first: places that are asked for, None for all. say is told what each look found, unless quiet.
    """

    first: int | None
    confidence: float
    margin: float | None
    plan: Plan
    store: Store
    say: Callable[[str], None]
    found: dict[str, Settlement] = field(default_factory=dict)
    number: int = 0

    @classmethod
    def of(cls, config: RunConfig, plan: Plan, store: Store, say: Callable[[str], None]) -> UntilStable | None:
        """That of a request, None where it asks for none; raises XaibenchError where it would not be valid."""
        if config.until_stable is None:
            return None
        first = None if config.until_stable == "all" else int(config.until_stable.removeprefix("top-"))
        check_order(plan.dataset, plan.images)
        for run in plan.protocols:
            check_range(run.card, config.margin)
            if (count := len(ranked(plan, run.name))) < 2:
                raise XaibenchError(
                    f"--until-stable compares methods, and {run.name} ranks {count} here; name "
                    "two or more by --methods, or leave it out"
                )
        return cls(first, config.confidence, config.margin, plan, store, say)

    def look(self, images: Sequence[str]) -> bool:
        """Whether the order of every protocol is settled by the first images of the list, which are stored."""
        self.number += 1
        for run in self.plan.protocols:
            if run.name not in self.found or not self.found[run.name].over:
                cells = ranked(self.plan, run.name)
                self.found[run.name] = settle(
                    listed_scores(self.store, cells, images, run.card),
                    len(self.plan.images),
                    reach=run.card.range[1] - run.card.range[0],
                    higher=run.card.higher_is_better,
                    first=self.first or len(cells),
                    confidence=self.confidence,
                    margin=self.margin,
                )
                self.say(f"{run.name}: {look_line(self.found[run.name])}")
        return all(found.over for found in self.found.values())

    def record(self, failed: Sequence[str] = ()) -> dict[str, Any]:
        """For the record of the run: the rule, what was found for each protocol, and methods that failed, without which
        nothing is settled."""
        return {
            "places": "all" if self.first is None else self.first,
            "confidence": self.confidence,
            "margin": self.margin,
            "looks": self.number,
            "listed": len(self.plan.images),
            "failed": list(failed),
            "protocols": {
                name: dataclasses.asdict(found)
                | {"outcome": found.outcome if found.over else NOT_SETTLED}
                | {"undecided": [list(pair) for pair in found.undecided[:CLOSEST]], "open": len(found.undecided)}
                for name, found in self.found.items()
            },
        }


def check_order(dataset: Dataset, images: Sequence[str]) -> None:
    """Raises XaibenchError for a data set whose list is in an order of its own, which may not be random."""
    if list(images) != hashed_order(dataset.ids)[: len(images)]:
        raise XaibenchError(
            f"--until-stable needs a list in random order, and data set {dataset.name} has an order of its own; leave "
            "out its image_list, or --until-stable"
        )


def check_range(card: ProtocolCard, margin: float | None) -> None:
    """Raises XaibenchError for a protocol without finite range, or whose undefined maps leave it, and for a margin that
    is not inside."""
    low, high = card.range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise XaibenchError(
            f"--until-stable needs scores in a finite range, and that of {card.name} is [{low:g}, {high:g}]; run it "
            "with a fixed number of --images"
        )
    if not low <= card.undefined_cost <= high:
        raise XaibenchError(
            f"--until-stable needs all scores inside [{low:g}, {high:g}], and undefined maps cost "
            f"{card.undefined_cost:g} under {card.name}; mend its card"
        )
    if margin is not None and margin >= high - low:
        raise XaibenchError(
            f"--margin {margin:g} calls all methods equivalent: scores of {card.name} are in [{low:g}, {high:g}]"
        )


def ranked(plan: Plan, protocol: str) -> list[Cell]:
    """The cells of a protocol that a board ranks."""
    return [job.cell for job in plan.jobs if job.protocol.name == protocol and job.method and job.cell.kind in RANKED]


def listed_scores(store: Store, cells: Sequence[Cell], images: Sequence[str], card: ProtocolCard) -> pd.DataFrame:
    """Scores (images in this order, methods) of a protocol's main metric, NaN where an image's reference is undefined.

    Raises XaibenchError for a score outside of the range that the protocol's card declares.
    """
    keys = [cell.key for cell in cells]
    rows = store.rows(keys, columns=READ)
    rows = rows[rows["image_id"].isin(set(images)) & (rows["metric"] == card.metric)]
    scores, _ = image_scores(rows, keys, cells[0].context["protocol"])
    scores = scores.reindex(list(images)).set_axis([cell.method_name for cell in cells], axis=1)
    low, high = card.range
    slack = SLACK * (high - low)
    outside = ((scores < low - slack) | (scores > high + slack)).any()
    if outside.any():
        raise XaibenchError(
            f"--until-stable: a score of {outside.idxmax()} is outside of [{low:g}, {high:g}], the range that protocol "
            f"{card.name} declares; mend the range in its card, or run with a fixed number of --images"
        )
    return scores.clip(low, high)
