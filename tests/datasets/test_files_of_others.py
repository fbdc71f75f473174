"""Annotations and names that no program expects: encodings, numbers without end, names that are no text."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image

from xaibench import registry
from xaibench.datasets.base import LONGEST_NAME
from xaibench.datasets.coco_json import read_coco
from xaibench.datasets.open import open_dataset
from xaibench.datasets.placement import is_position
from xaibench.datasets.voc_xml import read_objects
from xaibench.errors import XaibenchError

XML = (
    '<?xml version="1.0" encoding="{}"?><annotation><object><name>dog</name><bndbox><xmin>{}</xmin><ymin>1</ymin>'
    "<xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
)


@pytest.mark.parametrize("encoding", ["klingon", "utf-7", "rot13", "hex", "shift_jis", "", "a b", "utf-99"])
def test_encodings_that_nobody_reads(encoding, tmp_path):
    with pytest.raises(XaibenchError, match=r"a\.xml is no XML: ") as caught:
        read_objects(XML.format(encoding, 1).encode(), tmp_path / "a.xml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "ISO-8859-1", "us-ascii", "windows-1252"])
def test_encodings_that_are_read(encoding, tmp_path):
    assert read_objects(XML.format(encoding, 1).encode(), tmp_path / "a.xml")[1][0].corners == (1, 1, 9, 9)


@pytest.mark.parametrize("number", ["1e400", "-inf", "nan", "9" * 5000, "1e10", "-1e300"])
def test_positions_in_xml(number, tmp_path):
    with pytest.raises(XaibenchError, match=r"<xmin> is .*, not a number"):
        read_objects(XML.format("utf-8", number).encode(), tmp_path / "a.xml")


def test_positions():
    assert all(map(is_position, (0, -3.5, 10**9, True, np.float64(2), np.int64(5))))
    assert not any(map(is_position, (float("nan"), float("inf"), 10**400, 1e300, "1", None, [1], 1j)))


def coco(path, box="[1, 2, 30, 20]", name='"dog"', file='"a.png"', number="1", more=""):
    path.write_text(
        f'{{"images": [{{"id": {number}, "file_name": {file}, "width": 50, "height": 40}}], "annotations": [{{"id": 7, '
        f'"image_id": {number}, "category_id": 3, "bbox": {box}}}], "categories": [{{"id": 3, "name": {name}}}]{more}}}'
    )
    return path


BOXES = {
    "a number of 401 digits": f"[1{'0' * 400}, 2, 30, 20]", "of 20 digits": f"[1, 2, 1{'0' * 19}, 20]",
    "of 5000 digits": f"[{'9' * 5000}, 2, 30, 20]", "infinite": "[Infinity, 2, 30, 20]", "1e999": "[1, 2, 1e999, 20]",
    "far": "[1, 2, 1e300, 1e300]", "NaN": "[NaN, 2, 30, 20]", "texts": '["1", "2", "3", "4"]', 
    "null": "[null, 1, 2, 3]",
    "deep": "[" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("kind", BOXES)
def test_boxes_of_coco(kind, tmp_path):
    with pytest.raises(XaibenchError) as caught:
        read_coco(coco(tmp_path / "coco.json", box=BOXES[kind]))
    assert "coco.json" in str(caught.value) and "\n" not in str(caught.value)
    assert "has the box" in str(caught.value) or "is no JSON" in str(caught.value)


def test_a_name_with_a_lone_surrogate(tmp_path):
    with pytest.raises(XaibenchError, match=r"coco\.json is no JSON: it has a text with a lone surrogate"):
        read_coco(coco(tmp_path / "coco.json", name='"\\ud800"'))
    assert read_coco(coco(tmp_path / "coco.json", name='"\\ud83e\\udd89"')).categories == ("🦉",)


@pytest.mark.parametrize(("length", "fits"), [(LONGEST_NAME, True), (LONGEST_NAME + 1, False)])
def test_very_long_names_of_classes(length, fits, tmp_path):
    coco(tmp_path / "coco.json", name=json.dumps("x" * length))
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / "a.png")
    card, options = registry.card("dataset", "coco-json"), {"annotations": "coco.json", "images": "."}
    if fits:
        assert open_dataset(card, tmp_path, options).classes == ("x" * length,)
        return
    with pytest.raises(XaibenchError, match=rf"data set coco-json: the class 'x+'\.\.\. has {length} characters"):
        open_dataset(card, tmp_path, options)


@pytest.mark.parametrize("where", ["class", "image"])
def test_names_of_files_that_are_no_text(where, photos):
    odd = os.fsdecode(b"caf\xe9")
    try:
        (photos / "ape").rename(photos / odd) if where == "class" else (photos / "ape/0.png").rename(
            photos / "ape" / f"{odd}.png"
        )
    except OSError:
        pytest.skip("this file system has names in UTF-8 alone")
    with pytest.raises(XaibenchError, match=r"photos has a photo whose name is not UTF-8: '.*caf\\udce9"):
        open_dataset(registry.card("dataset", "imagefolder"), photos, {})
