"""A submission of made-up scores, as `xaibench submit` packs it, and forgeries of it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.append(str(Path(__file__).parent))  # for `made.py`
from made import make

from xaibench.cards import MethodCard
from xaibench.evaluation.keys import method_part
from xaibench.sources import file_source
from xaibench.submission.manifest import FILE, write_submission
from xaibench.submission.pack import submit

PLUGIN = '''import xaibench


@xaibench.method("mine")
def mine(evidence):
    """Input times gradient."""
    return evidence.inputs * evidence.gradient()
'''
SOURCE = "source/plugin_mine.py"


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch) -> None:
    """Locks go to a home of the test."""
    monkeypatch.setenv("XAIBENCH_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def packed(tmp_path_factory) -> SimpleNamespace:
    """Results, and the submission of them as a ZIP file and as a folder, which no test changes."""
    root = tmp_path_factory.mktemp("submission")
    (root / "plugin_mine.py").write_text(PLUGIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XAIBENCH_HOME", str(root / "home"))
        card = MethodCard(name="mine", title="", source=file_source(root / "plugin_mine.py"))
        make(root / "results", method_part(card, {}))
        found = submit(root / "results", root / "plugin_mine.py", root / "mine.zip")
        submit(root / "results", root / "plugin_mine.py", root / "mine")
    return SimpleNamespace(root=root, zip=root / "mine.zip", folder=root / "mine", hash=found.hash)


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
