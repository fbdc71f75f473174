"""`xaibench masks make`: makes the missing masks of a data set's images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xaibench import registry
from xaibench.cards import DatasetCard
from xaibench.datasets.base import Dataset, validate_sample
from xaibench.datasets.loading import load_sample
from xaibench.datasets.open import open_dataset, parameters_of
from xaibench.errors import XaibenchError
from xaibench.files import make_folder, plain
from xaibench.home import home
from xaibench.locks import claim
from xaibench.masks.config import MasksConfig
from xaibench.masks.dataset import made_from
from xaibench.masks.maker import USUAL, Maker, Tools, make_maker
from xaibench.masks.rle import encode
from xaibench.masks.store import Header, Masks, add_rows, mask_files, row
from xaibench.plugins import add
from xaibench.progress import Bar, bar
from xaibench.provenance import command_line

SHARD = 64  # images in a file; a killed process loses the masks of at most one file


@dataclass(frozen=True)
class Made:
    """The result of `make_masks`: for the requested images, how many masks each has (N,) int64, how many masks were
    dropped for their size, and how many images were computed now. few: whether the data set has fewer images than
    requested."""

    path: Path
    header: Header
    masks: np.ndarray
    dropped: int
    computed: int
    few: bool


def make_masks(maker: str, *, tools: Tools = USUAL, quiet: bool = False, **fields: Any) -> Made:
    """As `make_masks_of`, with the fields of `MasksConfig` as arguments."""
    return make_masks_of(MasksConfig.parse({"maker": maker} | fields), tools, quiet=quiet)


def make_masks_of(config: MasksConfig, tools: Tools, *, quiet: bool = False, command: str | None = None) -> Made:
    """Makes masks of the first images of a data set's one list, in the pixels in which they are displayed.

    What the folder holds already is not made again, except masks of photos that were replaced since; by default the
    folder is one below XAIBENCH_HOME for this data set, maker and settings. Raises XaibenchError for anything that the
    user can put right, such as a folder with masks of other settings.
    """
    add(config.plugins, config.cards)
    card: DatasetCard = registry.card("dataset", config.dataset).at_size(config.image_size)
    options, images, out = config.dataset_options, config.images, config.out
    data = open_dataset(card, config.data_root, options)
    by = make_maker(config.maker, data, card.geometry.crop, config.settings, tools)
    header = Header(
        maker=by.name, settings=by.settings, side=by.side, weights=by.weights, packages=by.versions, label=by.label,
        dataset=plain(made_from(card) | {"settings": parameters_of(card, options)}),
    )  # fmt: skip
    folder = out if out else home() / "masks" / card.name / f"{by.name}-{header.key}"
    if folder.suffix == ".parquet" or folder.is_file():
        raise XaibenchError(f"--out {folder} must be a folder, in which masks are stored in files of {SHARD} images")
    make_folder(folder)
    ids = data.image_list(images)
    doing = f"masks are being made in {folder}"
    with claim(folder / "locks", ["masks"], command or command_line(), doing, ", or choose another --out"):
        known = _known(folder, header)
        missing = _missing(data, ids, known)
        with bar(f"{by.label} masks of {card.name}", len(missing), quiet or not missing) as progress:
            _fill(data, by, header, folder, missing, known, progress)
    found = Masks(folder).entries
    entries = [found[image_id] for image_id in ids]
    return Made(
        path=folder, header=header, masks=np.array([entry.masks for entry in entries]), computed=len(missing),
        dropped=sum(entry.dropped for entry in entries), few=images is not None and len(ids) < images,
    )  # fmt: skip


def has_masks(config: MasksConfig) -> bool:
    """Whether the folder that a request names has masks, by whatever maker, of all of its images; opens no network."""
    if config.out is None or not mask_files(config.out):
        return False
    card: DatasetCard = registry.card("dataset", config.dataset).at_size(config.image_size)
    data = open_dataset(card, config.data_root, config.dataset_options)
    return set(data.image_list(config.images)) <= Masks(config.out).entries.keys()


def _known(folder: Path, header: Header) -> Masks | None:
    """The masks of a folder; raises XaibenchError where they were made with other settings than those of the header."""
    if not mask_files(folder):
        return None
    known = Masks(folder)
    stored, requested = _parts(known.header), _parts(header)
    other = [name for name in requested if stored.get(name) != requested[name]]
    if other:
        name = other[0]
        raise XaibenchError(
            f"{folder} has masks of {name} {stored.get(name)}, not {requested[name]}; choose another --out"
        )
    return known


def _parts(header: Header) -> dict[str, Any]:
    """The fields in which two headers may differ, by their names in messages."""
    data = {f"data set {name}": value for name, value in header.dataset.items()}
    return data | {"maker": header.maker} | header.settings | {"weights": header.weights} | header.packages


def _missing(data: Dataset, ids: list[str], known: Masks | None) -> list[str]:
    """Images without masks, and those whose photo was replaced."""
    entries = known.entries if known else {}
    return [i for i in ids if i not in entries or data.digest(i) != entries[i].image_digest]


def _fill(
    data: Dataset, by: Maker, header: Header, folder: Path, missing: list[str], known: Masks | None, progress: Bar
) -> None:
    """Makes missing masks file by file; a file has the same images, however often this is interrupted."""
    order = {image_id: place for place, image_id in enumerate(data.image_list())}
    files: dict[Path, list[str]] = {}
    for image_id in missing:
        old = known.entries.get(image_id) if known else None
        path = old.path if old else folder / f"{order[image_id] // SHARD:06d}.parquet"
        files.setdefault(path, []).append(image_id)
    for path, image_ids in files.items():
        rows: list[dict[str, Any]] = []
        try:
            for image_id in image_ids:
                rows.append(_row(data, by, image_id))
                progress.advance(1, f"{rows[-1]['masks']} in {image_id}")
        finally:
            if rows:
                add_rows(path, header, rows, order)


def _row(data: Dataset, by: Maker, image_id: str) -> dict[str, Any]:
    """The masks of an image without the small ones."""
    sample = validate_sample(load_sample(data, image_id), by.side, len(data.classes), data.name)
    masks = by.draw(sample)
    least = max(by.settings["min_area"] * by.side**2, 1)
    kept = masks[masks.sum((1, 2)) >= least]
    return row(image_id, sample.digest, encode(kept), len(masks) - len(kept))
