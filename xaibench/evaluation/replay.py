"""The maps of some images of a stored run: those that were kept, or the same ones made again.

What a cell's key hashes says what is to be made; only the places of weights and photos come from the record of the run.
A plan is made from that as for a run, and its jobs must have the keys of the stored results: then the maps are the same
by construction, up to the rounding of other batch sizes. Code of plug-ins is run only where the caller names its file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from xaibench import registry
from xaibench.cards import DatasetCard
from xaibench.datasets.base import Dataset, Sample
from xaibench.datasets.loading import load_sample
from xaibench.datasets.photos import turned_since
from xaibench.errors import XaibenchError
from xaibench.evaluation.compute import open_computer, ready
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.plan import Plan, make_plan
from xaibench.evaluation.recorded import (
    RecordedPlaces,
    recorded_dataset,
    recorded_model,
    recorded_options,
    recorded_weights,
)
from xaibench.evaluation.resolve import resolve
from xaibench.evaluation.resources import Resources, choose_device
from xaibench.evaluation.weights import open_models
from xaibench.models.clip import PREFIX
from xaibench.models.open import model_card
from xaibench.plugins import add
from xaibench.progress import bar
from xaibench.results.cells import Cell, difference
from xaibench.results.manifest import RunManifest, load_runs
from xaibench.results.maps import MapStore
from xaibench.results.store import Store

Maps = dict[str, dict[str, dict[int, Tensor]]]  # by cell key, image id and target
AGAIN = "the maps of this run were not kept (--keep-maps) and cannot be made again"


@dataclass(frozen=True)
class Places:
    """Where things are that a results folder does not hold; None takes what the record of the run says.

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

    run: the record that says where photos and weights are. images: the stored content digest of each image id.
    Raises XaibenchError where photos or weights are not found, are not those of the run, or where anything else that
    the maps rest on has changed since.
    """
    add(places.plugins, places.cards)
    if run and run.objects:
        raise XaibenchError(
            f"run {run.run} was made in Python with {' and '.join(run.objects)}, which no results folder holds; "
            "its scores are in the boards, its photos and maps cannot be shown"
        )
    if run and run.is_tf32_as_float32:
        raise XaibenchError(
            f"run {run.run} was computed on a GPU in TF32 and stored as float32, so its maps cannot be made again; "
            "compute it again"
        )
    context = cells[0].context
    recorded = RecordedPlaces.of(run)
    places = replace(places, data_root=places.data_root or recorded.data_root)
    dataset = recorded_dataset(context, places.data_root, recorded.masks)
    samples = {image_id: dataset.load(image_id) for image_id in images}
    for image_id, digest in images.items():
        if samples[image_id].digest != digest:
            since = turned_since(dataset, image_id)
            raise XaibenchError(f"image {image_id} is another than when its rows were stored in {store.root}{since}")
    kept = MapStore(store.root)
    maps = {cell.key: kept.find(cell.key, images) for cell in cells}
    explained = store.explained(maps)
    missing = {  # of some rows of an image the maps may be damaged
        key: {i for i in images if i not in found or explained[key].get(i, frozenset()) - found[i].keys()}
        for key, found in maps.items()
    }
    lacking = [cell for cell in cells if missing[cell.key]]
    fitted = {key: chosen for each in load_runs(store) for key, chosen in each.fitted.items()} if lacking else {}
    for layer in dict.fromkeys(stage_of(cell) for cell in lacking):
        same = [cell for cell in lacking if stage_of(cell) == layer]
        config = request_of(same, recorded, places, device)
        plan = plan_of(same, config, run, places)
        wanted = {cell.key: missing[cell.key] for cell in same}
        for key, found in _make(plan, config, wanted, run, fitted, quiet).items():
            maps[key] |= found
    return Replay(dataset, samples, maps, not lacking)


def stage_of(cell: Cell) -> str | None:
    """The stage of the model at which a cell's maps are taken; None for its input."""
    return cell.method["parameters"]["layer"] if "module" in cell.method else None


def request_of(cells: Sequence[Cell], recorded: RecordedPlaces, places: Places, device: str) -> RunConfig:
    """The request that gives cells with the keys of these; raises XaibenchError where something is not there."""
    context = cells[0].context
    try:
        model = recorded_model(context["model"]["name"], places.plugins)
        data: DatasetCard = registry.card("dataset", context["dataset"]["name"])
        return RunConfig(
            protocols=(context["protocol"]["name"],),
            model=model,
            dataset=data.name,
            data_root=places.data_root if data.needs_root else None,
            **_weights(model, context, recorded, places),
            masks=recorded.masks,
            methods=tuple(cell.method["name"] for cell in cells),
            layer=stage_of(cells[0]),
            image_size=context["dataset"]["geometry"]["crop"],
            profile=context["profile"]["name"],
            dataset_options=recorded_options(data, context),
            settings=context["protocol"]["settings"],
            device=device,
            precision=context["precision"],
            workers=0,
            seed=context["seed"],
        )
    except XaibenchError as error:
        raise XaibenchError(f"{AGAIN}: {error}{_plug_in(cells, places)}") from error


def _weights(model: str, context: dict[str, Any], recorded: RecordedPlaces, places: Places) -> dict[str, Any]:
    """The fields of a request that name the weights of a model, and the texts of a zero-shot classifier."""
    if model.startswith(PREFIX):
        given = places.weights or recorded.weights
        texts = {"classes_file": recorded.classes_file, "prompt": recorded.prompt}
        return texts | {"weights": str(given) if given else None}
    return {"weights": recorded_weights(model_card(model), context, recorded, places.weights)}


def plan_of(cells: Sequence[Cell], config: RunConfig, run: RunManifest | None, places: Places) -> Plan:
    """The plan whose jobs have the keys of these cells; raises XaibenchError that says why there is none."""
    try:
        resolved = resolve(config)
        plan = make_plan(resolved, open_models(resolved, Resources.of(config), quiet=True, say=lambda text: None))
        plan = _with_arithmetic(plan, cells[0].context.get("arithmetic"))
    except XaibenchError as error:
        raise XaibenchError(f"{AGAIN}: {error}{_plug_in(cells, places)}") from error
    made = {job.key for job in plan.jobs}
    for cell in cells:
        if cell.key not in made:
            new = next(job.cell for job in plan.jobs if job.cell.method["name"] == cell.method["name"])
            raise XaibenchError(f"{AGAIN}: {difference(cell, new)} now{_plug_in(cells, places)}")
    return plan


def _with_arithmetic(plan: Plan, recorded: str | None) -> Plan:
    """The plan with the recorded arithmetic in its keys: maps in float32 are the same on every device."""

    def placed(context: dict[str, Any]) -> dict[str, Any]:
        rest = {name: part for name, part in context.items() if name != "arithmetic"}
        return rest | ({"arithmetic": recorded} if recorded else {})

    return replace(plan, protocols=tuple(replace(run, context=placed(run.context)) for run in plan.protocols))


def _plug_in(cells: Sequence[Cell], places: Places) -> str:
    """A hint for results that rest on somebody's own code, where none was named."""
    parts = [part for cell in cells for part in (cell.method, *cell.context.values()) if isinstance(part, dict)]
    own = any(part.get("source") for part in parts)
    return "; name the file of its plug-in by --plugin" if own and not (places.plugins or places.cards) else ""


def _make(
    plan: Plan,
    config: RunConfig,
    missing: Mapping[str, set[str]],
    run: RunManifest | None,
    fitted: Mapping[str, Mapping[str, float]],
    quiet: bool,
) -> Maps:
    """The missing maps (H, W), computed as they were first, one image at a time; their rows are stored already.

    fitted: what protocols chose on held-out images, by result key.
    """
    images = sorted(set().union(*missing.values()))
    device = choose_device(config.device)
    chunk = ready(plan, device, (run.chunk_size if run else None) or 32, config.precision)
    maps: Maps = {}
    with (
        bar("making maps", len(images), quiet) as progress,
        open_computer(plan, device, chunk, config.precision, config.seed) as computer,
    ):
        chosen = {job.key: fitted[job.key] for job in plan.jobs if job.key in fitted}
        protocols = {job.key: job.protocol.protocol for job in plan.jobs}
        computer.fitted.update({key: protocols[key].with_fitted(values) for key, values in chosen.items()})
        for image_id in images:
            found = computer.compute([load_sample(plan.dataset, image_id)], {}, maps=missing, keep=True)
            made: dict[str, dict[int, Tensor]] = {}
            for each in found.maps:
                values = each.maps[:, 0].detach().cpu()
                made.setdefault(each.key, {}).update(zip(each.targets.tolist(), values, strict=True))
            for job in plan.jobs:
                if image_id in missing.get(job.key, ()) and job.maps in made:
                    maps.setdefault(job.key, {})[image_id] = made[job.maps]
            progress.advance(1)
        failed = computer.tally.failed
    if failed:
        name, reason = next(iter(failed.items()))
        raise XaibenchError(f"{AGAIN}: method {name} failed: {reason}")
    return maps
