"""A home for the golden tests: fixed weights, so that keys are the same on every machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the modules beside this file, which record.py imports too


@pytest.fixture(scope="session")
def golden_files(tmp_path_factory):
    """The folder that `golden_home` makes current; the large weights in it are removed in the end."""
    import cases

    folder = tmp_path_factory.mktemp("golden")
    cases.make_home(folder)
    yield folder
    (folder / "weights" / "resnet50.safetensors").unlink(missing_ok=True)


@pytest.fixture
def golden_home(golden_files, monkeypatch, tmp_path) -> Path:
    """XAIBENCH_HOME with fixed weights, for one test, which runs in an empty working folder."""
    monkeypatch.setenv("XAIBENCH_HOME", str(golden_files))
    monkeypatch.chdir(tmp_path)
    return golden_files
