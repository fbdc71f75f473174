"""`xaibench train guided`: with a localisation loss on attributions; several lambdas are several trainings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from xaibench.cli.train.options import verb

if TYPE_CHECKING:
    from xaibench.cli.train.options import _Training
    from xaibench.training.guidance.request import Search
    from xaibench.training.guidance.search import Outcome

EPILOG = """
\b
Examples:
  xaibench train guided --model critters_cnn --dataset critters-spurious --lambda 1e-3,5e-3 --name my_guided
  xaibench train guided --model critters_cnn --dataset critters-spurious --loss l1 --layer Final --fraction 0.1
  xaibench train guided --model resnet50 --dataset voc2007 --data-root VOC --weights BASELINE --epochs 50
  xaibench train guided --model resnet50 --dataset waterbirds100 --data-root WB --choose score --repeats 2 --subsets 2
"""


def _carry_out(options: _Training, search: Search) -> None:
    """Trains with every lambda, prints the front, and says where the weights, metrics and figure are."""
    import sys

    from xaibench.cli import arguments
    from xaibench.evaluation.resources import choose_device, choose_workers
    from xaibench.training.guidance.search import guide
    from xaibench.training.processes import first_process
    from xaibench.training.subject import Subject

    device = choose_device(options.device)
    subject = Subject(
        options.model, options.dataset, options.data_root, arguments.parse_options(options.dataset_option),
        options.changes(), options.weights, options.download, options.seed, options.image_size,
    )  # fmt: skip

    def say(line: str) -> None:
        if first_process() and not options.quiet:
            print(line, file=sys.stderr, flush=True)

    outcome = guide(
        subject, search, name=options.name, workers=choose_workers(options.workers, device), device=device,
        precision=options.precision, quiet=options.quiet, say=say,
    )  # fmt: skip
    if first_process():
        _report(options, outcome)


def _report(options: _Training, outcome: Outcome) -> None:
    """What was found, in words and files."""
    import io
    import sys

    import pyarrow as pa
    import pyarrow.parquet as pq

    from xaibench.errors import XaibenchError
    from xaibench.files import write_atomic
    from xaibench.training.guidance.figure import front_figure
    from xaibench.training.guidance.tables import epoch_rows, front_table, group_table, no_positive_note

    first, folder = outcome.runs[0], outcome.folder
    title = f"{first.trainings[0].title}, {first.trainings[0].task.loss} at {first.trainings[0].task.stage}"
    typer.echo(f"{title}: the baseline and the Pareto front, * is chosen\n")
    typer.echo(front_table(first, outcome.score, None, sys.stdout.isatty()))
    if table := group_table(outcome, None, sys.stdout.isatty()):
        typer.echo(f"\n{table}")
    for sentence in no_positive_note(first):
        typer.echo(f"\n{sentence}")
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(epoch_rows(outcome)), buffer)
    write_atomic(folder / "epochs.parquet", buffer.getvalue())
    typer.echo(f"\nmetrics of every epoch: {folder / 'epochs.parquet'}")
    typer.echo(f"figure: {front_figure(first, outcome.score, title, folder / 'front.png')}")
    if outcome.weights is None:
        raise XaibenchError(
            f"no epoch keeps the baseline's {outcome.score} to 5 points, so no weights are exported; "
            "choose smaller --lambda, or --choose score"
        )
    typer.echo(f"weights: {outcome.weights}")
    model = options.name or f"{options.model} --weights {outcome.weights}"
    data = options.data_words()
    method = {"intgrad": "ixg"}.get(asked := first.trainings[0].task.attribution, asked)  # the same, of such networks
    typer.echo(f"judge it:  xaibench run epg --model {model} {data} --methods {method}")


@verb("guided", EPILOG, _carry_out)
def guided(
    loss: Annotated[str, typer.Option("--loss", help="A name of `xaibench ls losses`.")] = "energy",
    loss_option: Annotated[
        list[str] | None, typer.Option("--loss-option", metavar="KEY=VALUE", help="Of the loss, such as floor=1e-3.")
    ] = None,
    attribution: Annotated[
        str, typer.Option("--attribution", help="ixg, grad-cam, b-cos (of B-cos networks) or intgrad.")
    ] = "ixg",
    layer: Annotated[str, typer.Option("--layer", metavar="STAGE", help="Input, Mid1, Mid2, Mid3 or Final.")] = "Input",
    lambdas: Annotated[
        str, typer.Option("--lambda", help="Weights of the loss, by commas; each is a training, 0 the control without.")
    ] = "1e-3",
    match: Annotated[
        str | None, typer.Option("--match", metavar="LOSS", help="Lambdas are this loss's; match its gradient norm.")
    ] = None,
    alpha: Annotated[float, typer.Option("--alpha", min=0, help="Exponent of the box size in energy-star.")] = 0.5,
    over: Annotated[
        str, typer.Option("--over", help="annotated or batch: which images of a step the mean loss is over.")
    ] = "annotated",
    annotations: Annotated[str, typer.Option("--annotations", help="boxes, masks or mixture.")] = "boxes",
    share_masks: Annotated[float, typer.Option("--share-masks", help="Share of masks in a mixture.")] = 0.1,
    fraction: Annotated[float, typer.Option("--fraction", help="Share of the images that is annotated.")] = 1.0,
    dilate: Annotated[float, typer.Option("--dilate", help="By which boxes grow on each side.")] = 0.0,
    subset: Annotated[int, typer.Option("--subset", min=0, help="Seed of the annotated images.")] = 0,
    subsets: Annotated[int, typer.Option("--subsets", min=1, help="Draws of the annotated images.")] = 1,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Seeds, from --seed on.")] = 1,
    choose: Annotated[
        str, typer.Option("--choose", help="epg: the highest within 5 points of the baseline's score; or score.")
    ] = "epg",
    test_images: Annotated[
        int | None, typer.Option("--test-images", min=1, help="The first so many test images.", show_default="all")
    ] = None,
) -> Search:
    """Fine-tune a model so that its attributions lie on the annotated objects (Rao et al. 2023).

    It starts from the plain weights, which are trained first where the data set has a recipe for them. Every epoch is
    measured on validation images (F1 or accuracy, EPG, IoU); the Pareto front over lambdas and epochs is measured on
    test images, and one model of it is exported. The same command after an interruption goes on from there.
    """
    from xaibench.cli.arguments import parse_options
    from xaibench.errors import XaibenchError
    from xaibench.training.guidance.request import Search
    from xaibench.training.tasks import task_of

    try:
        weights = tuple(float(word) for word in lambdas.split(","))
    except ValueError:
        raise XaibenchError(f"--lambda {lambdas!r} is not a list of numbers such as 1e-3,5e-3") from None
    task = task_of("guided", {
        "loss": loss, "attribution": attribution, "layer": layer, "lambda": weights[0], "annotations": annotations,
        "fraction": fraction, "dilate": dilate, "subset": subset, "share_masks": share_masks, "alpha": alpha,
        "over": over, "match": match, "loss_option": parse_options(loss_option),
    })  # fmt: skip
    return Search(task, weights, repeats, subsets, choose, test_images)
