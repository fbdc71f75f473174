"""`xaibench.run`: evaluate methods on a model under protocols, store the rows, and give them back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xaibench.errors import XaibenchError

if TYPE_CHECKING:
    import pandas as pd

    from xaibench.analysis.leaderboard import Leaderboard
    from xaibench.results.manifest import RunManifest


@dataclass(frozen=True)
class Results:
    """What a run left in its results folder.

    path: the folder. boards: the key of each protocol's board. cells: keys of this run's cells. images: ids of its
    list. manifest: the record of the run, as stored in `runs/`. computed: images that were computed now (0 where
    everything was there already).
    """

    path: Path
    boards: dict[str, str]
    cells: list[str]
    images: list[str]
    manifest: RunManifest
    computed: int

    @property
    def rows(self) -> pd.DataFrame:
        """The stored rows of this run's cells and images, one per image and method."""
        from xaibench.results.store import Store

        rows = Store.open(self.path).rows(self.cells)
        return rows[rows["image_id"].isin(set(self.images))].reset_index(drop=True)

    def leaderboard(self, protocol: str | None = None) -> Leaderboard:
        """The ranked board of a protocol of this run (the first by default)."""
        from xaibench.analysis.leaderboard import open_leaderboard

        protocol = protocol or next(iter(self.boards))
        if protocol not in self.boards:
            raise XaibenchError(f"this run has no protocol {protocol!r}; it has {', '.join(self.boards)}")
        return open_leaderboard(self.path, protocol, board=self.boards[protocol])


class MethodFailed(XaibenchError):
    """A method raised while it ran; `results` holds what the others gave."""

    def __init__(self, message: str, results: Results):
        super().__init__(message)
        self.results = results


def run(
    protocols: str | Sequence[str],
    *,
    model: str,
    dataset: str = "critters",
    data_root: str | Path | None = None,
    methods: str | Sequence[str] | None = None,
    images: int | None = None,
    image_size: int | None = None,
    profile: str | None = None,
    weights: str | None = None,
    reference_model: str | None = None,
    reference_weights: str | None = None,
    masks: str | Path | None = None,
    layer: str | None = None,
    training_seed: int | None = None,
    recipe: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    dataset_options: dict[str, Any] | None = None,
    out: str | Path = "results",
    device: str = "auto",
    precision: str = "float32",
    batch_size: int | str = "auto",
    chunk_size: int | str = "auto",
    workers: int | str = "auto",
    seed: int = 0,
    keep_maps: bool = False,
    download: bool = False,
    plugins: Iterable[str | Path] = (),
    cards: Iterable[str | Path] = (),
    quiet: bool = False,
    command: str | None = None,
) -> Results:
    """Evaluates attribution methods on a model under one or more protocols, and stores one row per image and method.

    Whatever the folder `out` already holds is not computed again: more images, more methods and an interrupted run all
    mean computing what is missing. protocols, model, dataset, methods: names as in `xaibench ls`; methods None is the
    paper's list (those that fit the model) and the controls. images: how many of the data set's one list (None: the
    profile's number). image_size: their side in pixels (None: what the data set's card says). weights: `aligned`,
    `plain` or a path; None is what the protocol asks for. reference_model and reference_weights name the second model
    of protocols that compare two; either alone is enough, as the other is `model`, or `plain`. settings override those
    of the protocol's card (grid, baseline, target, attribution_output, drop_output); masks are those of `xaibench masks
    make`; dataset_options those of the data set's. layer: the stage of the model at which maps are taken (`Mid1`,
    `Mid2`, `Mid3`, `Final`; None: the input), by methods for which that is defined. training_seed and recipe are of
    weights that a run trains itself, as on the embedded data: the seed (None: 0), and fields of the recipe that are
    changed. batch_size: images whose evidence
    lives together; chunk_size: inputs per pass. download allows published weights to be fetched. plugins are Python
    files with `@xaibench.method` and its kin, cards folders of cards; what they bring runs by default. quiet shows no
    progress. command is what the record of the run says it was started by, by default the same run on the command
    line. Raises XaibenchError for anything that the user can put right.

    >>> import xaibench
    >>> results = xaibench.run("idsds", model="resnet50", images=48)      # doctest: +SKIP
    >>> results.leaderboard().table[["rank", "method", "mean"]]           # doctest: +SKIP
    """
    from xaibench.plugins import add

    plugins, cards = list(plugins), list(cards)
    add(plugins, cards)
    protocols = protocols.split(",") if isinstance(protocols, str) else list(protocols)
    methods = methods.split(",") if isinstance(methods, str) else methods
    _look_up_names(protocols, [model, *([reference_model] if reference_model else [])], dataset, methods or ())

    from xaibench.evaluation.evaluator import Sizes, compute
    from xaibench.evaluation.plan import open_plan
    from xaibench.evaluation.resolve import resolve
    from xaibench.evaluation.resources import choose_batch, choose_device, choose_workers, whole_number
    from xaibench.masks.dataset import WithMasks
    from xaibench.results.manifest import run_command
    from xaibench.results.store import Store

    order = resolve(
        protocols, model, dataset, data_root=Path(data_root) if data_root else None,
        methods=methods, images=images, image_size=image_size, profile=profile,
        weights=weights, settings=settings or {}, options=dataset_options or {}, seed=seed, precision=precision,
        reference_model=reference_model, reference_weights=reference_weights, masks=Path(masks) if masks else None,
        layer=layer, training_seed=training_seed, recipe=recipe,
    )  # fmt: skip
    if isinstance(order.dataset, WithMasks):
        order.dataset.check(order.dataset.image_list(order.images))
    device = choose_device(device)
    chunk = chunk_size if chunk_size == "auto" else whole_number(chunk_size, "--chunk-size", 1)
    sizes = Sizes(choose_batch(batch_size, device), chunk, choose_workers(workers, device))
    store = Store.create(out)  # before hours are spent on what could not be stored
    plan = open_plan(order, download=download, workers=sizes.workers, device=device, quiet=quiet)
    command = command or run_command(
        protocols, model=model, dataset=dataset, data_root=data_root, weights=weights, methods=methods, images=images,
        image_size=image_size, profile=profile, out=out, precision=precision, seed=seed, download=download or None,
        setting=settings, reference_model=reference_model, reference_weights=reference_weights, masks=masks,
        layer=layer, training_seed=training_seed, recipe=recipe or None, dataset_option=dataset_options, plugin=plugins,
        cards=cards, keep_maps=keep_maps or None,
    )  # fmt: skip
    cells = plan.cells()
    manifest, tally = compute(order, plan, cells, store, sizes, device, keep_maps, quiet, command)
    boards = {plan.judges[j].card.name: cell.board for (j, _), cell in cells.items()}
    keys = [cell.key for cell in cells.values()]
    results = Results(store.root, boards, keys, plan.images, manifest, tally.images)
    if tally.failed:
        name, reason = next(iter(tally.failed.items()))
        raise MethodFailed(
            f"method {name} failed: {reason}; the rows of the other methods are in {store.root}", results
        )
    return results


def _look_up_names(protocols: Sequence[str], models: Sequence[str], dataset: str, methods: Sequence[str]) -> None:
    """Raises XaibenchError for a name or a card with a mistake, before the seconds that importing torch takes."""
    from xaibench import registry

    named = [("protocol", name) for name in protocols] + [("dataset", dataset)]
    named += [("model", model) for model in models if ":" not in model]
    for kind, name in [*named, *(("method", name) for name in methods if name != "all")]:
        registry.card(kind, name)
