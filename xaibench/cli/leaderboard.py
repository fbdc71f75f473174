"""`xaibench leaderboard`: the ranked table of one board, in groups, in pairs or across models, or two scores."""

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


def command(
    protocol: Annotated[str, typer.Argument(help="The protocol whose board to show.", metavar="PROTOCOL")],
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
    format_: FormatOption = Format.table,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Also draw the board to this .png or .svg file.", metavar="PATH")
    ] = None,
) -> None:
    """Rank the methods of one board, with 95 % intervals over images.

    Without --board it is the board computed last. Below the table stands which one was taken and which others exist,
    or on standard error for the other formats.
    """
    from xaibench import registry
    from xaibench.analysis.across_models import across_models
    from xaibench.analysis.leaderboard import open_leaderboard
    from xaibench.errors import XaibenchError
    from xaibench.printing import clean
    from xaibench.report.pages import page_of
    from xaibench.report.style import figure_kind

    tables = [option for option, given in (("--by", by), ("--correlate", correlate), ("--pairs", pairs)) if given]
    if len(tables) > 1:
        raise XaibenchError(f"{' and '.join(tables)} make different tables; give one of them")
    if by is not By.class_ and (class_, sort) != ("*", Sort.name):
        raise XaibenchError("--class and --sort choose among classes; they need --by class")
    if correlate and figure:
        raise XaibenchError("--correlate has no figure; leave out --figure")
    if figure is not None:
        figure_kind(figure, ("png", "svg"))
    selection = {"model": model, "dataset": dataset, "board": board, "metric": metric}
    if by is By.model:
        known = protocol in registry.names("protocol")  # not that of a plug-in, which this command does not load
        comparable = known and registry.card("protocol", protocol).comparable_across_models
        found = across_models(out, protocol, comparable=comparable, newest=registry.shipped_version, **selection)
    else:
        found = open_leaderboard(out, protocol, newest=registry.shipped_version, **selection)
    if by and by is not By.model:
        found = found.breakdown(by.value, class_, sort.value)
    elif correlate:
        found = found.correlation(correlate)
    elif pairs:
        found = found.pairwise()
    print_page(page_of(found), format_)
    for note in found.notes:
        echo(clean(note), err=format_ is not Format.table)
    if figure is not None:
        from xaibench.report.across_figure import across_figure
        from xaibench.report.board_figure import board_figure, breakdown_figure
        from xaibench.report.pairs_figure import pairs_figure

        draw = pairs_figure if pairs else {None: board_figure, By.model: across_figure}.get(by, breakdown_figure)
        drawn = draw(found, figure)
        echo(f"figure: {clean(drawn)}", err=format_ is not Format.table)
