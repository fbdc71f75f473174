"""`xaibench doctor`: what it finds, and when it ends with 1."""

from __future__ import annotations

import json
import platform
from importlib import metadata

import pytest
import torch

import xaibench
from xaibench.maintenance import doctor


def findings(out="results") -> dict[str, doctor.Finding]:
    from pathlib import Path

    return {item.name: item for item in doctor.examine(Path(out))}


def test_versions_are_those_that_are_installed_and_ranges_those_of_the_package(home):
    found = findings()
    assert found["python"].text.startswith(platform.python_version())
    assert found["torch"].text.startswith(metadata.version("torch")) and ">=" in found["torch"].text
    assert found["xaibench"].text == xaibench.__version__
    required = [text for text in metadata.requires("xaibench") if "extra" not in text]
    assert sum(item.group == "versions" for item in found.values()) == len(required) + 2


@pytest.mark.parametrize(("have", "sound"), [("2.14.1", True), ("2.4.0", False), ("2.15.0.dev1", True), (None, False)])
def test_a_package_out_of_range_or_missing_is_a_problem_with_the_command(home, monkeypatch, have, sound):
    from packaging.requirements import Requirement

    def version(name: str) -> str:
        if have is None:
            raise metadata.PackageNotFoundError(name)
        return have

    monkeypatch.setattr(doctor, "_requirements", lambda: (">=3.11", [Requirement("torch>=2.6")]))
    monkeypatch.setattr(doctor.metadata, "version", version)
    item = findings()["torch"]
    assert (item.state == "ok") == sound and (sound or item.advice == "python -m pip install 'torch>=2.6'")
    assert doctor.is_sound([item]) == sound


def test_python_out_of_range_is_a_problem(home, monkeypatch):
    monkeypatch.setattr(doctor, "_requirements", lambda: (">=4", []))
    assert findings()["python"].state == "problem"


def test_an_extra_is_installed_when_all_of_it_is(home, monkeypatch):
    from packaging.requirements import Requirement

    required = [Requirement("torch; extra == 'bcos'"), Requirement("no-such-package>=1; extra == 'clip'")]
    monkeypatch.setattr(doctor, "_requirements", lambda: (">=3.11", required))
    monkeypatch.setattr(doctor, "_extra_names", lambda one: ["bcos"] if one.name == "torch" else ["clip"])
    found = findings()
    assert found["bcos"].state == "ok" and found["clip"].state == "missing"
    assert found["clip"].advice == "python -m pip install 'xaibench[clip]'" and "no-such-package" in found["clip"].text


def test_folders_that_cannot_be_written_are_problems(home, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    assert findings(tmp_path / "file")["results"].state == "problem"
    assert findings(tmp_path / "new" / "deep")["results"].state == "ok" and not (tmp_path / "new").exists()
    assert findings(tmp_path)["locks in results"].text == "work"
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "nothing is left"
    monkeypatch.setattr(doctor, "excludes", lambda *_: False)
    assert findings(tmp_path)["locks in results"].state == "missing"


def test_without_a_home_the_rest_is_still_said(monkeypatch, tmp_path):
    for name in ("XAIBENCH_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pathlib.Path.home", classmethod(lambda cls: (_ for _ in ()).throw(RuntimeError("no home"))))
    found = findings(tmp_path)
    assert found["home"].state == "problem" and "XAIBENCH_HOME" in found["home"].text and found["results"].state == "ok"


def test_data_sets_and_weights(home):
    found = findings()
    assert found["mini"].text == "40 images" and "voc2012" in found["photos"].text
    assert found["cpu"].text.split(", ")[1].startswith(f"{torch.get_num_threads()} threads")


def test_the_command_ends_with_1_where_there_is_a_problem(command, home, tmp_path):
    status, out, err = command("doctor")
    assert (status, err) == (0, "") and out.endswith("no problems\n") and "  ok torch " in out
    (tmp_path / "file").write_text("")
    status, out, err = command("doctor", "--out", "file")
    assert status == 1 and err == "" and "!! results" in out and out.endswith("1 problem\n")
    status, out, _ = command("doctor", "--out", "file", "--json")
    value = json.loads(out)
    assert status == 1 and value["sound"] is False
    assert [item["name"] for item in value["findings"] if item["state"] == "problem"] == ["results"]
