"""`xaibench compare`: which models can be explained best, one design choice at a time."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xaibench.cli.config_options import ConfigFile, PrintConfig, command_of, merged, option
from xaibench.cli.leaderboard import Format
from xaibench.cli.output import echo
from xaibench.comparison.config import ComparisonConfig
from xaibench.errors import XaibenchError

if TYPE_CHECKING:
    from xaibench.analysis.study import Study

EPILOG = """
\b
Examples:
  # what there is to compare
  xaibench ls comparisons
  # one training a network, few images, some methods: a first look
  xaibench compare depth --trainings 1 --images 16 --methods ig,ixg,grad-cam
  # three trainings each show how much trainings vary; a claim about the design needs five
  xaibench compare depth
  xaibench compare depth --trainings 5
  # the arms of some comparisons are settings, for any models
  xaibench compare softmax --model resnet18,vit_tiny_patch8_64
  xaibench compare patches --format md > patches.md
  # models trained with guidance against the same training without; then Pascal VOC, from a baseline of one's own
  xaibench compare guidance
  xaibench compare guidance --model voc_baseline --dataset voc2007 --data-root VOC --recipe epochs=50
"""


def _compare(given: dict[str, Any], config: Path | None, print_config: bool, format_: Format, quiet: bool) -> None:
    """Train and evaluate what a comparison of designs lacks, and print what the choice changes, method by method.

    Several protocols are a table each, and one of all arms at the end. Everything is kept: the same command after an
    interruption goes on, and another comparison takes what it shares. Figures are drawn beside the rows, in
    OUT/figures.
    """
    fields = merged(ComparisonConfig, config, given)
    if "comparison" not in fields:
        raise XaibenchError("no comparison is named; `xaibench ls comparisons` lists them")
    request = ComparisonConfig.parse(fields, f"--config {config}" if config else "")
    if print_config:
        echo(request.to_toml(), nl=False)
        return
    from xaibench.comparison.run import run_comparison
    from xaibench.printing import clean
    from xaibench.report.pages import page_of

    studies = []
    report = lambda step: None if quiet else echo(step, err=True)  # noqa: E731
    for study in run_comparison(request, quiet, report):
        studies.append(study)
        if format_ is Format.table:
            echo(page_of(study).to_text(_width(), colour=sys.stdout.isatty()) + "\n", coloured=True)
        for note in study.notes:
            echo(clean(note), err=format_ is not Format.table)
        _draw(study, request.out / "figures", format_)
    _print_all(studies, format_)


command = command_of(
    ComparisonConfig,
    _compare,
    [
        option("config", ConfigFile),
        option("print_config", PrintConfig, False),
        option(
            "format_", Annotated[Format, typer.Option("--format", help="table, md, csv, json or html.")], Format.table
        ),
        option("quiet", Annotated[bool, typer.Option("--quiet", help="No progress.")], False),
    ],
)


def _print_all(studies: list[Study], format_: Format) -> None:
    """Prints what is one text for all protocols; on a terminal that is the table of all arms under all protocols."""
    from xaibench.analysis.overview import overview
    from xaibench.report.pages import page_of

    pages = [page_of(study) for study in studies]
    together = [page_of(overview(studies))] if len(studies) > 1 else []
    if format_ is Format.json:
        found = [page.to_json().rstrip("\n") for page in pages]
        echo(found[0] if len(found) == 1 else f"[{', '.join(found)}]")
    elif format_ is Format.csv:
        texts = [page.to_csv().rstrip("\n") for page in pages]
        echo("\n".join([texts[0], *(text.partition("\n")[2] for text in texts[1:])]))
    elif format_ is Format.md:
        echo("\n".join(page.to_markdown() for page in [*together, *pages]).rstrip("\n"))
    elif format_ is Format.html:
        echo("\n".join(page.to_html() for page in [*together, *pages]).rstrip("\n"))
    elif together:
        echo("\n" + together[0].to_text(_width(), colour=sys.stdout.isatty()), coloured=True)


def _draw(study: Study, folder: Path, format_: Format) -> None:
    """Draws the figures of a comparison and prints their paths."""
    from xaibench.files import file_name, make_folder
    from xaibench.printing import clean
    from xaibench.report.study_figure import study_figures

    make_folder(folder)
    for path in study_figures(study, folder / file_name(f"compare-{study.card.name}-{study.protocol_label}")):
        echo(f"figure: {clean(path)}", err=format_ is not Format.table)


def _width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
