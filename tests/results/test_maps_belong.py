"""A kept map is taken only for what it was made for: the right values under another name are no map of that."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from xaibench.results.maps import MapIndex, MapStore, faults

KEY, OTHER = "0" * 16, "1" * 16
IDS, TARGETS, DIGESTS = ["a", "b"], torch.tensor([3, 5]), ["da", "db"]
WANTED = {"a#3": "da", "b#5": "db"}


@pytest.fixture
def file(tmp_path) -> Path:
    """A file with two maps (4, 6) under KEY."""
    maps = torch.arange(48.0).view(2, 1, 4, 6)
    return MapStore(tmp_path).save(KEY, IDS, TARGETS, maps, DIGESTS)


def found(file: Path, key: str = KEY) -> set[str]:
    """The names of the maps that a run would take."""
    index = MapIndex(MapStore(file.parents[2]), {"cell": key})
    index.refresh()
    return set(index.load(key, WANTED))


def rewrite(file: Path, change) -> None:
    """Writes a file anew, with other maps and digests by name."""
    with safe_open(file, framework="pt") as opened:
        maps, sums = {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata()  # noqa: SIM118
    maps, sums = change(maps, sums)
    save_file({name: m.contiguous() for name, m in maps.items()}, file, sums)


def test_what_was_stored_is_found(file):
    assert found(file) == {"a#3", "b#5"} and list(faults(file)) == []


def test_maps_under_the_key_of_another_method_are_none(file):
    shutil.copytree(file.parent, file.parents[1] / OTHER)
    copy = file.parents[1] / OTHER / file.name
    assert found(file, OTHER) == set() and found(file) == {"a#3", "b#5"}
    assert len(list(faults(copy))) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda maps, sums: ({"a#3": maps["b#5"], "b#5": maps["a#3"]}, {"a#3": sums["b#5"], "b#5": sums["a#3"]}),
        lambda maps, sums: ({name: m.reshape(6, 4) for name, m in maps.items()}, sums),
        lambda maps, sums: ({name: m.view(torch.int32).view(torch.float32) + 0.5 for name, m in maps.items()}, sums),
        lambda maps, sums: (maps, {name: f"other {found.split()[1]}" for name, found in sums.items()}),
    ],
    ids=["pairs that changed names", "another shape", "other values", "another image"],
)
def test_maps_that_were_stored_as_something_else_are_none(change, file):
    rewrite(file, change)
    assert found(file) == set() and len(list(faults(file))) == 2
