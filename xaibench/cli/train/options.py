"""The options of the verbs of `xaibench train`: the fields of a `TrainingConfig`, of the task, and short forms."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from xaibench.cli.config_options import ConfigFile, PrintConfig, merged, option, options_of, parsed
from xaibench.cli.group import Commands
from xaibench.cli.output import echo
from xaibench.cli.train.launch import are_to_launch, launch
from xaibench.errors import XaibenchError
from xaibench.training.config import TrainingConfig
from xaibench.training.tasks import TASKS

app = typer.Typer(cls=Commands, help="Train or fine-tune a model.", no_args_is_help=True, rich_markup_mode=None)

FIRST = ("model", "dataset", "data_root")
"""Fields whose options stand before those of the task in the help."""
SHORT = {
    "epochs": Annotated[int | None, typer.Option("--epochs", help="By default what the recipe says.")],
    "learning_rate": Annotated[
        float | None, typer.Option("--learning-rate", help="By default what the recipe says.")
    ],
    "batch_size": Annotated[
        int | None, typer.Option("--batch-size", help="Images per step; by default what the recipe says.")
    ],
}  # fmt: skip
"""Fields of the recipe that have an option of their own."""
Processes = Annotated[
    int | None,
    typer.Option(
        "--processes", metavar="N", help="How many processes of this machine share each batch, such as one a GPU."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]


def verb(task: str, run: Callable[[TrainingConfig, bool], None], doc: str, epilog: str) -> None:
    """Adds the verb of a task to `xaibench train`; run(config, quiet) does the work, doc and epilog are its help."""

    def command(config: Path | None, print_config: bool, quiet: bool, processes: int | None, **values: Any) -> None:
        request = request_of(task, config, values)
        if print_config:
            echo(request.to_toml(), nl=False)
        elif are_to_launch(processes):
            launch(processes, sys.argv[1:])
        else:
            run(request, quiet)

    parameters = parameters_of(task)
    command.__signature__ = inspect.Signature(parameters)
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = doc
    app.command(task, epilog=epilog)(command)


def parameters_of(task: str) -> list[inspect.Parameter]:
    """The parameters of the command of a task, all absent unless they are given."""
    shared = {parameter.name: parameter for parameter in options_of(TrainingConfig)}
    short = [option(name, annotation) for name, annotation in SHORT.items()]
    first = [shared.pop(name) for name in FIRST]
    rest = []
    for parameter in shared.values():
        rest += [*short, parameter] if parameter.name == "recipe" else [parameter]
    more = [option("config", ConfigFile), option("print_config", PrintConfig, False), option("quiet", Quiet, False)]
    more.append(option("processes", Processes))
    return [*first, *options_of(TASKS[task]), *rest, *more]


def request_of(task: str, file: Path | None, values: dict[str, Any]) -> TrainingConfig:
    """The request that a file and the values of the command line make; the command line wins, entry by entry of tables.

    Raises XaibenchError for a file of another task, for two options that give a field of the recipe different values,
    and as `TrainingConfig.parse` does.
    """
    keys = TASKS[task].keys()
    short = {name: values.pop(name) for name in SHORT}
    options = {name: values.pop(name) for name in keys}
    given = parsed(TrainingConfig, values)
    recipe = given.get("recipe", {})
    for name, value in short.items():
        if value is None:
            continue
        if recipe.get(name, value) != value:
            flag = f"--{name.replace('_', '-')}"
            raise XaibenchError(f"{flag} {value} and --recipe {name}={recipe[name]} disagree; give one of them")
        recipe = recipe | {name: value}
    if recipe:
        given["recipe"] = recipe
    if chosen := parsed(TASKS[task], options):
        given["task_options"] = {keys[name]: value for name, value in chosen.items()}
    fields = merged(TrainingConfig, file, given)
    if fields.setdefault("task", task) != task:
        raise XaibenchError(
            f"--config {file} is for task {fields['task']}: xaibench train {fields['task']} --config {file}"
        )
    for name in ("model", "dataset"):
        if name not in fields:
            raise XaibenchError(f"missing --{name}; see `xaibench train {task} --help`")
    return TrainingConfig.parse(fields, f"--config {file}" if file else "")
