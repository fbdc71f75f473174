"""`xaibench.run`: evaluate methods on a model under protocols, store the rows, and give them back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xaibench.configuration import documented
from xaibench.errors import XaibenchError
from xaibench.evaluation.config import RunConfig
from xaibench.printing import say
from xaibench.results.manifest import RunManifest

if TYPE_CHECKING:
    import pandas as pd

    from xaibench.analysis.leaderboard import Leaderboard
    from xaibench.evaluation.evaluator import Evaluator
    from xaibench.evaluation.executor import Engine
    from xaibench.evaluation.weights import Train
    from xaibench.results.store import Store


@dataclass(frozen=True)
class Results:
    """What a run left in its results folder.

    path: the folder. boards: the key of each protocol's board. cells: result keys of this run. images: ids of its
    list. manifest: the record of the run, as stored in `runs/`. computed: images that were computed now (0 where
    everything was there already). announced: those warnings of the record that were printed before the run.
    """

    path: Path
    boards: dict[str, str]
    cells: list[str]
    images: list[str]
    manifest: RunManifest
    computed: int
    announced: Sequence[str] = ()

    @property
    def rows(self) -> pd.DataFrame:
        """The stored rows of this run's result keys and images, one per image and method."""
        from xaibench.results.store import Store

        rows = Store.open(self.path).rows(self.cells)
        return rows[rows["image_id"].isin(set(self.images))].reset_index(drop=True)

    def leaderboard(self, protocol: str | None = None) -> Leaderboard:
        """The ranked board of a protocol of this run (the first by default)."""
        from xaibench.analysis.leaderboard import open_leaderboard
        from xaibench.registry import shipped_version

        protocol = protocol or next(iter(self.boards))
        if protocol not in self.boards:
            raise XaibenchError(f"this run has no protocol {protocol!r}; it has {', '.join(self.boards)}")
        return open_leaderboard(self.path, protocol, board=self.boards[protocol], newest=shipped_version)


class MethodFailed(XaibenchError):
    """A method raised while it ran; `results` holds what the others gave."""

    def __init__(self, message: str, results: Results):
        super().__init__(message)
        self.results = results


def run(protocols: Any = None, *, quiet: bool = False, command: str | None = None, **fields: Any) -> Results:
    """Evaluates attribution methods on a model under one or more protocols, and stores one row per image and method.

    Whatever the folder `out` already holds is not computed again: more images, more methods and an interrupted run all
    mean computing what is missing. protocols: names (a list, or joined by commas), or a `RunConfig`, of which `fields`
    then override some. The fields are those of `RunConfig`, listed below. quiet shows no progress. command is what the
    record of the run says it was started by, by default the same run on the command line.

    Besides names, `model` may be a `torch.nn.Module` that returns logits, `dataset` anything with `__len__` and
    `__getitem__` that gives (image, label) or a `Sample`, and `methods` may hold functions of evidence. The network
    gets (image - mean) / std of images in [0, 1]; `mean` (default 0) and `std` (default 1) are a number for each
    colour. `classes` names the classes, where the data set has no `classes` of its own; by default they are
    numbered. Keys hold the digests of weights, images and code; `xaibench.named(thing, "name")` puts a name in place of
    the code.

    Raises XaibenchError for anything that the user can put right, and MethodFailed, with the results of the others,
    where a method raised.

    >>> import xaibench
    >>> results = xaibench.run("idsds", model="resnet50", images=48)      # doctest: +SKIP
    >>> results.leaderboard().table[["rank", "method", "mean"]]           # doctest: +SKIP
    """
    from xaibench.datasets.lost_processes import end_if_being_started
    from xaibench.evaluation.objects import objects_as_names

    end_if_being_started()
    with objects_as_names(_given(protocols, fields)) as (given, objects):
        config = _config(protocols, given)
        if objects:
            command = command or f"xaibench.run(...) in Python with {', '.join(objects)}: {config.to_command('run')}"
        return run_config(config, quiet=quiet, command=command, objects=objects)


def run_config(
    config: RunConfig,
    *,
    quiet: bool = False,
    command: str | None = None,
    objects: Sequence[str] = (),
    engine: Engine | None = None,
    trace: Path | None = None,
) -> Results:
    """Carries out a request whose names are all known; see `run`.

    objects: which of them stand for objects. engine: where shards are computed (`evaluation.executor`), by default in
    this process. trace: a file for a profile of some batches (`evaluation.trace`).
    """
    check_request(config)
    from xaibench.surroundings import own_surroundings

    with own_surroundings():
        evaluator = evaluator_of(config, quiet, command, objects)
        given = {"trace": trace} | ({"engine": engine} if engine else {})
        return _carry_out(replace(evaluator, **given))


def check_request(config: RunConfig) -> None:
    """Looks up plug-ins and names, before torch is imported."""
    from xaibench.plugins import add

    add(config.plugins, config.cards)
    check_names(config)


def evaluator_of(
    config: RunConfig,
    quiet: bool,
    command: str | None = None,
    objects: Sequence[str] = (),
    folder: Callable[[Path], Store] | None = None,
    train: Train | None = None,
) -> Evaluator:
    """The evaluator of a request, whose weights are there. folder makes its store, train gives weights of trainings."""
    from xaibench.evaluation.evaluator import Evaluator
    from xaibench.evaluation.opening import opening_warnings
    from xaibench.evaluation.plan import make_plan
    from xaibench.evaluation.resolve import resolve
    from xaibench.evaluation.resources import Resources
    from xaibench.evaluation.until_stable import UntilStable
    from xaibench.evaluation.weights import open_models
    from xaibench.masks.dataset import WithMasks
    from xaibench.results.store import Store

    resolved = resolve(config)
    if isinstance(resolved.dataset, WithMasks):
        resolved.dataset.check(resolved.dataset.image_list(resolved.images))
    resources = Resources.of(config)
    store = (folder or Store.create)(config.out)  # before hours are spent on what could not be stored
    models = open_models(resolved, resources, quiet, say, train)
    warnings = opening_warnings(resolved, models)
    for line in warnings:
        say(f"warning: {line}")
    plan = make_plan(resolved, models)
    command = command or config.to_command("run")
    stop = UntilStable.of(config, plan, store, (lambda text: None) if quiet else say)
    return Evaluator(config, plan, store, resources, command, say, quiet, objects, warnings=warnings, stop=stop)


def _carry_out(evaluator: Evaluator) -> Results:
    """Evaluates, and gives back what is stored; see `run_config`."""
    plan, store = evaluator.plan, evaluator.store
    manifest, tally = evaluator.evaluate()
    boards = {job.protocol.name: job.cell.board for job in plan.jobs}
    results = Results(
        store.root, boards, [job.key for job in plan.jobs], store.load_list(manifest.images["list"]), manifest,
        tally.images, evaluator.warnings,
    )  # fmt: skip
    if tally.failed:
        name, reason = next(iter(tally.failed.items()))
        raise MethodFailed(
            f"method {name} failed: {reason}; the rows of the other methods are in {store.root}", results
        )
    return results


def check_names(config: RunConfig) -> None:
    """Raises XaibenchError for a name or a card with a mistake, before the seconds that importing torch takes."""
    from xaibench import registry

    models = [name for name in (config.model, config.reference_model) if name and ":" not in name]
    methods = [name for name in config.methods or () if name != "all"]
    for kind, names in (
        ("protocol", config.protocols), ("dataset", [config.dataset]), ("model", models), ("method", methods)
    ):  # fmt: skip
        for name in names:
            registry.card(kind, name)


def _given(protocols: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in fields.items() if value is not None}
    return given if protocols is None or isinstance(protocols, RunConfig) else {"protocols": protocols} | given


def _config(protocols: Any, given: dict[str, Any]) -> RunConfig:
    below = protocols.model_dump() if isinstance(protocols, RunConfig) else {}
    return RunConfig.parse(below | given)


run.__doc__ = f"{run.__doc__.rstrip()}\n\n    Fields:\n\n{documented(RunConfig)}\n    "
