"""One run for each of several models, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xaibench.cli.output import echo
from xaibench.errors import XaibenchError

if TYPE_CHECKING:
    from xaibench.evaluation.api import Results
    from xaibench.evaluation.config import RunConfig

WILD = frozenset("*?[")


def expand(text: str, plugins: Iterable[Path], cards: Iterable[Path]) -> list[str]:
    """The models of `A,B,C`, where a name with wildcards stands for all registered ones that match.

    plugins and cards bring models too. Raises XaibenchError for a name that is unknown, and wildcards without a match.
    """
    from xaibench import registry
    from xaibench.cli.arguments import parse_names
    from xaibench.plugins import add

    add(plugins, cards)
    found: list[str] = []
    for name in parse_names(text):
        if ":" in name:
            found.append(name)
        elif WILD & set(name):
            matching = registry.names("model", name)
            if not matching:
                raise XaibenchError(f"no model matches {name!r}; `xaibench ls models` lists them")
            found += matching
        else:
            found.append(registry.card("model", name).name)
    return list(dict.fromkeys(found))


def of_model(request: RunConfig, model: str) -> RunConfig:
    """The request for one of its models."""
    return request.model_copy(update={"model": model})


def do_each(models: Sequence[str], do: Callable[[str], None]) -> None:
    """Does something for every model.

    What one model cannot do does not stop the others: it is said when all are done. Raises XaibenchError then, or at
    once where there is one model.
    """
    failed: list[str] = []
    for number, model in enumerate(models, 1):
        if len(models) > 1:
            echo(f"{'' if number == 1 else chr(10)}model {number}/{len(models)}: {model}\n")
        try:
            do(model)
        except XaibenchError as error:
            if len(models) == 1:
                raise
            echo(f"{model}: {error}", err=True)
            failed.append(model)
    if failed:
        raise XaibenchError(f"{len(failed)} of {len(models)} models not done: {', '.join(failed)} (see above)")


def run_each(
    request: RunConfig,
    models: Sequence[str],
    report: Callable[[Results], None],
    *,
    quiet: bool,
    command: str | None,
    trace: Path | None = None,
) -> None:
    """Carries out a request for every model and reports on each; see `do_each`. trace: a file for a profile."""
    from xaibench.evaluation.api import MethodFailed, run_config

    def carry_out(model: str) -> None:
        try:
            report(run_config(of_model(request, model), quiet=quiet, command=command, trace=trace))
        except MethodFailed as error:
            report(error.results)
            raise

    do_each(models, carry_out)
    if len(models) > 1:
        echo(f"\ncompare them:  xaibench leaderboard {request.protocols[0]} --by model --out {request.out}")
