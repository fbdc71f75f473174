"""Running scores: the mean of each method over the images that were computed so far, as the board will have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from xaibench.analysis.leaderboard import READ
from xaibench.analysis.ranking import RANKED
from xaibench.analysis.scored_board import image_scores
from xaibench.evaluation.pace import SHOWN, more
from xaibench.evaluation.plan import Plan, ProtocolRun


@dataclass
class RunningScores:
    """Sums over the images of each result key, of rows that come in once each, all rows of an image together."""

    plan: Plan
    sums: dict[str, float] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Adds rows of some batches."""
        for run in self.plan.protocols:
            keys = [job.key for job in self._jobs(run)]
            known = set(keys)
            mine = [row for row in rows if row["cell"] in known and row["metric"] == run.card.metric]
            if not mine:
                continue
            frame = pd.DataFrame(mine, columns=list(READ)).astype({"score": "float64"})
            scores, _ = image_scores(frame, keys, run.context["protocol"])
            for key in keys:
                count = int(scores[key].count())
                self.sums[key] = self.sums.get(key, 0.0) + float(scores[key].sum())
                self.images[key] = self.images.get(key, 0) + count

    def means(self, protocol: str) -> dict[str, float]:
        """The mean of each ranked method of a protocol that has any image, best first."""
        run = next(run for run in self.plan.protocols if run.name == protocol)
        found = {
            job.cell.method_name: self.sums[job.key] / self.images[job.key]
            for job in self._jobs(run)
            if self.images.get(job.key)
        }
        sign = -1 if run.card.higher_is_better else 1
        return dict(sorted(found.items(), key=lambda item: sign * item[1]))

    def lines(self) -> list[str]:
        """For each protocol the best methods so far with their means; images of earlier runs are not among them."""
        found = []
        for run in self.plan.protocols:
            means = self.means(run.name)
            if not means:
                continue
            images = max(self.images[job.key] for job in self._jobs(run) if job.key in self.images)
            texts = ", ".join(f"{name} {mean:.3f}" for name, mean in list(means.items())[:SHOWN])
            found.append(f"{run.name} after {images} images: {texts}{more(len(means) - SHOWN)}")
        return found

    def _jobs(self, run: ProtocolRun) -> list:
        return [job for job in self.plan.jobs if job.protocol is run and job.method and job.cell.kind in RANKED]
