"""The maps of some images of a stored run: those that were kept, or the same ones made again.

What a cell's key hashes says what is to be made; only the places of weights and photos come from the recorded command.
A plan is built from that as for a run, and its cells must have the keys of the stored ones: then the maps are the same
by construction, up to the rounding of other batch sizes. Code of plug-ins is run only where the caller names its file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
from torch import Tensor

from xaibench import registry
from xaibench.attribution.runner import PRECISIONS, ModelRunner
from xaibench.cards import DatasetCard
from xaibench.datasets.base import Dataset, Sample
from xaibench.errors import XaibenchError
from xaibench.evaluation.executor import Loop
from xaibench.evaluation.plan import Plan, open_plan
from xaibench.evaluation.recorded import Recorded, recorded_dataset, recorded_model, recorded_options, recorded_weights
from xaibench.evaluation.resolve import resolve
from xaibench.evaluation.resources import choose_device
from xaibench.models.open import model_card
from xaibench.plugins import add
from xaibench.progress import bar
from xaibench.results.cells import Cell
from xaibench.results.manifest import RunManifest
from xaibench.results.maps import MapStore
from xaibench.results.store import Store

Maps = dict[str, dict[str, dict[int, Tensor]]]  # by cell key, image id and target
AGAIN = "the maps of this run were not kept (--keep-maps) and cannot be made again"


@dataclass(frozen=True)
class Places:
    """Where things are that a results folder does not hold; None takes what the recorded command says.

    data_root: the photos; weights: their file; plugins and cards: files and folders of other people's code, which is
    never run because a results folder says so.
    """

    data_root: Path | None = None
    weights: Path | None = None
    plugins: Sequence[Path] = ()
    cards: Sequence[Path] = ()


@dataclass(frozen=True)
class Replay:
    """What is needed to draw some images of a run: the data set, samples by image id, and maps (H, W) by cell key,
    image id and target. kept: whether all maps had been kept."""

    dataset: Dataset
    samples: dict[str, Sample]
    maps: Maps
    kept: bool


def replay(
    store: Store,
    run: RunManifest | None,
    cells: Sequence[Cell],
    images: Mapping[str, str],
    places: Places = Places(),
    *,
    device: str = "auto",
    quiet: bool = False,
) -> Replay:
    """Photos and maps of some images under some cells of one board.

    run: the record whose command says where photos and weights are. images: the stored content digest of each image id.
    Raises XaibenchError where photos or weights are not found, are not those of the run, or where anything else that
    the maps rest on has changed since.
    """
    add(places.plugins, places.cards)
    context = cells[0].context
    said = Recorded.of(run.command if run else "")
    dataset = recorded_dataset(context, places.data_root or said.path("--data-root"), said.path("--masks"))
    samples = {image_id: dataset.load(image_id) for image_id in images}
    for image_id, digest in images.items():
        if samples[image_id].digest != digest:
            raise XaibenchError(f"image {image_id} is another than when its rows were stored in {store.root}")
    kept = MapStore(store.root)
    maps = {cell.key: kept.find(cell.key, images) for cell in cells}
    missing = {cell.key: set(images) - set(maps[cell.key]) for cell in cells}
    lacking = [cell for cell in cells if missing[cell.key]]
    if lacking:
        for layer in dict.fromkeys(_layer(cell) for cell in lacking):
            same = [cell for cell in lacking if _layer(cell) == layer]
            plan = _plan(same, said, places, choose_device(device))
            made = _make(plan, same, missing, run, choose_device(device), quiet)
            for key, found in made.items():
                maps[key] |= found
    return Replay(dataset, samples, maps, not lacking)


def _layer(cell: Cell) -> str | None:
    """The stage of the model at which a cell's maps are taken; None for its input."""
    return cell.method["parameters"]["layer"] if "module" in cell.method else None


def _plan(cells: Sequence[Cell], said: Recorded, places: Places, device: str) -> Plan:
    """The plan whose cells have the keys of these; raises XaibenchError that says what keeps it from being made."""
    context = cells[0].context
    try:
        model = recorded_model(context["model"]["name"], places.plugins)
        card = model_card(model)
        data: DatasetCard = registry.card("dataset", context["dataset"]["name"])
        order = resolve(
            [context["protocol"]["name"]], model, data.name, methods=[cell.method["name"] for cell in cells],
            data_root=(places.data_root or said.path("--data-root")) if data.needs_root else None, images=None,
            profile=context["profile"]["name"], weights=recorded_weights(card, context, said, places.weights),
            settings=context["protocol"]["settings"], options=recorded_options(data, context), seed=context["seed"],
            precision=context["precision"], image_size=context["dataset"]["geometry"]["crop"],
            masks=said.path("--masks"), layer=_layer(cells[0]),
        )  # fmt: skip
        plan = open_plan(order, download=False, workers=0, device=device, quiet=True)
    except XaibenchError as error:
        raise XaibenchError(f"{AGAIN}: {error}{_plug_in(cells, places)}") from error
    made = {cell.key for cell in plan.cells().values()}
    for cell in cells:
        if cell.key not in made:
            new = next(new for new in plan.cells().values() if new.method["name"] == cell.method["name"])
            raise XaibenchError(f"{AGAIN}: {_difference(cell, new)} now{_plug_in(cells, places)}")
    return plan


def _plug_in(cells: Sequence[Cell], places: Places) -> str:
    """A hint for results that rest on somebody's own code, where none was named."""
    parts = [part for cell in cells for part in (cell.method, *cell.context.values()) if isinstance(part, dict)]
    own = any(part.get("source") for part in parts)
    return "; name the file of its plug-in by --plugin" if own and not (places.plugins or places.cards) else ""


def _difference(old: Cell, new: Cell) -> str:
    """The part in which two cells differ, in words."""
    for part, value in old.context.items():
        if Cell({part: value}, None).key != Cell({part: new.context.get(part)}, None).key:
            return f"its {part} is another"
    return f"its method {old.method_name} is another"


class _Caught:
    """Takes what a loop would store: keeps the maps, and drops the rows, which are stored already."""

    def __init__(self) -> None:
        self.maps: Maps = {}

    def append(self, table: pa.Table) -> None:
        """Drops rows."""

    def save(self, cell: str, image_ids: Iterable[str], targets: Tensor, maps: Tensor) -> None:
        """Keeps maps (P, 1, H, W)."""
        for image_id, target, values in zip(image_ids, targets.tolist(), maps, strict=True):
            self.maps.setdefault(cell, {}).setdefault(image_id, {})[target] = values[0].detach().cpu().float()


def _make(
    plan: Plan, cells: Sequence[Cell], missing: dict[str, set[str]], run: RunManifest | None, device: str, quiet: bool
) -> Maps:
    """The missing maps, by the loop that made them first, one image at a time."""
    images = sorted(set().union(*missing.values()))
    context, caught = cells[0].context, _Caught()
    plan.model.freeze(device, PRECISIONS["float64" if context["precision"] == "float64" else "float32"])
    wanted = {cell.key: missing[cell.key] for cell in cells}
    chunk = (run.chunk_size if run else None) or 32
    with (
        bar("making maps", len(images), quiet) as progress,
        ModelRunner(plan.model.net, chunk=chunk, precision=context["precision"]) as runner,
    ):
        once = replace(plan, images=images)
        loop = Loop(once, plan.cells(), wanted, caught, caught, device, 1, 0, context["seed"], progress)
        tally = loop.run(runner)
    if tally.failed:
        name, reason = next(iter(tally.failed.items()))
        raise XaibenchError(f"{AGAIN}: method {name} failed: {reason}")
    return caught.maps
