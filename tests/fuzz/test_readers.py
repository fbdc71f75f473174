"""Every reader of files of others: it reads, or says in one line what is wrong, and leaves no file behind."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from conftest import outcome, tree
from damage import broken_bytes, broken_json, broken_toml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save
from torch import nn

from xaibench.cards.read import read_card
from xaibench.datasets.coco_json import read_coco
from xaibench.datasets.images import read_image
from xaibench.datasets.mnist import read_idx
from xaibench.datasets.voc_xml import read_objects
from xaibench.datasets.waterbirds import read_metadata
from xaibench.evaluation.config import RunConfig
from xaibench.masks.rle import encode
from xaibench.masks.store import Header, Masks, add_rows, row
from xaibench.models.state import load_state, read_state
from xaibench.registry import shipped
from xaibench.training.config import TrainingConfig

pytestmark = pytest.mark.slow

MANY = settings(
    derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip


class Reader(NamedTuple):
    """A kind of file: its name, sound content, what damages it, and what reads it."""

    name: str
    content: bytes
    broken: Callable[[bytes], st.SearchStrategy[bytes]]
    read: Callable[[Path], object]
    examples: int = 150


def picture(kind: str, mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))


def weights(path: Path) -> None:
    load_state(network(), read_state(path), "a network")


def checkpoint() -> bytes:
    buffer = io.BytesIO()
    torch.save({"epoch": 3, "state_dict": network().state_dict(), "optimizer": {}}, buffer)
    return buffer.getvalue()


def masks(folder: Path) -> bytes:
    header = Header("slic", {"min_area": 0.0}, {"name": "mini"}, 8)
    drawn = np.zeros((2, 8, 8), dtype=bool)
    drawn[0, :4], drawn[1, 4:] = True, True
    path = folder / "sound.parquet"
    add_rows(path, header, [row(f"image {n}", "00", encode(drawn), 0) for n in range(3)], {})
    content = path.read_bytes()
    path.unlink()
    return content


def every_mask(path: Path) -> None:
    known = Masks(path)
    for image_id in known.entries:
        known.load(image_id)


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


def damaged_toml(content: bytes) -> st.SearchStrategy[bytes]:
    return broken_toml(content.decode())


def damaged_json(content: bytes) -> st.SearchStrategy[bytes]:
    return broken_json(json.loads(content))


def readers(folder: Path) -> list[Reader]:
    found = [
        Reader("a.xml", VOC, broken_bytes, lambda path: read_objects(path.read_bytes(), path), 250),
        Reader("coco.json", json.dumps(COCO).encode(), damaged_json, read_coco, 250),
        Reader("metadata.csv", BIRDS, broken_bytes, read_metadata, 150),
        Reader("images-idx3-ubyte", struct.pack(">4BIII", 0, 0, 8, 3, 2, 3, 3) + bytes(18), broken_bytes,
               lambda path: read_idx(path, 3)),
        Reader("a.safetensors", save(network().state_dict(), {"xaibench": "{}"}), broken_bytes, weights, 250),
        Reader("a.pth", checkpoint(), broken_bytes, weights, 250),
        Reader("masks.parquet", masks(folder), broken_bytes, every_mask, 150),
        Reader("run.toml", RUN.encode(), damaged_toml, lambda path: RunConfig.parse(RunConfig.read_file(path)), 200),
        Reader("training.toml", TRAINING.encode(), damaged_toml,
               lambda path: TrainingConfig.parse(TrainingConfig.read_file(path)), 200),
    ]  # fmt: skip
    found += [Reader(f"a.{kind.lower()}", picture(kind), broken_bytes, read_image) for kind in ("PNG", "JPEG", "WEBP")]
    found += [
        Reader(f"a.{k}", picture(k.upper(), m), broken_bytes, read_image) for k, m in (("gif", "P"), ("tiff", "L"))
    ]
    for kind, folder_name, name in (
        ("method", "methods", "rise"), ("model", "models", "resnet50"), ("dataset", "datasets", "critters"),
        ("protocol", "protocols", "idsds"), ("comparison", "comparisons", "depth"),
    ):  # fmt: skip
        text = (shipped() / folder_name / f"{name}.toml").read_bytes()
        found.append(Reader(f"{name}.toml", text, damaged_toml, lambda path, kind=kind: read_card(kind, path)))
    return found


def test_every_reader(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for reader in readers(tmp_path):
        path = folder / reader.name
        path.write_bytes(reader.content)
        assert outcome(lambda: reader.read(path)) is None, reader.name  # noqa: B023  (called at once)
        seen: set[bool] = set()

        @settings(MANY, max_examples=reader.examples)
        @given(reader.broken(reader.content))
        def check(data: bytes) -> None:
            path.write_bytes(data)  # noqa: B023
            seen.add(outcome(lambda: reader.read(path)) is None)  # noqa: B023
            assert list(tree(folder)) == [str(path)]  # noqa: B023

        check()
        assert False in seen, f"nothing that was done to {reader.name} was noticed"
        path.unlink()
