"""Frozen lists of a data set with photos, against the photos; and that a method with a card (.toml) is packed."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parent))  # for `made.py`
from made import context, make

from xaibench import registry
from xaibench.cards import read_card
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError
from xaibench.evaluation.keys import method_part
from xaibench.hashing import content_hash
from xaibench.results.cells import Cell
from xaibench.submission.archive import unpacked
from xaibench.submission.check import check
from xaibench.submission.lists import FrozenLists
from xaibench.submission.pack import submit


@pytest.fixture
def photos(tmp_path):
    """A folder of photos, a cell of them, and the data set's own list."""
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (32, 32), (number, 0, 0)).save(tmp_path / "photos" / name / f"{number}.png")
    card = registry.card("dataset", "imagefolder")
    data = open_dataset(card, tmp_path / "photos", {})
    value = copy.deepcopy(context())
    settings = dict(card.parameters) | {"classes": content_hash(b"cat\ndog")}
    value["dataset"] = {"name": "imagefolder", "version": card.version, "source": "", "settings": settings,
                        "geometry": card.geometry.key_fields, "label": "imagefolder (224 px)"}  # fmt: skip
    return tmp_path / "photos", Cell(value, None), data.image_list()


def test_with_the_photos_a_list_is_compared_as_a_whole(photos):
    root, cell, whole = photos
    frozen = FrozenLists(data_root=root)
    assert not frozen.problem(cell, "x", whole) and not frozen.problem(cell, "x", whole[:4]) and not frozen.notes
    for wrong in (whole[1:], [*whole[:3], *whole[4:]], [*whole, "cat/9.png"][::-1], whole[::-1]):
        assert "frozen list" in frozen.problem(cell, "x", wrong)
    cell.context["dataset"]["settings"]["classes"] = content_hash(b"cat\nfox")
    assert "other classes" in frozen.problem(cell, "x", whole)


def test_without_photos_and_board_what_is_not_known_is_said(photos):
    _, cell, whole = photos
    frozen = FrozenLists()
    assert not frozen.problem(cell, "x", whole[1:]) and "its 9 images of imagefolder" in frozen.notes[0]
    assert "order" in frozen.problem(cell, "x", whole[::-1]) and len(frozen.notes) == 1


@pytest.mark.slow
@pytest.mark.process
def test_a_method_with_a_card_is_packed_and_accepted(tmp_path):
    folder = tmp_path / "cards" / "methods"
    folder.mkdir(parents=True)
    (folder / "my_method.py").write_text("def mine(evidence, steps):\n    return evidence.inputs * steps\n")
    (folder / "mine.toml").write_text('title = "Mine"\ntarget = "my_method.py:mine"\nparameters = { steps = 50 }\n')
    card = read_card("method", folder / "mine.toml")
    make(tmp_path / "results", method_part(card, {"steps": 16}))  # of the profile
    submit(tmp_path / "results", folder / "mine.toml", tmp_path / "mine.zip")
    with unpacked(tmp_path / "mine.zip") as root:
        found = check(root)
    assert not found.problems and found.submission.card == "source/methods/mine.toml"

    make(tmp_path / "others", method_part(card, {"steps": 50}))  # of the card, and not of the profile
    with pytest.raises(XaibenchError, match=r"'parameters' than its card and profile say: .*50.*, not .*16"):
        submit(tmp_path / "others", folder / "mine.toml", tmp_path / "others.zip")
