"""Guided trainings with several lambdas: the baseline before, the Pareto front of all epochs, and the model that stands
for it, on validation and on test images.

Each (seed, subset of annotated images) is a run of its own: one baseline, one training for each lambda, one front.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq

from xaibench import registry
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError
from xaibench.files import make_folder
from xaibench.models.open import build_model, model_card
from xaibench.models.state import save_state
from xaibench.training.api import Training
from xaibench.training.classifier import MONITOR
from xaibench.training.guidance.attributions import check_attribution
from xaibench.training.guidance.evaluator import WeightsEvaluator
from xaibench.training.guidance.guided import Guided
from xaibench.training.guidance.kept import kept_epochs
from xaibench.training.guidance.pareto import POINTS_LOST, front, representative
from xaibench.training.guidance.request import Search
from xaibench.training.loop import TIMES
from xaibench.training.named import check_name, name_training
from xaibench.training.processes import first_process
from xaibench.training.subject import Subject


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


def guide(
    subject: Subject, search: Search, *, name: str | None = None, workers: int = 0, device: str = "cpu",
    precision: str = "float32", quiet: bool = False, say: Callable[[str], None] = lambda words: None,
) -> Outcome:  # fmt: skip
    """Trains what is not trained yet and evaluates it; the chosen model of the first run is exported.

    name: what the exported model is called from then on. say is told what is being done. Raises XaibenchError where a
    training cannot be planned or carried out.
    """
    how = {"workers": workers, "device": device, "quiet": quiet, "precision": precision}
    _check(subject, search.task)
    runs, judge, found = [], None, None
    for seed in range(subject.seed, subject.seed + search.repeats):
        weights = subject.baseline(seed, say, **how)
        for subset in range(search.subsets):
            trainings = [subject.plan(task, seed, weights) for task in search.tasks(subset)]
            trainings = [replace(t, task=replace(t.task, keep=t.path.parent / "front")) for t in trainings]
            if found is None:
                if (start := trainings[0].recipe.start) != "plain":
                    raise XaibenchError(f"guidance starts from the weights of the baseline; leave out start={start}")
                found = replace(trainings[0], task=search)
                judge = WeightsEvaluator(trainings[0], search.test_images, workers, device)
                if name:
                    check_name(name, found.path)
            for training in trainings:
                words = f", seed {seed}, subset {subset}" if search.repeats * search.subsets > 1 else ""
                say(f"{training.title}: lambda {training.task.weight:g}{words}")
                training.run(**how)
            runs.append(_run(trainings, seed, subset, search, judge, say))
    make_folder(found.path.parent)
    exported = runs[0].chosen is not None
    if exported:
        _export(runs[0], found, judge)
        if name and first_process():
            name_training(name, found)
    return Outcome(runs, judge.score, found.path.parent, found.path if exported else None)


def _check(subject: Subject, task: Guided) -> None:
    """Raises XaibenchError where the model or the data set cannot be guided so, before anything is trained."""
    card, data = model_card(subject.model), registry.card("dataset", subject.dataset).at_size(subject.image_size)
    dataset = open_dataset(data, subject.data_root, subject.options, "train")
    task.annotations.check(dataset)
    model = build_model(card, len(dataset.classes), data.geometry, data.min_cam_grid)
    check_attribution(model, task.attribution, task.stage)


def _run(
    trainings: Sequence[Training],
    seed: int,
    subset: int,
    search: Search,
    judge: WeightsEvaluator,
    say: Callable[[str], None],
) -> Run:
    """The front of all lambdas and epochs, evaluated on test images, and what is chosen of it."""
    say("evaluating the baseline and the front")
    baseline = Point(None, 0, *judge.baseline(trainings[0]))
    points = [point for training in trainings for point in _points(training)]
    rows = [point.row for point in points]
    on_front = set(front(rows, (judge.score, "epg", "iou")))
    points = [
        replace(point, on_front=True, test=judge.test(point.path, point.row)) if number in on_front else point
        for number, point in enumerate(points)
    ]
    chosen = representative(rows, judge.score, baseline.row[judge.score])
    if search.choose == "score":
        chosen = max(on_front, key=lambda n: (rows[n][judge.score], rows[n]["epg"], rows[n]["iou"], -n))
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


def _export(run: Run, found: Training, judge: WeightsEvaluator) -> None:
    """Writes the chosen weights of a run, with a header that says what they are."""
    point = run.points[run.chosen]
    metrics = {name: value for name, value in point.row.items() if name not in TIMES}
    chosen = {
        "seed": run.seed, "subset": run.subset, "lambda": point.weight, "epoch": point.epoch,
        "points_lost": POINTS_LOST, "test": point.test, "baseline": run.baseline.row,
        "baseline_test": run.baseline.test,
    }  # fmt: skip
    judge.load(point.path)
    save_state(
        judge.model.net, found.path, found.key_fields | {"metrics": metrics, "monitor": judge.score, "chosen": chosen}
    )
