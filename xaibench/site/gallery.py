"""Which images of a board are shown with which maps, and the pictures that are drawn of them."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from xaibench.analysis.gallery import pick_images
from xaibench.analysis.ranking import RANKED
from xaibench.errors import XaibenchError
from xaibench.hashing import digest
from xaibench.publication.photos import read_photo
from xaibench.report.heatmap import heatmap, number, scale_of
from xaibench.report.text import count
from xaibench.results.maps import SEPARATOR, MapStore, contents
from xaibench.site.content import Content, SiteBoard
from xaibench.site.page import File
from xaibench.site.words import listed

EACH = 4  # images of each group: best, typical, worst
LARGEST = 256  # pixels of a side of a picture
SMALL = 96  # pixels of a side up to which a picture is stored without loss
QUALITY = 82  # of larger ones


@dataclass(frozen=True)
class Picture:
    """The map of a method: its address from the site's folder, what it shows, its score ("undefined" without one)."""

    method: str
    address: str
    score: str
    note: str
    style: str


@dataclass(frozen=True)
class GalleryImage:
    """An image with its maps: its group (best, typical, worst), names of its label and of the prediction, whether that
    is right (None: not known), and the photo's address ("" where the photo may not be shown)."""

    image_id: str
    group: str
    label: str
    prediction: str
    right: bool | None
    photo: str
    pictures: tuple[Picture, ...]

    @property
    def id(self) -> str:
        """What links lead to."""
        return f"image-{digest(self.image_id)[:8]}"


@dataclass(frozen=True)
class Gallery:
    """The images of a board, best first; total: images of the board."""

    one: SiteBoard
    images: tuple[GalleryImage, ...]
    methods: tuple[str, ...]
    total: int

    @property
    def address(self) -> str:
        """Of its page, from the site's folder."""
        return f"gallery/{self.one.slug}.html"


@dataclass
class Galleries:
    """Draws pictures, each once, however many boards show it.

    damaged: by the slug of a board and a method the files of kept maps that are damaged, whose maps are in no gallery;
    filled by `make`.
    """

    content: Content
    files: dict[str, File] = field(default_factory=dict)
    damaged: dict[str, dict[str, list[Path]]] = field(default_factory=dict)

    def make(self) -> list[Gallery]:
        """The galleries of all boards of which maps are kept."""
        return [found for one in self.content.boards if (found := self._gallery(one))]

    def damaged_files(self) -> list[Path]:
        """All damaged files, each once: boards share them."""
        every = (path for methods in self.damaged.values() for paths in methods.values() for path in paths)
        return sorted(set(every))

    def left_out(self) -> dict[str, str]:
        """A sentence on what is left out, by the slug of each board of which anything is."""
        return {slug: _left_out(methods) for slug, methods in self.damaged.items()}

    def _gallery(self, one: SiteBoard) -> Gallery | None:
        maps = MapStore(self.content.root)
        if not maps.root.is_dir():
            return None
        damaged: dict[str, list[Path]] = {cell.method_name: [] for cell in one.board.cells}
        gallery = self._from_maps(one, maps, damaged)
        if any(damaged.values()):
            self.damaged[one.slug] = {name: paths for name, paths in damaged.items() if paths}
        return gallery

    def _from_maps(self, one: SiteBoard, maps: MapStore, damaged: dict[str, list[Path]]) -> Gallery | None:
        """The gallery of a board; files with damaged maps are added to those of their methods."""
        scores = one.found.image_scores()
        kept = {cell.method_name: _names(maps, cell.key, damaged[cell.method_name]) for cell in one.board.cells}
        shown = [name for name in one.found.table["method"] if kept.get(name)]
        ranked = set(one.found.table.loc[one.found.table["kind"].isin(RANKED), "method"])
        first = [kept[name] for name in shown if name in ranked] or [kept[name] for name in shown]
        if not first:
            return None
        images = sorted(set.intersection(*first) & set(scores.index))
        by_key = {cell.method_name: cell for cell in one.board.cells}
        cells = [by_key[name] for name in shown]
        frame = scores.loc[images, shown].set_axis([cell.key for cell in cells], axis=1)
        try:
            groups = pick_images(frame, cells, EACH)
        except XaibenchError:  # no image has a score of every method
            return None
        rows = self._rows(one, groups.images)
        drawn = {cell.key: maps.find(cell.key, groups.images, damaged[cell.method_name]) for cell in cells}
        entries = []
        for group, names in groups:
            for image_id in names:
                entries.append(self._image(one, image_id, group, cells, frame, rows, drawn))
        return Gallery(one, tuple(entries), tuple(shown), len(scores))

    def _rows(self, one: SiteBoard, images: list[str]) -> pd.DataFrame:
        """The first row of each image and cell, by these; of several explained classes the first is shown."""
        columns = ["cell", "image_id", "target", "metric", "status", "label", "prediction", "correct"]
        rows = self.content.store.rows([cell.key for cell in one.board.cells], columns=columns)
        rows = rows[rows["image_id"].isin(images) & (rows["metric"] == one.found.metric)]
        return rows.drop_duplicates(["image_id", "cell"]).set_index(["image_id", "cell"])

    def _image(self, one, image_id, group, cells, scores, rows, drawn) -> GalleryImage:
        own = rows.loc[image_id].to_dict("index")
        first = next(iter(own.values()))
        classes = one.found.require_source().classes
        path = self.content.photos.get(one.board.key, {}).get(image_id)
        photo = None if path is None else read_photo(path)
        styles = dict(zip(one.found.table["method"], one.found.table["kind"], strict=True))
        pictures = []
        for cell in cells:
            mine, found = own.get(cell.key), drawn[cell.key].get(image_id, {})
            if mine is None or pd.isna(mine["target"]) or int(mine["target"]) not in found:
                continue
            target = int(mine["target"])
            values = found[target].double().numpy()
            address = f"pictures/{cell.maps or cell.key}/{digest([image_id, target])[:12]}.webp"
            undefined = mine["status"] == "undefined-map"
            score = scores.loc[image_id, cell.key]
            if address not in self.files:
                self.files[address] = File(address, _webp(_picture(values, photo)))
            pictures.append(Picture(
                cell.method_name, address, "undefined" if undefined or pd.isna(score) else number(float(score)),
                scale_of(values).note, styles[cell.method_name],
            ))  # fmt: skip
        right = None if pd.isna(first["correct"]) else bool(first["correct"])
        return GalleryImage(
            image_id, group, _class(classes, first["label"]), _class(classes, first["prediction"]), right,
            "" if photo is None else self._photo_file(path, photo), tuple(pictures),
        )  # fmt: skip

    def _photo_file(self, path: Path, photo: np.ndarray) -> str:
        address = f"pictures/photos/{digest(path.relative_to(self.content.root).as_posix())[:12]}.webp"
        if address not in self.files:
            self.files[address] = File(address, _webp(_small(photo)))
        return address


def _left_out(methods: dict[str, list[Path]]) -> str:
    files = {path for paths in methods.values() for path in paths}
    return (
        f"{count(len(files), 'file')} of kept maps {'is' if len(files) == 1 else 'are'} damaged, so maps of "
        f"{listed(sorted(methods))} are missing here."
    )


def _names(maps: MapStore, key: str, damaged: list[Path]) -> set[str]:
    """The images of which a cell has kept maps."""
    return {name.rpartition(SEPARATOR)[0] for path in maps.files(key) for name, _ in contents(path, damaged)}


def _class(classes: tuple[str, ...], index: object) -> str:
    if pd.isna(index):
        return "unknown"
    return classes[int(index)] if 0 <= int(index) < len(classes) else f"class {int(index)}"


def _picture(values: np.ndarray, photo: np.ndarray | None) -> np.ndarray:
    """The heat map of a map (H, W), over the faint photo where there is one of the same size."""
    over = photo if photo is not None and photo.shape[:2] == values.shape else None
    return _small(heatmap(values, scale_of(values), over))


def _small(pixels: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 of at most `LARGEST` pixels a side."""
    height, width = pixels.shape[:2]
    if max(height, width) <= LARGEST:
        return pixels
    shrink = LARGEST / max(height, width)
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def _webp(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    lossless = max(pixels.shape[:2]) <= SMALL
    Image.fromarray(pixels).save(buffer, format="WEBP", lossless=lossless, quality=QUALITY, method=2, exif=b"")
    return buffer.getvalue()
