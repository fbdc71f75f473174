"""The images that a board folder shows: a few of each data set, with kept maps, and photos where these may go out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from xaibench import registry
from xaibench.cards import DatasetCard
from xaibench.errors import XaibenchError
from xaibench.evaluation.recorded import RecordedPlaces, recorded_dataset
from xaibench.files import file_name, write_atomic
from xaibench.hashing import content_hash
from xaibench.publication.collect import Taken
from xaibench.publication.photos import png, read_photo
from xaibench.results.cells import describe, part_name
from xaibench.results.map_bytes import map_bytes
from xaibench.results.maps import SEPARATOR, MapStore, contents, read_map


@dataclass(frozen=True)
class Shown:
    """images: for each board's key the ids whose maps are there. photos: for each data set the path of each photo.
    notes: what is not there, and why."""

    images: dict[str, tuple[str, ...]]
    photos: dict[str, dict[str, str]]
    notes: list[str]


def dataset_label(context: Mapping[str, Any]) -> str:
    """A data set with its settings in a line, such as `critters (64 px)`."""
    return describe({"dataset": context.get("dataset")}) or "none"


def write_gallery(taken: Sequence[Taken], count: int, root: Path, data_root: Path | None = None) -> Shown:
    """Writes maps and photos of the first `count` images of each data set's lists that have maps of any board.

    data_root: the folder of the photos, where the records of the runs no longer say it.
    """
    images: dict[str, tuple[str, ...]] = {}
    photos: dict[str, dict[str, str]] = {}
    notes = []
    for label in dict.fromkeys(dataset_label(one.board.context) for one in taken):
        same = [one for one in taken if dataset_label(one.board.context) == label]
        chosen = _first_of_all(same)[:count]
        found = {one.board.key: _write_maps(one, chosen, root) for one in same}
        images |= found
        if not any(found.values()):
            notes += [f"no maps of {label} were kept (run with --keep-maps), so its gallery is empty"] if count else []
            continue
        shown = [image for image in chosen if any(image in ids for ids in found.values())]
        photos[label], missing = _photos(same, shown, label, root, data_root)
        notes += missing
    return Shown(images, {label: found for label, found in photos.items() if found}, notes)


def _first_of_all(taken: Sequence[Taken]) -> list[str]:
    """The images that all boards have, in the order of the shortest list; of any where none are common."""
    shortest = min(taken, key=lambda one: (len(one.images), one.board.key)).images
    common = set.intersection(*(set(one.images) for one in taken))
    return [image for image in shortest if image in common] or list(
        dict.fromkeys(i for one in taken for i in one.images)
    )


def _write_maps(taken: Taken, images: Sequence[str], root: Path) -> tuple[str, ...]:
    """Writes the kept maps of some images of a board, one file for each map key; the images that have any."""
    store, wanted, shown = MapStore(taken.store.root), set(images), set()
    for cell in taken.board.cells:
        own = cell.maps or cell.key
        maps: dict[str, torch.Tensor] = {}
        sums: dict[str, str] = {}
        for path in store.files(cell.key):
            for name, digests in contents(path, []):
                image = name.rpartition(SEPARATOR)[0]
                # Those under another key have digests that say so: they are written without, to be shown alone.
                if image in wanted and name not in maps and (values := read_map(path, name, digests)) is not None:
                    maps[name] = values.contiguous()
                    sums |= {name: digests} if digests and path.parent.name == own else {}
                    shown.add(image)
        if maps:
            target = root / "maps" / own / f"{content_hash(chr(10).join(sorted(maps)).encode())[:16]}.safetensors"
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target, map_bytes(maps, sums))
    return tuple(image for image in images if image in shown)


def _photos(
    taken: Sequence[Taken], images: Sequence[str], label: str, root: Path, data_root: Path | None
) -> tuple[dict[str, str], list[str]]:
    """Writes the photos of some images of a data set where its card allows it; their paths, and notes."""
    card = _card(taken[0])
    if card is None or not card.redistributable:
        return {}, [f"photos of {label} are not published: its card does not say `redistributable`"]
    known = _published(taken, images)
    if len(known) < len(images):
        try:
            known = _drawn(taken, images, data_root)
        except XaibenchError as error:
            return {}, [f"photos of {label} are not published: {error}"]
    folder = f"images/{file_name(label)}-{content_hash(label.encode())[:6]}"
    paths = {}
    for image, data in known.items():
        paths[image] = f"{folder}/{file_name(image)}-{content_hash(image.encode())[:6]}.png"
        (root / folder).mkdir(parents=True, exist_ok=True)
        write_atomic(root / paths[image], data)
    return paths, []


def _card(taken: Taken) -> DatasetCard | None:
    name = part_name(taken.board.context, "dataset")
    return registry.card("dataset", name) if name in registry.names("dataset") else None


def _published(taken: Sequence[Taken], images: Sequence[str]) -> dict[str, bytes]:
    """The photos that a board folder, where the boards come from one, has already; written anew, since it may be one of
    others."""
    from xaibench.publication.index import is_board_folder, read_index

    found: dict[str, bytes] = {}
    for one in taken:
        root = one.photos or one.store.root
        if is_board_folder(root):
            paths = read_index(root).images.get(dataset_label(one.board.context), {})
            found |= {i: png(read_photo(root / paths[i])) for i in images if i in paths and i not in found}
    return found


def _drawn(taken: Sequence[Taken], images: Sequence[str], data_root: Path | None) -> dict[str, bytes]:
    """The photos as PNG, as the model sees them: pixels alone, so nothing of EXIF is left.

    Raises XaibenchError where they are not found, or are not those of the rows.
    """
    error = None
    for one in taken:
        context, keys = one.board.context, [cell.key for cell in one.board.cells]
        try:
            recorded = RecordedPlaces.of(one.board.run)
            dataset = recorded_dataset(context, data_root or recorded.data_root)
            samples = [dataset.load(image) for image in images]
        except XaibenchError as found:
            error = error or found
            continue
        digests = one.store.digests(keys)
        for sample in samples:
            if digests.get(sample.image_id) != sample.digest:
                raise XaibenchError(f"image {sample.image_id} is another than when its rows were stored")
        return {sample.image_id: png(sample.image) for sample in samples}
    raise error or XaibenchError("no board has them")
