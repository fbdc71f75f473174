"""`xaibench leaderboard`: the ranked table of one board, in groups, in pairs or across models; and several."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from xaibench.cli.output import echo
from xaibench.cli.page_output import Format, FormatOption, print_page

EPILOG = """
\b
Examples:
  xaibench leaderboard idsds
  xaibench leaderboard idsds --model resnet50 --dataset critters --figure idsds.svg
  xaibench leaderboard sds --board 3fa2c1 --format csv > sds.csv
  xaibench leaderboard idsds --format json | jq '.rows[0].method'
  # where the model is right and where it is wrong; class by class
  xaibench leaderboard obey --by correctness
  xaibench leaderboard epg --by class --class 'bird*' --sort count
  # every method of every model in one
  xaibench leaderboard idsds --by model --figure models.png
  # who beats whom: each pair of methods with its test, and a picture of all
  xaibench leaderboard idsds --pairs
  xaibench leaderboard idsds --pairs --figure pairs.svg --format csv > pairs.csv
  # do protocols order the methods alike? and the seeds, grids and baselines of one protocol, or the models?
  xaibench leaderboard --agree --figure agreement.svg
  xaibench leaderboard idsds --agree --across setting
  # does the ranking hold with other settings and seeds? mean rank and spread, and what changes the order most
  xaibench leaderboard sds --meta-rank --figure ranks.svg
  # what a better score costs; which models are both accurate and well explained
  xaibench leaderboard idsds --pareto --figure pareto.svg
  xaibench leaderboard idsds --pareto --by model
  # how much EPG depends on the sizes of the boxes
  xaibench leaderboard epg --correlate box-pixels
"""


class By(StrEnum):
    """What groups the images."""

    correctness = "correctness"
    class_ = "class"
    model = "model"


class Sort(StrEnum):
    """The order of classes."""

    name = "name"
    count = "count"


class Across(StrEnum):
    """What boards differ in."""

    protocol = "protocol"
    setting = "setting"
    seed = "seed"
    model = "model"


class Cost(StrEnum):
    """What a method costs, per image."""

    passes = "passes"
    seconds = "seconds"
    passes_shared = "passes_shared"
    seconds_shared = "seconds_shared"


def command(
    protocol: Annotated[
        str | None,
        typer.Argument(help="The protocol whose board to show; with --agree all, or wildcards.", metavar="PROTOCOL"),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The results folder.", metavar="DIR")] = Path("results"),
    model: Annotated[str | None, typer.Option("--model", help="Only boards of this model (wildcards allowed).")] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Only boards of this data set (wildcards allowed).")
    ] = None,
    board: Annotated[str | None, typer.Option("--board", help="The board whose key begins so.", metavar="KEY")] = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", help="Another score that the protocol stores.", show_default="its main one"),
    ] = None,
    by: Annotated[By | None, typer.Option("--by", help="Correctness of the prediction, class, or model.")] = None,
    class_: Annotated[
        str, typer.Option("--class", metavar="GLOB", help="With --by class: only classes that match, such as 'bird*'.")
    ] = "*",
    sort: Annotated[
        Sort, typer.Option("--sort", help="With --by class: by name, or by count, the most images first.")
    ] = Sort.name,
    correlate: Annotated[
        str | None,
        typer.Option("--correlate", metavar="METRIC", help="Pearson's r of the score with another one, per method."),
    ] = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Every pair of ranked methods: difference, effect size and Holm's p.")
    ] = False,
    agree: Annotated[
        bool, typer.Option("--agree", help="Whether boards that differ in one thing order methods alike.")
    ] = False,
    across: Annotated[
        Across | None,
        typer.Option("--across", help="With --agree: what differs.", show_default="protocol"),
    ] = None,
    meta_rank: Annotated[
        bool, typer.Option("--meta-rank", help="Ranks over boards that differ in settings or seed alone.")
    ] = False,
    pareto: Annotated[
        bool, typer.Option("--pareto", help="Score against cost; with --by model, against accuracy.")
    ] = False,
    cost: Annotated[
        Cost | None, typer.Option("--cost", help="With --pareto: which cost.", show_default="passes")
    ] = None,
    format_: FormatOption = Format.table,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Also draw the board to this .png or .svg file.", metavar="PATH")
    ] = None,
) -> None:
    """Rank the methods of one board, with 95 % intervals over images.

    Without --board it is the board computed last. Below the table stands which one was taken and which others exist,
    or on standard error for the other formats.
    """
    from xaibench.cli.leaderboard_views import View
    from xaibench.errors import XaibenchError
    from xaibench.printing import clean
    from xaibench.report.pages import page_of
    from xaibench.report.style import figure_kind

    view = View(
        protocol, out, {"model": model, "dataset": dataset, "board": board, "metric": metric}, by and by.value, class_,
        sort.value, correlate, pairs, agree, across and across.value, pareto, cost and cost.value, meta_rank,
    )  # fmt: skip
    view.check()
    if correlate and figure:
        raise XaibenchError("--correlate has no figure; leave out --figure")
    if figure is not None:
        figure_kind(figure, ("png", "svg"))
    found = view.result()
    print_page(page_of(found), format_)
    for note in found.notes:
        echo(clean(note), err=format_ is not Format.table)
    if figure is not None:
        from xaibench.report.figures import draw

        echo(f"figure: {clean(draw(found, figure))}", err=format_ is not Format.table)
