"""`xaibench.run`: evaluate methods on a model under protocols, store the rows, and give them back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xaibench.configuration import documented
from xaibench.errors import XaibenchError
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.open_run import check_request, evaluator_of
from xaibench.results.manifest import RunManifest

if TYPE_CHECKING:
    import pandas as pd

    from xaibench.analysis.leaderboard import Leaderboard
    from xaibench.evaluation.engine import Engine
    from xaibench.evaluation.evaluator import Evaluator


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

    def _repr_html_(self) -> str:
        """What a notebook shows: the boards, and what a user should know of the run."""
        from xaibench.presentation import notebook_html
        from xaibench.report.table import html_list
        from xaibench.report.text import count

        record = self.manifest
        work = f"computed {count(self.computed, 'image')}" if self.computed else "nothing was missing"
        notes = [
            f"{work}; results: {self.path}" + ("" if record.status == "complete" else f" ({record.status})"),
            *(f"skipped: {name} {reason}" for name, reason in record.skipped.items()),
            *(f"warning: {line}" for line in record.warnings),
        ]
        boards = [self.leaderboard(protocol).to_html() for protocol in self.boards]
        return notebook_html("\n".join([*boards, html_list(notes)]))


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

    objects: which of them stand for objects. engine: where shards are computed (`evaluation.engine`), by default as
    the request says. trace: a file for a profile of some batches (`evaluation.trace`).
    """
    engine = engine or _engine(config, objects, trace)
    check_request(config)
    from xaibench.logs import logged
    from xaibench.surroundings import own_surroundings

    with own_surroundings(), logged(config.out):
        evaluator = evaluator_of(config, quiet, command, objects)
        given = {"trace": trace} | ({"engine": engine} if engine else {})
        return _carry_out(replace(evaluator, **given))


def _engine(config: RunConfig, objects: Sequence[str], trace: Path | None) -> Engine | None:
    """The engine that a request names, None for this process; raises XaibenchError for what it cannot do."""
    if config.engine == "local":
        return None
    if objects:
        raise XaibenchError(
            f"--engine ray: other processes cannot be given {objects[0]}, an object of this one; name a registered one "
            "or a file (FILE.py:BUILDER, --plugin), or leave out engine"
        )
    if trace:
        raise XaibenchError("--profile-trace is of this process; leave out --engine ray, or --profile-trace")
    from xaibench.evaluation.ray_engine import ray_engine

    return ray_engine(config)


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


def _given(protocols: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in fields.items() if value is not None}
    return given if protocols is None or isinstance(protocols, RunConfig) else {"protocols": protocols} | given


def _config(protocols: Any, given: dict[str, Any]) -> RunConfig:
    below = protocols.model_dump() if isinstance(protocols, RunConfig) else {}
    return RunConfig.parse(below | given)


run.__doc__ = f"{run.__doc__.rstrip()}\n\n    Fields:\n\n{documented(RunConfig)}\n    "
