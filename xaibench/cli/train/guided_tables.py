"""The results of guided trainings: tables of text, and rows for Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xaibench.report.table import Table
from xaibench.training.guidance.groups import OVERALL, PREFIX, WORST, mean_and_deviation
from xaibench.training.guidance_search import Outcome, Point, Run

BASELINE = "baseline"
SILENT = 0.25
"""The share of maps without a positive value above which a note is printed."""


def front_table(run: Run, score: str, width: int | None = None, colour: bool = False) -> str:
    """The baseline, then the front by lambda and epoch, on validation and test images; the chosen one has a star."""
    shown = [run.baseline, *(point for point in run.points if point.on_front)]
    chosen = None if run.chosen is None else run.points[run.chosen]
    metrics = [name for name in (score, "map", "epg", "iou", "input_epg", "input_iou") if name in run.baseline.row]
    headers = [
        "lambda",
        "epoch",
        *(metric_title(name) for name in metrics),
        *(f"test {metric_title(name)}" for name in metrics),
    ]
    if WORST in (run.baseline.test or {}):
        headers.append("test worst group")
    lines = []
    for point in shown:
        test = point.test or {}
        name = BASELINE if point.weight is None else f"{point.weight:g}{' *' if point is chosen else ''}"
        numbers = [point.row[m] for m in metrics] + [test[m] for m in metrics]
        numbers += [test[WORST]] if WORST in test else []
        lines.append([name, str(point.epoch or ""), *(f"{number:.3f}" for number in numbers)])
    quiet = [point.weight is None for point in shown]
    return Table.of_text(headers, lines, quiet).to_text(width, colour)


def group_table(outcome: Outcome, width: int | None = None, colour: bool = False) -> str | None:
    """Test accuracies by group and EPG of baseline and chosen models, mean and deviation over runs; None without
    groups. A baseline that several runs share counts once. The worst group is that of each run, and `G3` the group that
    papers call so."""
    runs = [run for run in outcome.runs if run.chosen is not None]
    if not runs or WORST not in runs[0].baseline.test:
        return None
    names = [OVERALL, WORST, *sorted(name for name in runs[0].baseline.test if name.startswith(PREFIX)), "epg"]
    sides = {
        BASELINE: [run.baseline for run in {run.trainings[0].start_digest: run for run in runs}.values()],
        "guided": [run.points[run.chosen] for run in runs],
    }
    lines = [[side, str(len(points)), *(_mean(points, name) for name in names)] for side, points in sides.items()]
    return Table.of_text(["test", "runs", *map(metric_title, names)], lines, [True, False]).to_text(width, colour)


def epoch_rows(outcome: Outcome) -> list[dict[str, Any]]:
    """A row for the baseline and for every epoch of every training, with its metrics on validation images, whether it
    is on the front and chosen, and `test_NAME` metrics where it was tested."""
    rows = []
    for run in outcome.runs:
        for number, point in enumerate([run.baseline, *run.points], -1):
            who = {"seed": run.seed, "subset": run.subset, "lambda": point.weight, "epoch": point.epoch}
            what = {"on_front": point.on_front, "chosen": run.chosen is not None and number == run.chosen}
            own = {name: value for name, value in point.row.items() if name not in who}
            rows.append(who | what | own | {f"test_{name}": value for name, value in (point.test or {}).items()})
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name) for name in columns} for row in rows]


def no_positive_note(run: Run) -> list[str]:
    """Notes on trainings that ended with many maps without a positive value, one sentence each."""
    last = {point.weight: point.row for point in run.points}  # the last epoch of each lambda
    return [
        f"lambda {weight:g}: in the last epoch {row['train_silent']:.0%} of the guided maps had no positive value, so "
        "that the loss had no gradient there; take a smaller --lambda, or --recipe loss=binary-cross-entropy, whose "
        "logits cannot all be negative"
        for weight, row in last.items() if row.get("train_silent", 0) > SILENT
    ]  # fmt: skip


def metric_title(metric: str) -> str:
    """A metric's name for readers."""
    known = {"f1": "F1", "map": "mAP", "epg": "EPG", "iou": "IoU", "input_epg": "Input EPG", "input_iou": "Input IoU"}
    return known.get(metric, metric.removeprefix(PREFIX).replace("_", " "))


def _mean(points: Sequence[Point], name: str) -> str:
    mean, deviation = mean_and_deviation([point.test[name] for point in points])
    return f"{mean:.3f}" if len(points) == 1 else f"{mean:.3f} ± {deviation:.3f}"
