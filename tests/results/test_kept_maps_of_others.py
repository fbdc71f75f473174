"""Kept maps that are damaged or are no maps: each kind is named by `validate`, is missing work, and stops nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from xaibench.results.maps import MapIndex, MapStore, faults
from xaibench.results.validate import validate

KEY = "0123456789abcdef"
NAMES = ["a#1", "b/c.png#0"]


@pytest.fixture
def kept(store) -> Path:
    """The file of two maps that are kept in a results folder."""
    maps = torch.rand(2, 1, 5, 6, generator=torch.Generator().manual_seed(0))
    return MapStore(store.root).save(KEY, ["a", "b/c.png"], torch.tensor([1, 0]), maps, ["d-a", "d-b"])


def tensors(path: Path, **changed: torch.Tensor) -> None:
    save_file({"a#1": torch.rand(5, 6)} | changed, path)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 64
    path.write_bytes(data)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "cut in its header": lambda path: path.write_bytes(path.read_bytes()[:30]),
    "empty": lambda path: path.write_bytes(b""),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "another format": lambda path: path.write_bytes(b"PAR1" * 100),
    "a header of brackets": lambda path: path.write_bytes((200_000).to_bytes(8, "little") + b"[" * 200_000),
    "a bit of a value": flip,
    "a pipe": fifo,
    "a link to an endless device": link,
    "a folder": folder,
    "a vector": lambda path: tensors(path, **{"b/c.png#0": torch.rand(30)}),
    "a stack": lambda path: tensors(path, **{"b/c.png#0": torch.rand(1, 5, 6)}),
    "nothing": lambda path: tensors(path, **{"b/c.png#0": torch.rand(0, 6)}),
    "whole numbers": lambda path: tensors(path, **{"b/c.png#0": torch.ones(5, 6, dtype=torch.int64)}),
    "booleans": lambda path: tensors(path, **{"b/c.png#0": torch.ones(5, 6, dtype=torch.bool)}),
    "a name without a class": lambda path: tensors(path, **{"b/c.png": torch.rand(5, 6)}),
    "a class of 5000 digits": lambda path: tensors(path, **{"b/c.png#" + "9" * 5000: torch.rand(5, 6)}),
    "a class of other digits": lambda path: tensors(path, **{"b/c.png#٣": torch.rand(5, 6)}),
    "half a digest": lambda path: save_file({"a#1": torch.rand(5, 6)}, path, {"a#1": "d-a"}),
}


def index(store) -> MapIndex:
    found = MapIndex(MapStore(store.root), {KEY: KEY})
    found.refresh()
    return found


def test_sound_maps_are_no_problem(store, kept):
    assert list(faults(kept)) == [] and validate(store.root) == []
    found = index(store)
    assert found.lacks(KEY, NAMES) == [] and found.damaged == []


@pytest.mark.parametrize("how", DAMAGE)
def test_damaged_maps_are_named_and_missing(how, store, kept):
    DAMAGE[how](kept)
    problems = validate(store.root)
    assert {(problem.path, problem.kind) for problem in problems} == {(f"maps/{KEY}/{kept.name}", "map")}
    assert all("\n" not in str(problem) for problem in problems)
    found = index(store)
    lacking = found.lacks(KEY, NAMES)
    assert "b/c.png#0" in lacking and found.damaged == [kept]
    assert all(name in lacking for name in NAMES if name not in found.load(KEY, dict.fromkeys(NAMES, "d-a")))
    shown = MapStore(store.root).find(KEY, ["a", "b/c.png"])  # as galleries do
    assert all(values.shape == (5, 6) for maps in shown.values() for values in maps.values())
