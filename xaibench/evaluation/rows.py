"""From scores to rows: one for each pair and metric, and one for each image that has nothing to explain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from xaibench.attribution.evidence import Evidence
from xaibench.datasets.base import Dataset, Sample
from xaibench.evaluation.plan import Plan, ProtocolRun
from xaibench.evaluation.targets import unit
from xaibench.protocols.base import OK, UNDEFINED_REFERENCE, Scores
from xaibench.results.cells import Cell


@dataclass(frozen=True)
class Predictions:
    """What the model says of the images of a batch, and what the data set says: the class with the highest logit, and
    the classes that would be right, None where the model's classes are not those of the data."""

    predicted: list[int]
    right: list[frozenset[int] | None]

    @classmethod
    def of(cls, plan: Plan, e: Evidence, samples: Sequence[Sample]) -> Predictions:
        """The answers for a batch; e is evidence of the plan's model about the images of the samples."""
        data = plan.dataset
        # a data set without labels of its own has only those of its samples, which are loaded already
        single = type(data).labels is Dataset.labels
        labels = [(s.label,) if single else data.labels(s.image_id) for s in samples]
        return cls(e.logits().argmax(1).tolist(), [frozenset(found) if plan.comparable else None for found in labels])

    def correct(self, image: int, target: int | None, predictions: bool) -> bool | None:
        """Whether the model is right about image number `image`: about its target where that is a prediction."""
        right, said = self.right[image], target if predictions else self.predicted[image]
        return None if right is None or said is None else said in right


def rows_of(
    judge: ProtocolRun, cell: Cell, e: Evidence, samples: Sequence[Sample], answers: Predictions, scores: Scores,
    wanted: set[str],
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Rows of one cell for the images that are wanted."""
    owners, targets = e.owner.tolist(), e.targets.tolist()
    predictions = judge.protocol.target in ("prediction", "predictions")
    names = {name: judge.context[name]["name"] for name in ("protocol", "dataset", "model")}
    names["reference_model"] = judge.context.get("reference", {}).get("name")
    metrics = {judge.card.metric: scores, **scores.also}

    def row(image: int, target: int | None, metric: str, score: float | None, status: str) -> dict[str, Any]:
        sample = samples[image]
        return {
            "cell": cell.key, "image_id": sample.image_id, "image_digest": sample.digest, "target": target,
            "unit": unit(judge.protocol.target), "metric": metric, "score": score if status == OK else None,
            "status": status, "prediction": answers.predicted[image], "label": sample.label,
            "correct": answers.correct(image, target, predictions), **names,
            "method": cell.method["name"] if cell.method else None,
        }  # fmt: skip

    for metric, given in metrics.items():
        for pair, (score, status) in enumerate(zip(given.values.tolist(), given.status, strict=True)):
            if samples[owners[pair]].image_id in wanted:
                yield row(owners[pair], targets[pair], metric, score, status)
    for image in sorted(set(range(len(samples))) - set(owners)):
        if samples[image].image_id in wanted:
            yield from (row(image, None, metric, None, UNDEFINED_REFERENCE) for metric in metrics)
