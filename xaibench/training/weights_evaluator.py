"""Evaluates weights on validation and test images; the metrics are kept in a file beside the weights."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path

import torch

from xaibench.datasets.open import open_dataset, parameters_of
from xaibench.files import make_folder, read_json, write_json
from xaibench.models.base import Model
from xaibench.models.open import build_model, load_weights
from xaibench.models.state import file_digest, read_state
from xaibench.ranks import first_process
from xaibench.training.api import Training
from xaibench.training.classifier import MONITOR
from xaibench.training.guidance.evaluation import Evaluation, EvaluationBatches
from xaibench.training.resources import TrainingResources


class WeightsEvaluator:
    """Evaluates weights of the model of a guided training; `score` is the metric that is traded for EPG.

    Each of several processes evaluates all images, so that none waits for files of another; the first one writes.

    test_images: the first so many of the test images, None for all; with 0 there are no metrics of test images.
    """

    def __init__(self, training: Training, test_images: int | None, resources: TrainingResources):
        config, task, recipe, data = training.config, training.task, training.recipe, training.dataset
        self.card, self.score, self.device = training.model, MONITOR[recipe.labels], resources.device
        options = config.dataset_options
        parts = {part: open_dataset(data, config.data_root, options, part) for part in ("validation", "test")}
        self.model: Model = build_model(self.card, len(parts["test"].classes), data.geometry, data.min_cam_grid)
        self._metrics: dict[str, dict[str, float]] = {}  # by key; runs share a baseline
        self._own = copy.deepcopy(self.model.net.state_dict())
        several, loaded = recipe.labels == "several", (recipe.batch_size, resources.workers)
        self._evaluations = {
            part: Evaluation(
                self.model, dataset, task.attribution, task.stage, several=several,
                batches=EvaluationBatches(*loaded, test_images if part == "test" else None),
            )
            for part, dataset in parts.items() if part != "test" or test_images != 0
        }  # fmt: skip
        self._key_fields = {
            "attribution": task.attribution, "stage": task.stage, "score": self.score, "version": data.version,
            "geometry": data.geometry.key_fields, "test_images": test_images,
        } | {part: parameters_of(data, options, part) for part in parts}  # fmt: skip

    def baseline(self, training: Training) -> tuple[dict[str, float], dict[str, float]]:
        """The weights that a training starts from: metrics on validation images, and on test images."""
        folder, path, digest = training.path.parent / "baseline", training.start, training.start_digest
        row = self._known(folder / "validation.json", path, digest, "validation")
        return row, self._known(folder / "test.json", path, digest, "test", row)

    def test(self, path: Path, row: dict[str, float]) -> dict[str, float]:
        """Metrics of kept weights on test images; row: theirs on validation images, where thresholds were chosen."""
        return self._known(path.with_suffix(".test.json"), path, file_digest(path), "test", row)

    def load(self, path: Path | None) -> None:
        """Puts weights into the model; None: those that its builder brings."""
        if path is None:
            self.model.net.load_state_dict(self._own)
        else:
            load_weights(self.model, read_state(path), "plain", self.card)
        self.model.freeze(self.device, torch.float32)

    def _known(
        self, file: Path, path: Path | None, digest: str | None, part: str, row: dict[str, float] | None = None
    ) -> dict[str, float]:
        """The metrics of these weights that a file holds, or those of an evaluation now, which are written into it."""
        if part not in self._evaluations:
            return {}
        evaluation = self._evaluations[part]
        prefixes = zip(evaluation.stages, ("", "input_"), strict=False)
        thresholds = row and {stage: row[f"{prefix}threshold"] for stage, prefix in prefixes}
        key_fields = self._key_fields | {"part": part, "weights": digest, "thresholds": thresholds}
        key = hashlib.blake2b(json.dumps(key_fields, sort_keys=True).encode(), digest_size=10).hexdigest()
        if file.is_file() and (found := read_json(file))["key"] == key:
            return found["metrics"]
        if key not in self._metrics:
            self.load(path)
            self._metrics[key] = evaluation(thresholds)
        if first_process():
            make_folder(file.parent)
            write_json(file, {"key": key, "metrics": self._metrics[key]})
        return self._metrics[key]
