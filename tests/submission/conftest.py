"""A submission of made-up scores, as `xaibench submit` packs it, and forgeries of it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.append(str(Path(__file__).parent))  # for `made.py`
from made import packed_in

from xaibench.submission.manifest import FILE, write_submission

SOURCE = "source/plugin_mine.py"


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch) -> None:
    """Locks go to a home of the test."""
    monkeypatch.setenv("XAIBENCH_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def packed(tmp_path_factory) -> SimpleNamespace:
    """Results, and the submission of them as a ZIP file and as a folder, which no test changes."""
    root = tmp_path_factory.mktemp("submission")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XAIBENCH_HOME", str(root / "home"))
        return packed_in(root)


@pytest.fixture(scope="session")
def relisted():
    """relisted(root): a forger's last step, which lists the sums of all files anew."""

    def call(root: Path) -> None:
        old = json.loads((root / FILE).read_text())
        (root / FILE).unlink()
        write_submission(root, old["methods"], old["card"])

    return call


@pytest.fixture
def mine(packed, tmp_path) -> Path:
    """A copy of the submission's folder that a test may change."""
    return Path(shutil.copytree(packed.folder, tmp_path / "mine"))
