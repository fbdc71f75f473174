"""A submission of made-up scores, as `xaibench submit` packs it, and forgeries of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from xaibench import registry
from xaibench.datasets.open import open_dataset
from xaibench.results.cells import Cell
from xaibench.results.manifest import RunManifest
from xaibench.results.schema import row_table
from xaibench.results.store import Store
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


def context() -> dict:
    """A context as runs store it."""
    card, data = registry.card("protocol", "idsds"), registry.card("dataset", "critters")
    return {
        "protocol": {"name": "idsds", "version": card.version, "source": "", "settings": {"grid": 4},
                     "metric": card.metric, "range": list(card.range), "undefined_cost": card.undefined_cost,
                     "higher_is_better": card.higher_is_better, "label": "idsds (grid 4)"}
        | ({"further": {k: m.model_dump(mode="json") for k, m in card.further.items()}} if card.further else {}),
        "dataset": {"name": "critters", "version": data.version, "source": "", "settings": dict(data.parameters),
                    "geometry": data.geometry.key_fields, "label": "critters (64 px)"},
        "model": {"name": "resnet18", "version": registry.card("model", "resnet18").version, "source": ""},
        "weights": {"kind": "plain", "digest": "d0"}, "profile": {"name": "quick", "overrides": {}},
        "seed": 0, "precision": "float32",
    }  # fmt: skip


def make(root: Path, plugin: Path, count: int = 8) -> None:
    """A results folder of three methods: that of the plug-in, one of xaibench, and a control."""
    store = Store.create(root)
    images = open_dataset(registry.card("dataset", "critters"), None, {}).image_list(count)
    parts = [{"name": "mine", "version": 1, "parameters": {}, "transform": "raw", "source": file_source(plugin),
              "kind": "method"}]  # fmt: skip
    for name in ("ixg", "random"):
        card = registry.card("method", name)
        parts.append({"name": name, "version": card.version, "parameters": dict(card.parameters),
                      "transform": card.transform, "source": "", "kind": card.role})  # fmt: skip
    cells = [Cell(context(), part) for part in parts]
    store.register(cells)
    for number, cell in enumerate(cells):
        scores = np.random.default_rng(number).uniform(-1, 1, count)
        store.append(row_table({
            "cell": cell.key, "image_id": images, "image_digest": [f"d{image}" for image in images], "target": 1,
            "unit": "image", "metric": cell.context["protocol"]["metric"], "prediction": 1, "label": 1,
            "correct": True, "protocol": "idsds", "dataset": "critters", "model": "resnet18",
            "method": cell.method["name"], "score": scores, "status": "ok",
        }))  # fmt: skip
    run = RunManifest(
        "xaibench run idsds --model resnet18", protocols=["idsds"], cells=[cell.key for cell in cells],
        boards=[cells[0].board], images={"list": store.save_list(images), "count": count}, precision="float32",
        config={"protocols": ["idsds"], "model": "resnet18"}, device="cpu", arithmetic="ieee",
    )  # fmt: skip
    run.finish("complete")
    run.save(store)


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
        make(root / "results", root / "plugin_mine.py")
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
