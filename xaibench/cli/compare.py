"""`xaibench compare`: which models can be explained best, one design choice at a time."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from xaibench.cli import words
from xaibench.cli.leaderboard import Format

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
    protocol: Annotated[str, typer.Option("--protocol", help="A name of `xaibench ls protocols`.")] = "idsds",
    dataset: Annotated[str, typer.Option("--dataset", help="One that models are trained on first use.")] = "critters",
    methods: Annotated[
        str | None,
        typer.Option("--methods", metavar="NAME,...", help="Or `all`; by default the paper's list and the controls."),
    ] = None,
    images: Annotated[
        int | None, typer.Option("--images", min=1, help="How many; by default what the profile says.")
    ] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="As of `xaibench run`.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--setting", metavar="KEY=VALUE", help="Of the protocol, in every arm.")
    ] = None,
    dataset_option: Annotated[
        list[str] | None, typer.Option("--dataset-option", metavar="KEY=VALUE", help="Such as rule=one:beak.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The results folder.")] = Path("results"),
    format_: Annotated[Format, typer.Option("--format", help="table, md, csv or json.")] = Format.table,
    plugin: words.Plugins = None,
    cards: words.Cards = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    workers: Annotated[str, typer.Option("--workers", metavar="auto|N", help="Processes that load images.")] = "auto",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of noise, masks and baselines.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Train and judge what a comparison of designs lacks, and print what the choice changes, method by method.

    Everything is kept: the same command after an interruption goes on, and another comparison takes what it shares.
    Figures are drawn beside the rows, in OUT/figures.
    """
    from xaibench import registry
    from xaibench.engine.compare import carry_out
    from xaibench.plugins import add
    from xaibench.report.board_text import clean
    from xaibench.results.files import make_folder

    add(plugin or (), cards or ())
    card = registry.card("comparison", comparison)
    study = carry_out(
        card, protocol, models=words.parse_names(model), trainings=trainings, settings=words.parse_options(setting),
        say=lambda step: None if quiet else typer.echo(step, err=True), dataset=dataset,
        methods=words.parse_names(methods), images=images, profile=profile, out=out, device=device, workers=workers,
        dataset_options=words.parse_options(dataset_option), seed=seed, plugins=plugin or (), cards=cards or (),
        quiet=quiet,
    )  # fmt: skip
    printed = format_ is not Format.table
    if printed:
        made = {Format.md: study.to_markdown, Format.csv: study.to_csv, Format.json: study.to_json}[format_]()
        typer.echo(made.rstrip("\n"))
    else:
        terminal = sys.stdout.isatty()
        typer.echo(study.to_text(shutil.get_terminal_size().columns if terminal else None, colour=terminal) + "\n")
    for note in study.notes:
        typer.echo(clean(note), err=printed)
    make_folder(out / "figures")
    for path in study.figures(out / "figures" / f"compare-{card.name}-{protocol}"):
        typer.echo(f"figure: {clean(path)}", err=printed)
