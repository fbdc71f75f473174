"""Guided trainings with several lambdas: the baseline, the Pareto front of all epochs, and the model that is chosen of
it, evaluated on validation and on test images.

Each (seed, subset of annotated images) is a run of its own: one baseline, one training for each lambda, one front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq

from xaibench import registry
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError
from xaibench.files import make_folder
from xaibench.models.open import build_model, model_card
from xaibench.models.state import save_state
from xaibench.ranks import first_process
from xaibench.training.api import Training, plan_training
from xaibench.training.classifier import MONITOR
from xaibench.training.config import TrainingConfig
from xaibench.training.guidance.attributions import check_attribution
from xaibench.training.guidance.guided import Guided
from xaibench.training.guidance.kept import kept_epochs
from xaibench.training.guidance.pareto import POINTS_LOST, front, representative
from xaibench.training.guidance.request import Search
from xaibench.training.named import check_name, name_training
from xaibench.training.resources import TrainingResources
from xaibench.training.subject import Report, Subject, report_nothing
from xaibench.training.times import without_times
from xaibench.training.weights_evaluator import WeightsEvaluator


@dataclass(frozen=True)
class Point:
    """A model that was evaluated: the baseline (weight None, epoch 0) or an epoch of a training with some lambda.

    row holds the metrics on validation images, test those on test images, None where it is off the front.
    """

    weight: float | None
    epoch: int
    row: dict[str, float]
    test: dict[str, float] | None = None
    on_front: bool = False
    path: Path | None = None


@dataclass(frozen=True)
class Run:
    """One seed and one draw of the annotated images: the baseline, every epoch, and the number of the chosen one."""

    seed: int
    subset: int
    baseline: Point
    points: list[Point]
    chosen: int | None
    trainings: list[Training]


@dataclass(frozen=True)
class Outcome:
    """All runs, the name of the score that is traded for EPG, the folder of what is written, and the exported weights.

    weights is None where no epoch keeps enough of the baseline's score.
    """

    runs: list[Run]
    score: str
    folder: Path
    weights: Path | None


def guide(subject: Subject, search: Search, resources: TrainingResources, report: Report = report_nothing) -> Outcome:
    """Trains what is not trained yet and evaluates it; the chosen model of the first run is exported.

    Where the request has a `name`, the exported model is called so from then on. report is given a line before each
    step. Raises XaibenchError where a training cannot be planned or run.
    """
    config = subject.config
    _check(config, search.task)
    runs, evaluator, exported = [], None, None
    for seed in range(config.seed, config.seed + search.repeats):
        weights = subject.baseline(seed, resources, report)
        for subset in range(search.subsets):
            trainings = [_plan(config, task, seed, weights) for task in search.tasks(subset)]
            if exported is None:
                exported = replace(trainings[0], config=config, task=search)
                evaluator = WeightsEvaluator(trainings[0], search.test_images, resources)
                if config.name:
                    check_name(config.name, exported.path)
            for training in trainings:
                which = f", seed {seed}, subset {subset}" if search.repeats * search.subsets > 1 else ""
                report(f"{training.title}: lambda {training.task.weight:g}{which}")
                training.run(resources=resources)
            report("evaluating the baseline and the front")
            runs.append(_run(trainings, seed, subset, search.choose, evaluator))
    make_folder(exported.path.parent)
    found = runs[0].chosen is not None
    if found and first_process():
        _export(runs[0], exported, evaluator)
        if config.name:
            name_training(config.name, exported)
    return Outcome(runs, evaluator.score, exported.path.parent, exported.path if found else None)


def _plan(config: TrainingConfig, task: Guided, seed: int, weights: str) -> Training:
    """The training of one lambda, seed and subset, which keeps the weights of the epochs on its front."""
    one = {"lambda": [task.weight], "subset": task.annotations.seed, "subsets": 1, "repeats": 1}
    fields = {"seed": seed, "weights": weights, "name": None}
    if config.task == "guided":
        fields["task_options"] = config.task_options | one
    training = plan_training(config.with_fields(**fields), task)
    return replace(training, task=replace(task, keep=training.path.parent / "front"))


def _check(config: TrainingConfig, task: Guided) -> None:
    """Raises XaibenchError where the model or the data set cannot be guided so, before anything is trained."""
    if (start := config.recipe.get("start", "plain")) != "plain":
        raise XaibenchError(f"guidance starts from the weights of the baseline; leave out start={start}")
    card = model_card(config.model)
    data = registry.card("dataset", config.dataset).for_model(card, config.image_size)
    dataset = open_dataset(data, config.data_root, config.dataset_options, "train")
    task.annotations.check(dataset)
    model = build_model(card, len(dataset.classes), data.geometry, data.min_cam_grid)
    check_attribution(model, task.attribution, task.stage)


def _run(trainings: Sequence[Training], seed: int, subset: int, choose: str, evaluator: WeightsEvaluator) -> Run:
    """The front of all lambdas and epochs, evaluated on test images, and what is chosen of it."""
    score = evaluator.score
    baseline = Point(None, 0, *evaluator.baseline(trainings[0]))
    points = [point for training in trainings for point in _points(training)]
    rows = [point.row for point in points]
    on_front = set(front(rows, (score, "epg", "iou")))
    points = [
        replace(point, on_front=True, test=evaluator.test(point.path, point.row)) if number in on_front else point
        for number, point in enumerate(points)
    ]
    chosen = representative(rows, score, baseline.row[score])
    if choose == "score":
        chosen = max(on_front, key=lambda n: (rows[n][score], rows[n]["epg"], rows[n]["iou"], -n))
    return Run(seed, subset, baseline, points, chosen, list(trainings))


def _points(training: Training) -> list[Point]:
    """Every epoch of a training, with the file of its weights where they are kept."""
    kept = {kept.row["epoch"]: kept.path for kept in kept_epochs(training.task.keep)}
    rows = pq.read_table(training.path.parent / "metrics.parquet").to_pylist()
    lost = [row["epoch"] for row in rows if row["epoch"] not in kept]
    for number in front(rows, (MONITOR[training.recipe.labels], "epg", "iou")):
        if rows[number]["epoch"] in lost:
            raise XaibenchError(
                f"the weights of epoch {rows[number]['epoch']} are missing in {training.task.keep}; "
                f"delete {training.path.parent} to train again"
            )
    return [Point(training.task.weight, row["epoch"], row, path=kept.get(row["epoch"])) for row in rows]


def _export(run: Run, exported: Training, evaluator: WeightsEvaluator) -> None:
    """Writes the chosen weights of a run, with a header that says what they are, and the request beside them."""
    point = run.points[run.chosen]
    metrics = without_times(point.row)
    chosen = {
        "seed": run.seed, "subset": run.subset, "lambda": point.weight, "epoch": point.epoch,
        "points_lost": POINTS_LOST, "test": point.test, "baseline": run.baseline.row,
        "baseline_test": run.baseline.test,
    }  # fmt: skip
    evaluator.load(point.path)
    exported.write_config()
    fields = exported.key_fields | {"metrics": metrics, "monitor": evaluator.score, "chosen": chosen}
    save_state(evaluator.model.net, exported.path, fields)
