"""The maps of some images of a stored run: those that were kept, or the same ones made again.

What a cell's key hashes says what is to be made; only the places of weights and photos come from the recorded command.
A plan is built from that as for a run, and its cells must have the keys of the stored ones: then the maps are the same
by construction, up to the rounding of other batch sizes. Code of plug-ins is run only where the caller names its file.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from torch import Tensor

from xaibench import registry
from xaibench.attribution.passes import PRECISIONS, Passes
from xaibench.cards import DatasetCard, ModelCard
from xaibench.datasets.base import Dataset, Sample
from xaibench.datasets.open import open_dataset
from xaibench.engine.budget import choose_device
from xaibench.engine.local import Loop
from xaibench.engine.plan import Plan, look_up, open_plan
from xaibench.errors import XaibenchError
from xaibench.home import home
from xaibench.models.build import brings_weights
from xaibench.models.open import address, model_card
from xaibench.models.state import file_digest
from xaibench.models.trained import trained_weights
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
    dataset = _dataset(context, places.data_root or said.path("--data-root"))
    samples = {image_id: dataset.load(image_id) for image_id in images}
    for image_id, digest in images.items():
        if samples[image_id].digest != digest:
            raise XaibenchError(f"image {image_id} is another than when its rows were stored in {store.root}")
    kept = MapStore(store.root)
    maps = {cell.key: kept.find(cell.key, images) for cell in cells}
    missing = {cell.key: set(images) - set(maps[cell.key]) for cell in cells}
    lacking = [cell for cell in cells if missing[cell.key]]
    if lacking:
        plan = _plan(lacking, said, places, choose_device(device))
        made = _make(plan, lacking, missing, run, choose_device(device), quiet)
        for key, found in made.items():
            maps[key] |= found
    return Replay(dataset, samples, maps, not lacking)


@dataclass(frozen=True)
class Recorded:
    """The words of a recorded command."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, command: str) -> Recorded:
        """The words as a shell would split them; none of a command that it would not take."""
        try:
            return cls(tuple(shlex.split(command)))
        except ValueError:
            return cls(())

    def option(self, name: str) -> str | None:
        """What an option said, as `--name value` or `--name=value`; the last one counts."""
        following = dict(zip(self.words, self.words[1:], strict=False))
        joined = [word.partition("=")[2] for word in self.words if word.startswith(name + "=")]
        return joined[-1] if joined else following.get(name)

    def path(self, name: str) -> Path | None:
        """What an option said, as a path."""
        value = self.option(name)
        return Path(value) if value else None


def _dataset(context: dict[str, Any], root: Path | None) -> Dataset:
    card: DatasetCard = registry.card("dataset", context["dataset"]["name"])
    if card.needs_root and (root is None or not root.is_dir()):
        raise XaibenchError(f"the photos of this run are not in {root or 'a known folder'}; name it by --data-root")
    return open_dataset(card, root if card.needs_root else None, _options(card, context))


def _options(card: DatasetCard, context: dict[str, Any]) -> dict[str, Any]:
    """The options of the data set that a context holds: its settings that are not the card's."""
    settings = {k: v for k, v in context["dataset"]["settings"].items() if not (card.needs_root and k == "classes")}
    return {k: v for k, v in settings.items() if k not in card.parameters or card.parameters[k] != v}


def _plan(cells: Sequence[Cell], said: Recorded, places: Places, device: str) -> Plan:
    """The plan whose cells have the keys of these; raises XaibenchError that says what keeps it from being made."""
    context = cells[0].context
    try:
        model = _model_name(context["model"]["name"], places.plugins)
        card = model_card(model)
        data: DatasetCard = registry.card("dataset", context["dataset"]["name"])
        order = look_up(
            [context["protocol"]["name"]], model, data.name, methods=[cell.method["name"] for cell in cells],
            data_root=(places.data_root or said.path("--data-root")) if data.needs_root else None, images=None,
            profile=context["profile"]["name"], weights=_weights(card, context, said, places.weights),
            settings=context["protocol"]["settings"], options=_options(data, context), seed=context["seed"],
            precision=context["precision"],
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


def _model_name(name: str, plugins: Sequence[Path]) -> str:
    """The name to open a model by: a builder in a file is known by the file's name, and opened by its path."""
    file, _, attribute = name.rpartition(":")
    if not file.endswith(".py"):
        return name
    path = next((path for path in plugins if path.name == file), None)
    if path is None:
        raise XaibenchError(f"its model is made by {file}, whose path --plugin is to name")
    return f"{path}:{attribute}"


def _weights(card: ModelCard, context: dict[str, Any], said: Recorded, named: Path | None) -> str:
    """The weights with the stored digest: the file that is named or recorded, or one that was trained or fetched here.

    `plain` for a model that brings its own.
    """
    digest, recorded = context["weights"]["digest"], said.path("--weights")
    if named is not None:
        if not named.is_file() or file_digest(named) != digest:
            raise XaibenchError(f"--weights {named} are not the weights of this run ({digest})")
        return str(named)
    trained = [w.path for w in trained_weights(card.name, context["dataset"]["name"], registry.source(card))]
    published = [home() / "downloads" / address(w)[0].rsplit("/", 1)[-1] for w in (card.plain, card.aligned) if w]
    for path in [*([recorded] if recorded else []), *reversed(trained), *published]:
        if path.is_file() and file_digest(path) == digest:
            return str(path)
    if brings_weights(card):
        return "plain"
    place = f"not {recorded}" if recorded and recorded.is_file() else "no longer here"
    raise XaibenchError(f"its weights ({digest}) are {place}; name their file by --weights")


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
        Passes(plan.model.net, chunk=chunk, precision=context["precision"]) as passes,
    ):
        once = replace(plan, images=images)
        loop = Loop(once, plan.cells(), wanted, caught, caught, device, 1, 0, context["seed"], progress)
        tally = loop.run(passes)
    if tally.failed:
        name, reason = next(iter(tally.failed.items()))
        raise XaibenchError(f"{AGAIN}: method {name} failed: {reason}")
    return caught.maps
