"""Every reader of files of others: it reads, or says in one line what is wrong, and leaves no file behind."""

from __future__ import annotations

import gzip
import io
import json
import struct
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from damage import Content, as_json, broken_bytes, broken_json, broken_toml, broken_value
from fuzzing import each, files, outcome
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save
from weights_of_others import HEADER, network, safetensors_with_headers, saved_by_torch

from xaibench.analysis.survey_file import read_answers
from xaibench.cards import ModelCard
from xaibench.cards.read import read_card
from xaibench.datasets.coco_json import read_coco
from xaibench.datasets.images import read_image
from xaibench.datasets.mnist import read_idx
from xaibench.datasets.reading import read_table
from xaibench.datasets.voc_xml import read_objects
from xaibench.datasets.waterbirds import read_metadata
from xaibench.evaluation.config import RunConfig
from xaibench.masks.rle import encode
from xaibench.masks.store import HEADER_KEY, SCHEMA, Header, Masks, add_rows, row
from xaibench.models.base import Encoding, Model
from xaibench.models.open import load_weights
from xaibench.models.state import check_classes, load_state, read_state
from xaibench.publication.index import read_index
from xaibench.registry import shipped
from xaibench.results.maps import MapStore, faults
from xaibench.training.config import TrainingConfig

pytestmark = pytest.mark.slow

BOARD = {
    "format": "xaibench-board", "format_version": 1, "version": 2, "xaibench": "0.2.0", "title": "Boards",
    "license": "mit", "boards": [], "comparisons": [], "images": {"critters (64 px)": {}}, "versions": [],
    "withdrawn": [{"board": "0123456789abcdef", "method": None, "protocol": "sds", "model": "resnet18",
                   "dataset": "critters (64 px)", "title": "sds", "reason": "a defect", "last": 1}],
}  # fmt: skip


class Reader(NamedTuple):
    """A kind of file: its name, sound content, the inputs that are tried and their number, and what reads it."""

    name: str
    content: bytes
    inputs: st.SearchStrategy[Content]
    examples: int
    read: Callable[[Path], object]


def picture(kind: str, mode: str = "RGB") -> bytes:
    """A small photo of noise."""
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def weights(path: Path) -> None:
    """Loads weights as a run does."""
    with warnings.catch_warnings(action="ignore"):  # torch warns of layouts in beta
        state = read_state(path)
        check_classes(state, ["ape", "bee"], "mini")
        load_state(network(), state, "a network")


def labelled(path: Path) -> None:
    """Loads weights into a model, which takes its labels from the header."""
    model = Model("tiny", network(), Encoding((0.5,) * 3, (0.5,) * 3), "", (0, 0), 2)
    load_weights(model, read_state(path), "plain", ModelCard(name="tiny", title="tiny"))


def checkpoint() -> bytes:
    """A checkpoint of a training program."""
    buffer = io.BytesIO()
    torch.save({"epoch": 3, "state_dict": network().state_dict(), "optimizer": {}}, buffer)
    return buffer.getvalue()


MASKS = Header("slic", {"min_area": 0.0}, {"name": "mini"}, 8)


def mask_rows() -> list[dict]:
    """Two masks of each of three images."""
    drawn = np.zeros((2, 8, 8), dtype=bool)
    drawn[0, :4], drawn[1, 4:] = True, True
    return [row(f"image {n}", "00", encode(drawn), 0) for n in range(3)]


def masks() -> bytes:
    """A file of masks as xaibench writes it."""
    buffer = io.BytesIO()
    metadata = {HEADER_KEY: json.dumps({"version": 1} | asdict(MASKS)).encode()}
    pq.write_table(pa.Table.from_pylist(mask_rows(), schema=SCHEMA.with_metadata(metadata)), buffer)
    return buffer.getvalue()


@st.composite
def masks_of_others(draw) -> Content:
    """A file of masks with another header, or other values in its rows."""
    header = draw(broken_value({"version": 1} | asdict(MASKS)).map(as_json))
    rows = mask_rows()
    if draw(st.booleans()):
        header = as_json({"version": 1} | asdict(MASKS))
        counts = draw(
            st.lists(st.lists(st.sampled_from([0, 1, -1, 31, 32, 33, 64, 2**31 - 1]), max_size=5), max_size=3)
        )
        rows[1] = draw(st.sampled_from([
            row("image 1", "00", counts, 0), rows[1] | {"counts": counts}, rows[1] | {"masks": -1}, rows[0],
            rows[1] | {"image_id": ""}, rows[1] | {"image_id": "x" * 100_000}, rows[1] | {"digest": "\x1b[2J"},
        ]))  # fmt: skip
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata({HEADER_KEY: header})), buffer)
    return Content(buffer.getvalue())


def every_mask(path: Path) -> None:
    """Reads all masks of a file."""
    known = Masks(path)
    for image_id in known.entries:
        known.load(image_id)


MAP = torch.linspace(-1, 1, 30).reshape(5, 6)


def kept_maps() -> bytes:
    """A file of kept maps as xaibench writes it, without digests."""
    return save({"a#1": MAP, "b/c.png#0": MAP + 1})


@st.composite
def maps_of_others(draw) -> Content:
    """A file of tensors that may be no maps, with digests that may be none."""
    values = st.sampled_from([
        MAP, MAP[0], MAP[None], torch.tensor(1.0), torch.zeros(0, 3), MAP > 0.5, MAP.half(),
        torch.full((5, 6), float("nan")), torch.ones(5, 6, dtype=torch.int64),
    ])  # fmt: skip
    names = (
        "a#1",
        "a",
        "#",
        "a#",
        "#1",
        "a#-1",
        "a#" + "9" * 5000,
        "a#1#2",
        "a#\u0663",
        "\x1b[2J#1",
        "a#1.5",
        "\U0001f989#0",
    )
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
    words = st.sampled_from(["", "x", "x y", "x y z", "\x1b[2J", "d " * 500])
    sums = {name: draw(words) for name in chosen} if draw(st.booleans()) else None
    return Content(save({name: draw(values).clone() for name in chosen}, sums))


def every_map(path: Path) -> None:
    """Looks for what is wrong with a file of maps, and reads it as a gallery does."""
    found = list(faults(path))
    assert all("\n" not in text for text in found)
    folder = path.parent / "maps" / "0123456789abcdef"
    folder.mkdir(parents=True, exist_ok=True)
    path.replace(folder / "x.safetensors")
    shown = MapStore(path.parent).find("0123456789abcdef", ["a", "", "b/c.png"])
    (folder / "x.safetensors").replace(path)
    assert all(values.ndim == 2 and values.is_floating_point() for maps in shown.values() for values in maps.values())


COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 50, "height": 40}],
    "annotations": [{"id": 7, "image_id": 1, "category_id": 3, "bbox": [1, 2, 30, 20], "area": 600, "iscrowd": 0,
                     "segmentation": [[1, 2, 31, 2, 31, 22, 1, 22]]}],
    "categories": [{"id": 3, "name": "dog"}],
}  # fmt: skip
VOC = b"""<?xml version="1.0" encoding="utf-8"?><annotation><size><width>50</width><height>40</height></size><object>
<name>dog</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>20</ymax></bndbox></object>
</annotation>"""
BIRDS = b"""img_id,img_filename,y,split,place,place_filename
1,001.Albatross/a.jpg,1,0,1,/o/ocean/1.jpg
2,002.Wren/b.jpg,0,1,0,/b/bamboo/2.jpg
"""
ANSWERS = b"respondent,image,before,after\nanna,car-1,0,1\nanna,car-2,1,\nbob,car-1,0.5,0\n"
BOXES = b"1 60.0 27.0 325.0 304.0\n2 139.0 30.0 153.0 264.0\n"
DIGITS = struct.pack(">4BIII", 0, 0, 8, 3, 2, 3, 3) + bytes(18)
RUN = """protocols = ["sds", "epg"]
model = "tiny"
methods = ["ixg", "rise"]
images = 8
settings = { grid = 4 }
precision = "float32"
"""
TRAINING = """task = "classifier"
model = "tiny"
dataset = "mini"
seed = 1
recipe = { epochs = 2, learning_rate = 0.1 }
"""
CARDS = {"method": "methods/rise", "model": "models/resnet50", "dataset": "datasets/critters",
         "protocol": "protocols/idsds", "comparison": "comparisons/depth"}  # fmt: skip
PHOTOS = {"png": "RGB", "jpeg": "RGB", "webp": "RGB", "gif": "P", "tiff": "L", "bmp": "RGB"}


def words_of_xml(draw_from: bytes) -> st.SearchStrategy[Content]:
    """XML in which a word is another, beside XML whose bytes are damaged."""
    words = (b"utf-8", b"1.0", b"50", b"dog", b"30", b"<name>", b"</object>")
    others = (
        b"klingon",
        b"utf-16",
        b"rot13",
        b"",
        b"1e400",
        b"-5",
        b"nan",
        b"&x;",
        b"\xff",
        b"9" * 5000,
        b"<a>" * 3000,
    )
    swapped = st.tuples(st.sampled_from(words), st.sampled_from(others)).map(lambda w: Content(draw_from.replace(*w)))
    return st.one_of(swapped, broken_bytes(draw_from))


READERS = [
    Reader("a.xml", VOC, words_of_xml(VOC), 250, lambda path: read_objects(path.read_bytes(), path)),
    Reader("coco.json", as_json(COCO), broken_json(COCO), 300, read_coco),
    Reader("metadata.csv", BIRDS, broken_bytes(BIRDS), 120, read_metadata),
    Reader("answers.csv", ANSWERS, broken_bytes(ANSWERS), 120, read_answers),
    Reader("boxes.txt", BOXES, broken_bytes(BOXES), 80, lambda path: read_table(path, ["id", *"xywh"])),
    Reader("digits", DIGITS, broken_bytes(DIGITS), 80, lambda path: read_idx(path, 3)),
    Reader("digits.gz", gzip.compress(DIGITS, mtime=0), broken_bytes(gzip.compress(DIGITS, mtime=0)), 80,
           lambda path: read_idx(path, 3)),
    Reader("a.safetensors", save(network().state_dict()), broken_bytes(save(network().state_dict())), 150, weights),
    Reader("header.safetensors", save(network().state_dict(), {"xaibench": json.dumps(HEADER)}),
           safetensors_with_headers(), 200, labelled),
    Reader("a.pth", checkpoint(), broken_bytes(checkpoint()), 150, weights),
    Reader("tensors.pth", checkpoint(), saved_by_torch(), 250, weights),
    Reader("masks.parquet", masks(), broken_bytes(masks()), 100, every_mask),
    Reader("header.parquet", masks(), masks_of_others(), 150, every_mask),
    Reader("maps.safetensors", kept_maps(), broken_bytes(kept_maps()), 80, every_map),
    Reader("tensors.safetensors", kept_maps(), maps_of_others(), 120, every_map),
    Reader("run.toml", RUN.encode(), broken_toml(RUN), 150, lambda path: RunConfig.parse(RunConfig.read_file(path))),
    Reader("run.json", as_json({"model": "tiny", "settings": {"grid": 4}, "methods": ["ixg"]}),
           broken_json({"model": "tiny", "settings": {"grid": 4}, "methods": ["ixg"]}), 100,
           lambda path: RunConfig.parse({"protocols": ["sds"]} | RunConfig.read_file(path))),
    Reader("board.json", as_json(BOARD), broken_json(BOARD), 200, lambda path: read_index(path.parent)),
    Reader("training.toml", TRAINING.encode(), broken_toml(TRAINING), 120,
           lambda path: TrainingConfig.parse(TrainingConfig.read_file(path))),
]  # fmt: skip
for suffix, mode in PHOTOS.items():
    photo = picture(suffix.upper(), mode)
    READERS.append(Reader(f"a.{suffix}", photo, broken_bytes(photo), 50, read_image))
for kind, name in CARDS.items():
    text = (shipped() / f"{name}.toml").read_bytes()
    reader = Reader(f"{kind}.toml", text, broken_toml(text.decode()), 70, lambda path, kind=kind: read_card(kind, path))
    READERS.append(reader)
EXAMPLES = {reader.name: reader.examples for reader in READERS}


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_what_it_cannot_read_is_one_line(reader, tmp_path):
    path = tmp_path / reader.name
    path.write_bytes(reader.content)
    assert outcome(lambda: reader.read(path)) is None, "the sound file is read"
    found: list[str | None] = []

    def check(data: Content) -> None:
        path.write_bytes(data)
        found.append(outcome(lambda: reader.read(path)))
        assert list(files(tmp_path)) == [path]

    each(reader.inputs, reader.examples, check)
    assert any(found) or reader.read is every_map, "nothing that was done to it was noticed"


def test_masks_are_as_they_are_written(tmp_path):
    add_rows(tmp_path / "m.parquet", MASKS, mask_rows(), {})
    assert pq.read_table(tmp_path / "m.parquet").equals(pq.read_table(io.BytesIO(masks())))
