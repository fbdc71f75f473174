"""`xaibench judge`: protocols judged on networks whose function is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xaibench.cli.config_options import ConfigFile, PrintConfig, command_of, merged, option
from xaibench.cli.output import echo
from xaibench.cli.page_output import Format, FormatOption, print_page
from xaibench.errors import XaibenchError
from xaibench.judging.config import JudgeConfig

EPILOG = """
\b
Examples:
  # two protocols, on all networks
  xaibench judge sds epg
  # a quick look: two networks, eight images of each
  xaibench judge sds --networks and,or --images 8
  # a protocol of your own beside those that are stored
  xaibench judge my-protocol --plugin my_protocol.py
  # a setting; all protocols that can be judged; the stored table alone
  xaibench judge sds --setting grid=8
  xaibench judge all
  xaibench judge --format md --figure judges.png > judges.md
  # do their orders of methods predict whose maps show that a network cheats?
  xaibench judge sds deletion --reader
"""


def _judge(
    given: dict[str, Any], protocols: list[str] | None, config: Path | None, print_config: bool, format_: Format,
    figure: Path | None, quiet: bool,
) -> None:  # fmt: skip
    """Judge protocols on networks whose function is known, and print them beside all that are stored.

    A right map is made worse in steps, and a protocol should see it; maps that do not look at the network should get no
    credit; its ranking of methods should not move with seed, baseline, grid and images. Everything is stored in --out:
    the same command goes on where it stopped. Without a protocol, what is stored is printed. docs/judging.md explains
    the columns.
    """
    names = [name.strip() for words in protocols or () for name in words.split(",")]
    if "" in names:
        raise XaibenchError("a name of a protocol is empty; name one, such as sds, or none for the stored table")
    request = JudgeConfig.parse(merged(JudgeConfig, config, given | ({"protocols": names} if names else {})))
    if print_config:
        echo(request.to_toml(), nl=False)
        return
    if request.reader:
        from xaibench.judging.reader_table import reader_table

        if figure is not None:
            raise XaibenchError("--reader draws no figure; leave --figure out")
        print_page(reader_table(request, quiet), format_)
        return
    from xaibench.judging.figure import draw
    from xaibench.judging.judge import judge
    from xaibench.judging.table import judged_table
    from xaibench.report.style import figure_kind

    if figure is not None:
        figure_kind(figure, ("png", "svg"))  # before anything is computed
        if not figure.absolute().parent.is_dir():
            raise XaibenchError(f"the folder {figure.parent} of the figure does not exist; make it first")
    outcome = judge(request, quiet) if request.protocols else None
    print_page(judged_table(request, outcome.refused if outcome else None), format_)
    if figure is not None:
        echo(f"{draw(request, figure)} is drawn", err=True)
    if outcome:
        echo(f"{outcome.computed} parts computed, {outcome.found} were stored in {request.out}", err=True)


command = command_of(
    JudgeConfig,
    _judge,
    [
        option("protocols", Annotated[
            list[str] | None,
            typer.Argument(metavar="PROTOCOL...", help="Names of `xaibench ls protocols`, or all.", show_default=False),
        ]),
        option("config", ConfigFile),
        option("print_config", PrintConfig, False),
        option("format_", FormatOption, Format.table),
        option("figure", Annotated[
            Path | None,
            typer.Option("--figure", metavar="PATH", help="Also draw response to dose to this .png or .svg file."),
        ]),
        option("quiet", Annotated[bool, typer.Option("--quiet", help="No progress.")], False),
    ],
)  # fmt: skip
