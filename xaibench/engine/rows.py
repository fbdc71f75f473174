"""From scores to rows: one for each pair and metric, and one for each image that has nothing to explain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.datasets.base import Sample
from xaibench.engine.pairs import unit
from xaibench.engine.plan import Judge
from xaibench.protocols.base import OK, UNDEFINED_REFERENCE, Scores
from xaibench.results.cells import Cell


def rows_of(
    judge: Judge, cell: Cell, e: Evidence, samples: Sequence[Sample], predictions: Tensor, scores: Scores,
    wanted: set[str],
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Rows of one cell for the images that are wanted; predictions (B,) are class indices."""
    owners, targets, predicted = e.owner.tolist(), e.targets.tolist(), predictions.tolist()
    names = {name: judge.context[name]["name"] for name in ("protocol", "dataset", "model")}
    names["reference_model"] = judge.context.get("reference", {}).get("name")
    metrics = {judge.card.metric: scores, **scores.also}

    def row(image: int, target: int | None, metric: str, score: float | None, status: str) -> dict[str, Any]:
        sample = samples[image]
        return {
            "cell": cell.key, "image_id": sample.image_id, "image_digest": sample.digest, "target": target,
            "unit": unit(judge.protocol.target), "metric": metric, "score": score if status == OK else None,
            "status": status, "prediction": predicted[image], **names,
            "method": cell.method["name"] if cell.method else None,
        }  # fmt: skip

    for metric, given in metrics.items():
        for pair, (score, status) in enumerate(zip(given.values.tolist(), given.status, strict=True)):
            if samples[owners[pair]].image_id in wanted:
                yield row(owners[pair], targets[pair], metric, score, status)
    for image in sorted(set(range(len(samples))) - set(owners)):
        if samples[image].image_id in wanted:
            yield from (row(image, None, metric, None, UNDEFINED_REFERENCE) for metric in metrics)
