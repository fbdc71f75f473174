"""Keys of result cells, pinned exactly: no change of the code may move one.

What is stored under a key is never found again once the key moves, and results are then computed anew. Keys therefore
only move by a decision written in docs/results.md; `python tests/golden/record.py keys` writes keys.json again.

The key of a method of another package holds that package's version. Where another version is installed than the one
that keys.json was written with, its key is compared as if that version were installed.
"""

from __future__ import annotations

import json
from importlib.metadata import version

import cases
import pytest

import xaibench

PINNED = json.loads((cases.HERE / "keys.json").read_text())


@pytest.mark.parametrize("case", cases.KEYS)
def test_keys_are_the_pinned_ones(case, golden_home, tmp_path):
    found = cases.cells_of(case, golden_home, tmp_path / "results")
    assert list(found) == list(PINNED[case]), "methods and protocols, in the order of the run"
    for name, cell in found.items():
        wanted, source = PINNED[case][name], (cell["method"] or {}).get("source", "")
        assert cases.key_by_hand(cell) == cell["key"], name
        assert cases.board_by_hand(cell) == cell["board"], name
        assert cell["board"] == wanted["board"], name
        if "source" in wanted:
            attribute, package, installed, _ = source.split()
            assert [attribute, package] == wanted["source"].split()[:2] and installed == version(package), name
        assert cases.key_by_hand(cell, wanted.get("source")) == wanted["cell"], name


def test_every_case_is_pinned_and_nothing_else():
    assert list(PINNED) == list(cases.KEYS)


def test_every_protocol_is_pinned(command):
    status, listed, error = command("ls", "protocols")
    assert status == 0, error
    pinned = {name.partition("/")[0] for case in PINNED.values() for name in case}
    assert pinned - {"golden-mass"} == set(listed.split())


@pytest.mark.slow
def test_the_command_line_gives_the_same_keys(golden_home, command, tmp_path):
    """The main job as it is typed, with fixed weights in the place of those that it would train."""
    weights = cases.main_weights(golden_home)
    words = ("--weights", weights, "--plugin", cases.STOP, "--device", "cpu", "--batch-size", 1, "--quiet")
    status, _, error = command("run", "idsds", "--model", "resnet50", *words)
    assert status == 130 and "interrupted" in error, error
    found = cases.registered(tmp_path / "results")
    assert {name: cases.pinned(cell) for name, cell in found.items()} == PINNED["main job"]


def test_options_of_the_command_line_give_the_same_keys(golden_home, command, tmp_path):
    weights = golden_home / "weights" / "tiny.safetensors"
    status, _, error = command(
        "run", "sds", "--model", "golden_tiny", "--weights", weights, "--cards", cases.CARDS, "--image-size", 32,
        "--methods", f"{cases.STOPPED},ixg,random", "--grid", 2, "--baseline", "random", "--target", "prediction",
        "--attribution-output", "probability", "--drop-output", "probability", "--plugin", cases.STOP,
        "--device", "cpu", "--quiet",
    )  # fmt: skip
    assert status == 130, error
    found = cases.registered(tmp_path / "results")
    assert {name: cases.pinned(cell) for name, cell in found.items()} == PINNED["settings"]


def test_what_a_run_returns_names_its_keys(golden_home, tmp_path):
    words = cases.SMALL | {"weights": str(golden_home / "weights" / "tiny.safetensors")}
    results = xaibench.run("sds,epg", **words, methods="ixg,random", images=1, out="results", device="cpu", quiet=True)
    pinned = PINNED["several protocols"]
    names = [f"{protocol}/{method}" for protocol in ("sds", "epg") for method in ("ixg", "random")]
    assert results.cells == [pinned[name]["cell"] for name in names] == results.manifest.cells
    assert results.boards == {protocol: pinned[f"{protocol}/ixg"]["board"] for protocol in ("sds", "epg")}
    assert results.path.resolve() == (tmp_path / "results").resolve()
    assert results.leaderboard("epg").board == pinned["epg/ixg"]["board"]
    assert set(results.rows["cell"]) == set(results.cells)
