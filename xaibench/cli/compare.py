"""`xaibench compare`: which models can be explained best, one design choice at a time."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xaibench.cli import arguments
from xaibench.cli.leaderboard import Format

if TYPE_CHECKING:
    from xaibench.analysis.study import Study

EPILOG = """
\b
Examples:
  # what there is to compare
  xaibench ls comparisons
  # one training a network, few images, some methods: a first look
  xaibench compare depth --trainings 1 --images 16 --methods ig,ixg,grad-cam
  # what claims rest on: three trainings each
  xaibench compare depth
  # the arms of some comparisons are settings, for any models
  xaibench compare softmax --model resnet18,vit_tiny_patch8_64
  xaibench compare patches --format md > patches.md
  # models trained with guidance against the same training without; then Pascal VOC, from a baseline of one's own
  xaibench compare guidance
  xaibench compare guidance --model voc_baseline --dataset voc2007 --data-root VOC --recipe epochs=50
"""


def command(
    comparison: Annotated[str, typer.Argument(metavar="NAME", help="A name of `xaibench ls comparisons`.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME,...",
            help="The models, where the comparison names none.",
            show_default="the card's",
        ),
    ] = None,
    trainings: Annotated[
        int, typer.Option("--trainings", min=1, help="Of each arm, with the seeds 0, 1, ...; claims need 3.")
    ] = 3,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            metavar="NAME,...",
            help="Of `xaibench ls protocols`; a table each.",
            show_default="the card's",
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", help="One that models are trained on first use.", show_default="the card's"),
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option("--data-root", metavar="DIR", help="The folder of its images, where it has one.")
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            metavar="NAME,...",
            help="Or `all`.",
            show_default="the card's, or the paper's and the controls",
        ),
    ] = None,
    images: Annotated[
        int | None, typer.Option("--images", min=1, help="How many.", show_default="the card's, or the profile's")
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option("--recipe", metavar="KEY=VALUE", help="Of arms that are trained in a way of their own."),
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Allow published weights to be fetched.")] = False,
    profile: Annotated[str | None, typer.Option("--profile", help="As of `xaibench run`.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--setting", metavar="KEY=VALUE", help="Of the protocol, in every arm.")
    ] = None,
    dataset_option: Annotated[
        list[str] | None, typer.Option("--dataset-option", metavar="KEY=VALUE", help="Such as rule=one:beak.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The results folder.")] = Path("results"),
    format_: Annotated[Format, typer.Option("--format", help="table, md, csv or json.")] = Format.table,
    plugin: arguments.Plugins = None,
    cards: arguments.Cards = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    workers: Annotated[str, typer.Option("--workers", metavar="auto|N", help="Processes that load images.")] = "auto",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of noise, masks and baselines.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Train and judge what a comparison of designs lacks, and print what the choice changes, method by method.

    Several protocols are a table each, and one of all arms at the end. Everything is kept: the same command after an
    interruption goes on, and another comparison takes what it shares. Figures are drawn beside the rows, in
    OUT/figures.
    """
    from xaibench import registry
    from xaibench.comparison.run import carry_out
    from xaibench.plugins import add
    from xaibench.report.pages import page_of
    from xaibench.report.text import clean

    add(plugin or (), cards or ())
    card = registry.card("comparison", comparison)
    studies = []
    for judge in card.judged_by(arguments.parse_names(protocol)):
        study = carry_out(
            card, judge, models=arguments.parse_names(model), trainings=trainings, settings=arguments.parse_options(setting),
            recipe=arguments.parse_options(recipe), say=lambda step: None if quiet else typer.echo(step, err=True),
            dataset=dataset, data_root=data_root, methods=arguments.parse_names(methods), images=images, profile=profile,
            out=out, device=device, workers=workers, dataset_options=arguments.parse_options(dataset_option), seed=seed,
            download=download, plugins=plugin or (), cards=cards or (), quiet=quiet,
        )  # fmt: skip
        studies.append(study)
        if format_ is Format.table:
            typer.echo(page_of(study).to_text(_width(), colour=sys.stdout.isatty()) + "\n")
        for note in study.notes:
            typer.echo(clean(note), err=format_ is not Format.table)
        _draw(study, out / "figures", format_)
    _print_all(studies, format_)


def _print_all(studies: list[Study], format_: Format) -> None:
    """Prints what is one text for all protocols; on a terminal that is the table of all arms under all protocols."""
    from xaibench.analysis.overview import overview
    from xaibench.report.pages import page_of

    pages = [page_of(study) for study in studies]
    together = [page_of(overview(studies))] if len(studies) > 1 else []
    if format_ is Format.json:
        found = [page.to_json().rstrip("\n") for page in pages]
        typer.echo(found[0] if len(found) == 1 else f"[{', '.join(found)}]")
    elif format_ is Format.csv:
        texts = [page.to_csv().rstrip("\n") for page in pages]
        typer.echo("\n".join([texts[0], *(text.partition("\n")[2] for text in texts[1:])]))
    elif format_ is Format.md:
        typer.echo("\n".join(page.to_markdown() for page in [*together, *pages]).rstrip("\n"))
    elif format_ is Format.html:
        typer.echo("\n".join(page.to_html() for page in [*together, *pages]).rstrip("\n"))
    elif together:
        typer.echo("\n" + together[0].to_text(_width(), colour=sys.stdout.isatty()))


def _draw(study: Study, folder: Path, format_: Format) -> None:
    """Draws the figures of a comparison and prints their paths."""
    import re

    from xaibench.files import make_folder
    from xaibench.report.study_figure import study_figures
    from xaibench.report.text import clean

    make_folder(folder)
    label = re.sub("[^a-zA-Z0-9]+", "-", study.protocol_label)
    for path in study_figures(study, folder / f"compare-{study.card.name}-{label}"):
        typer.echo(f"figure: {clean(path)}", err=format_ is not Format.table)


def _width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
