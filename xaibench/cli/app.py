"""The verbs of the command line. A verb's file is imported when the verb is given, so that the others stay quick."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any

import typer

from xaibench._version import __version__
from xaibench.cli.group import Commands
from xaibench.cli.names import candidate, complete_names
from xaibench.cli.output import echo
from xaibench.cli.verbose import add_verbose

VERBS = {
    "run": "Evaluate attribution methods on a model, and rank them.",
    "compare": "Compare designs of models by how they can be explained.",
    "study": "Repeat tables and figures of papers.",
    "explain": "Draw explanations of photos.",
    "leaderboard": "Rank the methods of one board, with 95 % intervals.",
    "survey": "Test the answers of a survey, before and after.",
    "status": "Show the boards and runs of a results folder.",
    "validate": "Check a results folder, or a submission.",
    "results": "Bring older results to today's schema.",
    "submit": "Pack results and a method for a board of others.",
    "publish": "Write a folder of boards and rows for others.",
    "site": "Make a static site of boards.",
    "ls": "List the names of methods, models, data sets and others.",
    "show": "Show one card in full, a data set's images, or a run.",
    "train": "Train or fine-tune a model.",
    "masks": "Make masks of all objects.",
    "data": "Check a data set.",
    "doctor": "Check the installation, the device and the folders.",
    "cache": "List what is kept on the disk, and clear it.",
    "bench": "Time it on this machine, as ratios.",
    "judge": "Judge protocols on networks whose function is known.",
}
"""Each verb with its line in `xaibench --help`; its file is `cli/VERB.py`, or the folder of that name."""


class Verbs(Mapping):
    """The commands of the verbs by name; each is imported and made when it is first looked up."""

    def __init__(self):
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in VERBS:
            raise KeyError(name)
        if name not in self._made:
            self._made[name] = _command_of(name)
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in VERBS

    def __iter__(self) -> Iterator[str]:
        return iter(VERBS)

    def __len__(self) -> int:
        return len(VERBS)


def _command_of(name: str) -> Any:
    """The command of a verb, or the group of commands where its module has an `app`."""
    module = import_module(f"xaibench.cli.{name}")
    parent = typer.Typer(add_completion=False, rich_markup_mode=None)
    if hasattr(module, "app"):
        parent.add_typer(module.app, name=name)
        return complete_names(add_verbose(typer.main.get_command(parent).commands[name]))
    parent.command(name, epilog=module.EPILOG)(module.command)
    return complete_names(add_verbose(typer.main.get_command(parent)))


class _Root(Commands):
    """The command `xaibench`, whose help imports no verb."""

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self.commands = Verbs()

    def line_of(self, ctx: Any, name: str) -> str:
        """The line of a verb."""
        return VERBS[name]

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """The verbs that begin so, and options of the root; no verb is imported."""
        options = [name for parameter in self.params for name in parameter.opts] if incomplete[:1] == "-" else []
        lines = VERBS | dict.fromkeys([*options, "--help"], "")
        return [
            candidate(name, lines[name])
            for name in lines
            if name.startswith(incomplete) and (incomplete[:1] == "-" or name in VERBS)
        ]


app = typer.Typer(
    name="xaibench",
    cls=_Root,
    help="Which attribution method explains this vision model best?",
    epilog="Start with:  xaibench run idsds --model resnet50",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        echo(f"xaibench {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Which attribution method explains this vision model best?"""
