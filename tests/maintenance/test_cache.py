"""`xaibench cache`: what it lists with which sizes, what it removes, and what it never touches."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from xaibench.leftovers import DAY, temporary
from xaibench.locks import living, try_lock
from xaibench.maintenance.kept import kept
from xaibench.models.state import save_state
from xaibench.printing import size_text
from xaibench.results.cells import Cell
from xaibench.results.store import Store

CARD = 'title = "t"\ntarget = "m:build"\n[plain]\ndataset = "mini"\nfile = "models/named/weights.safetensors"\n'


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    """A home of this test alone with one of each kind, and a results folder `results`."""
    home = tmp_path / "home"
    monkeypatch.setenv("XAIBENCH_HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path)
    from torch import nn

    for name in ("plain", "named"):
        (home / "models" / name).mkdir(parents=True)
        header = {"model": f"net-{name}", "dataset": "critters"}
        save_state(nn.Linear(2, 2), home / "models" / name / "weights.safetensors", header)
    (home / "models" / "unfinished").mkdir()
    (home / "models" / "unfinished" / "checkpoint.pt").write_bytes(b"x" * 1000)
    for path, size in (("downloads/abc123/model.safetensors", 2000), ("masks/voc2012/slic-1/masks-0.parquet", 300)):
        (home / path).parent.mkdir(parents=True)
        (home / path).write_bytes(b"x" * size)
    (home / "cards" / "models").mkdir(parents=True)
    (home / "cards" / "models" / "mine.toml").write_text(CARD)
    (home / "downloads" / "abc123" / f".model.{'0' * 6}-1-{'0' * 8}.part").write_bytes(b"x" * 50)
    old = time.time() - 2 * DAY
    os.utime(home / "downloads" / "abc123" / f".model.{'0' * 6}-1-{'0' * 8}.part", (old, old))
    temporary(home / "models" / "alive").write_bytes(b"of this process")
    (tmp_path / "tmp" / "xaibench-replay-old").mkdir(parents=True)
    os.utime(tmp_path / "tmp" / "xaibench-replay-old", (old, old))
    store = Store.create("results")
    cell = Cell(
        {"protocol": {"name": "sds"}, "model": {"name": "net"}}, {"name": "ixg", "kind": "method"}, maps="feed" * 4
    )
    store.register([cell])
    (tmp_path / "results" / "maps" / ("feed" * 4)).mkdir(parents=True)
    (tmp_path / "results" / "maps" / ("feed" * 4) / "a.safetensors").write_bytes(b"x" * 700)
    (tmp_path / "results" / "rows" / "a.parquet").write_bytes(b"rows")
    return home


def files(*tops: Path) -> set[Path]:
    return {path for top in tops for path in top.rglob("*") if path.is_file() and path.suffix != ".lock"}


def test_everything_is_listed_with_its_size_and_owner(own, tmp_path):
    found = {(item.kind, item.path.name): item for item in kept(Path("results"))}
    assert found["downloads", "abc123"].size == 2050 and found["maps", "feed" * 4].size == 700
    assert found["maps", "feed" * 4].belongs == "ixg on net"
    assert found["models", "plain"].belongs == "net-plain on critters" and not found["models", "plain"].warning
    assert found["models", "named"].belongs == "model mine: net-named on critters"
    assert "resumes" in found["models", "unfinished"].belongs
    assert found["masks", "slic-1"].belongs == "data set voc2012" and found["cards", "mine.toml"].warning
    leftovers = {name for kind, name in found if kind == "leftovers"}
    assert leftovers == {f".model.{'0' * 6}-1-{'0' * 8}.part", "xaibench-replay-old"}


def test_ls_prints_sums_and_json(own, command):
    status, out, _ = command("cache", "ls")
    assert status == 0 and f"downloads: {size_text(2050)}, fetched again" in out and "never cleared" in out
    value = json.loads(command("cache", "ls", "--json")[1])
    assert sum(item["size"] for item in value["kept"]) == sum(item.size for item in kept(Path("results")))


def test_without_yes_nothing_is_removed(own, command, tmp_path):
    before = files(own, tmp_path / "results", tmp_path / "tmp")
    status, out, _ = command("cache", "clear", "models", "downloads", "masks", "maps", "leftovers")
    assert status == 0 and "would remove" in out and "the model mine has no weights then" in out
    assert "on a GPU with other weights" in out
    assert files(own, tmp_path / "results", tmp_path / "tmp") == before


def test_only_what_is_chosen_goes_and_never_rows_or_cards(own, command, tmp_path):
    before = files(own, tmp_path / "results")
    status, out, _ = command("cache", "clear", "models", "--only", "net-plain*", "--yes")
    assert status == 0 and out.count("removed: ") == 1
    assert before - files(own, tmp_path / "results") == {own / "models" / "plain" / "weights.safetensors"}
    command("cache", "clear", "models", "downloads", "masks", "maps", "leftovers", "--yes")
    left = {path.name for path in files(own, tmp_path / "results")}
    assert {"a.parquet", "mine.toml"} <= left and not {"a.safetensors", "model.safetensors", "masks-0.parquet"} & left
    assert any(name.startswith(".alive.") for name in left), "a file that this process is writing"
    assert not (tmp_path / "tmp" / "xaibench-replay-old").exists()
    assert command("cache", "clear", "models", "maps")[1] == "nothing to remove\n"


@pytest.mark.parametrize("kind", ["rows", "cards", "cells", "everything"])
def test_other_kinds_are_refused(own, command, kind):
    status, _, err = command("cache", "clear", kind, "--yes")
    assert status == 2 and err == (
        f"xaibench: '{kind}' cannot be cleared; what can be: models, downloads, masks, maps, leftovers\n"
    )


@pytest.mark.parametrize("kind", ["models", "masks", "maps", "maps of claims"])
def test_what_a_process_uses_stays(own, command, kind):
    with ExitStack() as held:
        if kind == "models":
            held.enter_context(try_lock(own / "models" / "unfinished", ["training"]))
        elif kind == "masks":
            (own / "masks" / "voc2012" / "slic-1" / "locks").mkdir()
            held.enter_context(try_lock(own / "masks" / "voc2012" / "slic-1" / "locks", ["masks"]))
        else:
            held.enter_context(living(Path("results/locks"), "run-1" if kind == "maps" else "claims-0123456789ab"))
        before = files(own, Path("results"))
        _, out, _ = command("cache", "clear", kind.split()[0], "--only", "*", "--yes")
        assert "kept, in use by a process" in out
        gone = before - files(own, Path("results"))
        assert {path.parent.name for path in gone} == ({"plain", "named"} if kind == "models" else set())
    assert "removed" in command("cache", "clear", kind.split()[0], "--yes")[1]
