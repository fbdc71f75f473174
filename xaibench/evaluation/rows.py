"""From scores to rows: one for each pair and metric, and one for each image that has nothing to explain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any

from xaibench.attribution.evidence import Evidence
from xaibench.datasets.base import Dataset, Sample
from xaibench.evaluation.plan import Job, Plan
from xaibench.evaluation.targets import unit
from xaibench.models.outputs import usable
from xaibench.protocols.base import OK, UNDEFINED_REFERENCE, Scores


@dataclass(frozen=True)
class Predictions:
    """What the model predicts for the images of a batch (the class with the highest logit), and which classes would be
    right: None where the model's classes are not those of the data set. Nothing is predicted, None, where its logits
    are not finite."""

    predicted: list[int | None]
    right: list[frozenset[int] | None]

    @classmethod
    def of(cls, plan: Plan, e: Evidence, samples: Sequence[Sample]) -> Predictions:
        """The predictions for a batch; e is evidence of the plan's model about the images of the samples."""
        data = plan.dataset
        # a data set without labels of its own has only those of its samples, which are loaded already
        single = type(data).labels is Dataset.labels
        labels = [(s.label,) if single else data.labels(s.image_id) for s in samples]
        classes, fine = e.logits().argmax(1).tolist(), usable(e.logits()).tolist()
        predicted = [index if known else None for index, known in zip(classes, fine, strict=True)]
        return cls(predicted, [frozenset(found) if plan.comparable else None for found in labels])

    def correct(self, image: int, target: int | None, predictions: bool) -> bool | None:
        """Whether the model is right about image number `image`: about its target where that is a prediction."""
        right, predicted = self.right[image], target if predictions else self.predicted[image]
        return None if right is None or predicted is None else predicted in right


@dataclass(frozen=True)
class RowMaker:
    """Makes the rows of a batch: its samples, and what the model predicts for them."""

    samples: Sequence[Sample]
    predictions: Predictions

    def rows(self, job: Job, e: Evidence, scores: Scores, wanted: Set[str]) -> Iterator[dict[str, Any]]:
        """The rows of a job for those images of the batch that are wanted; scores are of the pairs of e."""
        owners, targets = e.owner.tolist(), e.targets.tolist()
        metrics = {job.protocol.card.metric: scores, **scores.also}
        for metric, given in metrics.items():
            for pair, (score, status) in enumerate(zip(given.values.tolist(), given.status, strict=True)):
                if self.samples[owners[pair]].image_id in wanted:
                    yield self._row(job, owners[pair], targets[pair], metric, score if status == OK else None, status)
        for image in sorted(set(range(len(self.samples))) - set(owners)):
            if self.samples[image].image_id in wanted:
                yield from (self._row(job, image, None, metric, None, UNDEFINED_REFERENCE) for metric in metrics)

    def _row(
        self, job: Job, image: int, target: int | None, metric: str, score: float | None, status: str
    ) -> dict[str, Any]:
        sample, context = self.samples[image], job.protocol.context
        predictions = job.protocol.protocol.target in ("prediction", "predictions")
        return {
            "cell": job.key,
            "image_id": sample.image_id,
            "image_digest": sample.digest,
            "target": target,
            "unit": unit(job.protocol.protocol.target),
            "metric": metric,
            "score": score,
            "status": status,
            "prediction": self.predictions.predicted[image],
            "label": sample.label,
            "correct": self.predictions.correct(image, target, predictions),
            "protocol": context["protocol"]["name"],
            "dataset": context["dataset"]["name"],
            "model": context["model"]["name"],
            "reference_model": context.get("reference", {}).get("name"),
            "method": job.cell.method["name"] if job.cell.method else None,
        }
