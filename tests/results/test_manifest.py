from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from datetime import datetime
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from xaibench.errors import XaibenchError
from xaibench.files import plain
from xaibench.provenance import PACKAGES, command_line, own_commit, package_versions, source_commit
from xaibench.results.manifest import RunManifest, finish_command, load_runs


def test_a_manifest_is_read_back(store):
    run = RunManifest("xaibench run idsds", protocols=["idsds"], cells=["0" * 16], training={"loss": float("nan")},
                      accuracy={"correct": np.int64(3), "images": 4})  # fmt: skip
    run.finish("complete")
    text = run.save(store).read_text()
    content = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} in JSON"))
    assert content["training"] == {"loss": None}
    assert content["accuracy"] == {"correct": 3, "images": 4}
    assert content["versions"]["pyarrow"]
    (again,) = load_runs(store)
    assert again == run or again.training == {"loss": None}
    assert finish_command(again) == "xaibench run idsds"
    assert again.seconds >= 0
    assert datetime.fromisoformat(again.finished) >= datetime.fromisoformat(again.started)


def test_runs_come_oldest_first_and_have_different_names(store):
    runs = [RunManifest("c", started=f"2026-01-0{day}T00:00:00+00:00") for day in (3, 1, 2)]
    for run in runs:
        run.save(store)
    assert [run.started[9] for run in load_runs(store)] == ["1", "2", "3"]
    assert len({run.run for run in runs}) == 3


def test_unknown_status_and_alien_files(store):
    with pytest.raises(ValueError, match="status"):
        RunManifest("c").finish("done")
    (store.root / "runs" / "x.json").write_text("{}")
    with pytest.raises(XaibenchError, match=r"x.json is not the record of a run"):
        load_runs(store)
    (store.root / "runs" / "x.json").write_text("{")
    with pytest.raises(XaibenchError, match=r"x.json is no JSON"):
        load_runs(store)


def test_fields_of_a_newer_xaibench_are_left_out(store):
    path = RunManifest("c").save(store)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"energy": 3}))
    assert load_runs(store)[0].command == "c"


def test_command_line_is_quoted():
    assert command_line(["/x/__main__.py", "run", "sds", "--out", "a b"]) == "xaibench run sds --out 'a b'"


def test_commit_is_that_of_git():
    checkout = Path(__file__).parents[2]
    head = subprocess.run(["git", "-C", checkout, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if not (checkout / ".git").exists() or head.returncode:
        assert own_commit() is None
    else:
        assert own_commit().removesuffix("-dirty") == head.stdout.strip()


def test_versions_are_those_of_the_metadata(tmp_path, monkeypatch):
    """Also where a description has a line like that of the version, and of a package without `METADATA`."""
    found = package_versions()
    assert found.pop("python") == platform.python_version() and found
    assert found == {name: metadata.version(name) for name in found} and set(found) <= set(PACKAGES)
    head = "Metadata-Version: 2.1\nName: timm\n"
    for folder, text in {
        "timm-9.dist-info/METADATA": f"{head}Version: 9.1+x\n\nVersion: 7\n",
        "captum.egg-info/PKG-INFO": "Metadata-Version: 2.1\nName: captum\nVersion: 8\n",
        "scipy-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: scipy\n\nVersion: 7\n",
    }.items():
        (tmp_path / folder).parent.mkdir()
        (tmp_path / folder).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    first = package_versions()
    assert (first["timm"], first["captum"], first["scipy"]) == ("9.1+x", "8", None)


def test_looking_for_the_commit_writes_nothing_in_the_checkout(tmp_path):
    def git(*words: str) -> None:
        own = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", "-C", tmp_path, *own, *words], check=True, capture_output=True)

    if not shutil.which("git"):
        pytest.skip("no git")
    (tmp_path / "code.py").write_text("1")
    git("init")
    git("add", "code.py")
    git("commit", "-m", "one")
    os.utime(tmp_path / "code.py", (1, 1))  # git would note the new time in its index
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    commit = source_commit(tmp_path)
    assert len(commit) == 40
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    (tmp_path / "code.py").write_text("2")
    assert source_commit(tmp_path) == f"{commit}-dirty"


def test_plain_refuses_what_json_has_no_word_for():
    assert plain({"a": (1, np.float32(0.5), np.float64("inf"), Path("x/y"))}) == {"a": [1, 0.5, None, "x/y"]}
    with pytest.raises(TypeError, match="cannot be stored"):
        plain({1, 2})


MOVED = [
    ("xaibench run sds", "xaibench run sds --out moved"),
    ("xaibench run sds --out old --images 4", "xaibench run sds --images 4 --out moved"),
    ("xaibench run sds --out='a b' --quiet", "xaibench run sds --quiet --out moved"),
    ("xaibench run sds --out moved --quiet", "xaibench run sds --out moved --quiet"),
    ("xaibench run sds; rm -rf x", "xaibench run 'sds;' rm -rf x --out moved"),
    ("xaibench run $(x) `y` | z > a", "xaibench run '$(x)' '`y`' '|' z '>' a --out moved"),
    ("xaibench run sds --out", "xaibench run sds --out moved"),
    ("rm -rf x", "# no command of xaibench is recorded"),
    ("xaibench run 'sds", "# no command of xaibench is recorded"),
    ("", "# no command of xaibench is recorded"),
]


@pytest.mark.parametrize(("recorded", "command"), MOVED)
def test_a_recorded_command_goes_into_the_folder_where_it_was_found_and_does_nothing_else(recorded, command):
    """Folders are moved, and come from others: what a person copies into a shell is one command of xaibench."""
    assert finish_command(RunManifest(recorded), Path("moved")) == command


def test_a_folder_that_was_not_moved_keeps_its_command(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert finish_command(RunManifest("xaibench run sds"), tmp_path / "results") == "xaibench run sds"
