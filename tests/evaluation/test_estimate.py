"""`run --dry-run`: what it says a run takes is what the run then takes; and nothing is written."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

import xaibench
from xaibench.errors import XaibenchError
from xaibench.evaluation import disk
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.estimate import estimate_config

pytestmark = pytest.mark.process  # whole runs: not in the fast tier

WORDS = {
    "model": "tiny",
    "dataset": "mini",
    "images": 20,
    "batch_size": 4,
    "out": Path("results"),
    "weights": "aligned",
}


def estimate(protocols, methods, **changes):
    return estimate_config(RunConfig(protocols=protocols, methods=methods, **WORDS | changes))


def run(protocols, methods, **changes):
    return xaibench.run(protocols, methods=methods, quiet=True, **WORDS | changes)


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


def test_passes_disk_and_what_is_stored_are_those_of_the_run(home):
    """The run counts its passes by hooks and writes its files; the estimate saw 9 of its 20 images."""
    protocols, methods = ("ids", "sds"), ("ixg", "grad-cam", "rise", "random")
    first = run(("ids",), ("ixg",), images=8, keep_maps=True)  # trains, and stores eight images of one job
    before = files(home) | files(Path("results"))
    found = estimate(protocols, methods, keep_maps=True)
    assert (found.jobs, found.images, found.results, found.stored) == (8, 20, 160, 8)
    assert files(home) | files(Path("results")) == before
    rows, maps = bytes_in(Path("results") / "rows"), bytes_in(Path("results") / "maps")
    results = run(protocols, methods, keep_maps=True)
    assert results.computed == found.total.images == 20 and first.computed == 8
    assert found.total.forward_equivalents == pytest.approx(results.manifest.forward_equivalents * 20)
    assert found.total.rows == len(results.rows) - len(first.rows)
    assert found.total.map_bytes == pytest.approx(bytes_in(Path("results") / "maps") - maps, rel=0.05)
    assert found.row_bytes / 2 < bytes_in(Path("results") / "rows") - rows < 2 * found.row_bytes
    again = estimate(protocols, methods, keep_maps=True)
    assert (again.stored, again.total.images, again.disk) == (160, 0, 0)


def test_a_fit_to_held_out_images_is_part_of_it(home):
    settings = {"threshold": "fit", "held_out": 6}
    found = estimate(("box-iou",), ("ixg", "grad-cam"), settings=settings, weights="plain", images=8, out=Path("fit"))
    results = run(("box-iou",), ("ixg", "grad-cam"), settings=settings, weights="plain", images=8, out="fit")
    assert found.fitting.forward_equivalents > 0
    assert found.total.forward_equivalents == pytest.approx(results.manifest.forward_equivalents * 8)


def test_weights_that_would_be_trained_are_said_and_nothing_is_written(untrained_home, monkeypatch, tmp_path, command):
    monkeypatch.setenv("XAIBENCH_HOME", str(untrained_home))
    monkeypatch.syspath_prepend(str(untrained_home))
    monkeypatch.chdir(tmp_path)
    before = files(untrained_home)
    status, out, err = command(
        "run", "sds", "--model", "tiny", "--dataset", "mini", "--methods", "ixg", "--dry-run", "--keep-maps"
    )
    assert (status, err) == (0, "") and files(untrained_home) == before and not list(tmp_path.iterdir())
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert "trains plain tiny on mini" in lines["first"] and "2 epochs of 48 images" in lines["first"]
    assert lines["results"].startswith("8 (1 jobs, 8 images), 0 of them stored")
    assert " of maps (kept)" in lines["disk"] and "timed images" in lines["time"] and "free" in lines["memory"]


def test_maps_that_do_not_fit_are_refused_before_the_run(home, monkeypatch, command):
    run(("sds",), ("ixg",), images=8, keep_maps=True)
    words = ("run", "sds", "--model", "tiny", "--dataset", "mini", "--batch-size", "4", "--keep-maps")
    words += ("--weights", "aligned")
    free = (12 + 20) * 32 * 32 * 4  # maps of 32 x 32 float32: what ixg and saliency lack
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: usage(1 << 40, 0, free))
    status, _, err = command(*words, "--methods", "ixg,saliency", "--images", "20")
    assert status == 0, f"eight maps of ixg are there already: {err}"
    status, out, err = command(*words, "--methods", "rise,ig", "--images", "20", "--out", "new")
    assert status == 2 and err.count("\n") == 1 and "does not fit on the disk" in err and "164 kB" in err
    assert not list((Path("new") / "runs").iterdir()) and not out
    _, out, _ = command(*words, "--methods", "rise,ig", "--images", "20", "--out", "new", "--dry-run")
    assert out.splitlines()[-1].startswith("does not fit: ")
    assert run(("sds",), ("rise",), images=20, out="new").computed == 20, "without --keep-maps it fits"


def test_a_trace_is_of_two_batches_and_is_no_part_of_a_dry_run(home, command):
    import gzip
    import json

    words = ("run", "ids", "--model", "tiny", "--dataset", "mini", "--batch-size", "4", "--quiet")
    words += ("--methods", "ixg,random", "--images", "16")
    status, _, err = command(*words, "--profile-trace", "trace.json.gz")
    assert status == 0 and "trace of 2 batches" in err
    with gzip.open("trace.json.gz") as file:
        events = json.load(file)["traceEvents"]
    marks = [event["name"] for event in events if event.get("cat") == "user_annotation"]
    assert [marks.count(name) for name in ("ids", "ixg", "ixg under ids", "random", "random under ids")] == [2] * 5
    assert any(event["name"] == "aten::conv2d" and event["dur"] > 0 for event in events if event.get("cat") == "cpu_op")
    for bad, text in (("t.txt", "ends in .json"), ("no/t.json", "cannot be written")):
        status, _, err = command(*words, "--profile-trace", bad)
        assert status == 2 and text in err
    status, _, err = command(*words, "--profile-trace", "t.json", "--dry-run")
    assert status == 2 and "leave out one" in err
    shutil.copy("trace.json.gz", "out")
    with pytest.raises(XaibenchError, match="is a file"):
        estimate(("ids",), ("ixg",), out=Path("out"))
