"""`xaibench train guided`: several lambdas are several trainings; the Pareto front of their epochs, and one model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from xaibench.cli.output import echo
from xaibench.cli.train.run import model_and_data
from xaibench.printing import print_line
from xaibench.training.config import TrainingConfig

if TYPE_CHECKING:
    from xaibench.training.guidance_search import Outcome


def run(config: TrainingConfig, quiet: bool) -> None:
    """Trains with every lambda, prints the front, and where the weights, metrics and figure are."""
    from xaibench.evaluation.resources import training_resources
    from xaibench.plugins import add
    from xaibench.ranks import first_process
    from xaibench.training import guidance_search as search
    from xaibench.training.subject import Subject

    add(config.plugins, config.cards)

    def report(line: str) -> None:
        if first_process() and not quiet:
            print_line(line)

    resources = training_resources(config.device, config.workers, quiet, config.precision)
    outcome = search.guide(Subject(config), config.options.search(), resources, report)
    if first_process():
        _print(config, outcome)


def _print(config: TrainingConfig, outcome: Outcome) -> None:
    """The front as a table, a figure and the metrics of every epoch; raises XaibenchError where no epoch is chosen."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    from xaibench.cli.train.guided_figure import front_figure
    from xaibench.cli.train.guided_tables import epoch_rows, front_table, group_table, no_positive_note
    from xaibench.errors import XaibenchError
    from xaibench.files import write_atomic

    first, folder = outcome.runs[0], outcome.folder
    task = first.trainings[0].task
    title = f"{first.trainings[0].title}, {task.loss} at {task.stage}"
    echo(f"{title}: the baseline and the Pareto front, * is chosen\n")
    echo(front_table(first, outcome.score, None, sys.stdout.isatty()), coloured=True)
    if table := group_table(outcome, None, sys.stdout.isatty()):
        echo(f"\n{table}")
    for sentence in no_positive_note(first):
        echo(f"\n{sentence}")
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(epoch_rows(outcome)), buffer)
    write_atomic(folder / "epochs.parquet", buffer.getvalue())
    echo(f"\nmetrics of every epoch: {folder / 'epochs.parquet'}")
    echo(f"figure: {front_figure(first, outcome.score, title, folder / 'front.png')}")
    if outcome.weights is None:
        raise XaibenchError(
            f"no epoch keeps the baseline's {outcome.score} to 5 points, so no weights are exported; "
            "choose smaller --lambda, or --choose score"
        )
    echo(f"weights: {outcome.weights}")
    method = {"intgrad": "ixg"}.get(task.attribution, task.attribution)  # the same, for such networks
    echo(f"judge it:  xaibench run epg {model_and_data(config, outcome.weights)} --methods {method}")
