"""Results folders with made-up scores, built through the public interface, and published folders of them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from xaibench import registry
from xaibench.publication.api import publish
from xaibench.results.cells import Cell
from xaibench.results.manifest import RunManifest
from xaibench.results.maps import MapStore
from xaibench.results.schema import row_table
from xaibench.results.store import Store

METHODS = {"ig": "method", "rise": "method", "grad-cam": "method", "random": "control"}


def make_context(model: str = "resnet18", protocol: str = "idsds", **more) -> dict:
    """A context as runs store it, with the installed versions of its cards."""
    card = registry.card("protocol", protocol)
    return {
        "protocol": {"name": protocol, "version": card.version, "settings": {"grid": 4}, "metric": card.metric,
                     "range": list(card.range), "undefined_cost": card.undefined_cost,
                     "higher_is_better": card.higher_is_better, "label": f"{protocol} (grid 4)"},
        "dataset": {"name": "critters", "version": 1, "settings": {"split": "test", "count": 5000, "rule": "redundant"},
                    "geometry": {"resize": 64, "crop": 64}, "label": "critters (64 px)"},
        "model": {"name": model, "version": 1, "label": f"{model} (aligned)"},
        "weights": {"digest": f"d{model}", "label": "aligned"},
        "profile": {"name": "quick", "overrides": {"steps": 16}},
        "seed": 0,
        "precision": "float32",
    } | more  # fmt: skip


def make_cells(context: dict, methods: dict[str, str] = METHODS) -> list[Cell]:
    return [
        Cell(context, {"name": name, "version": registry.card("method", name).version, "parameters": {}, "kind": kind})
        for name, kind in methods.items()
    ]


def image_ids(count: int) -> list[str]:
    return [f"test/{number:06d}" for number in range(count)]


def make_rows(cell: Cell, images: list[str], seed: int = 0, digests: list[str] | None = None) -> dict:
    """Columns of rows; the third image has an undefined map for every method but one."""
    scores = np.random.default_rng([seed, int(cell.key, 16) % 2**32]).uniform(-1, 1, len(images))
    broken = [number == 2 and cell.method["name"] != "ig" for number in range(len(images))]
    context = cell.context
    return {
        "cell": cell.key, "image_id": images, "image_digest": digests or [f"d-{image}" for image in images],
        "target": 1, "unit": "image", "metric": context["protocol"]["metric"], "prediction": 1, "label": 1,
        "correct": True, "protocol": context["protocol"]["name"], "dataset": "critters",
        "model": context["model"]["name"], "method": cell.method["name"],
        "score": [None if bad else score for bad, score in zip(broken, scores, strict=True)],
        "status": ["undefined-map" if bad else "ok" for bad in broken],
    }  # fmt: skip


def add_run(
    root: Path, cells: list[Cell], images: list[str], *, keep: int = 0, status: str = "complete",
    digests: list[str] | None = None, rows: list[str] | None = None, seed: int = 0, **fields,
) -> RunManifest:  # fmt: skip
    """A run of some cells in the results folder; keep: of how many images maps are kept; rows: the images with rows."""
    store = Store.create(root)
    store.register(cells)
    about = dict(zip(images, digests or [f"d-{image}" for image in images], strict=True))
    done = images if rows is None else rows
    for cell in cells:
        store.append(row_table(make_rows(cell, done, seed, [about[image] for image in done])))
        if keep:
            maps = torch.arange(keep * 16, dtype=torch.float32).reshape(keep, 1, 4, 4) / 7
            targets = torch.ones(keep, dtype=torch.int64)
            MapStore(root).save(cell.key, images[:keep], targets, maps, [about[image] for image in images[:keep]])
    fields = {"command": f"xaibench run idsds --images {len(images)} --out {root}", "device": "cpu",
              "arithmetic": "ieee"} | fields  # fmt: skip
    run = RunManifest(
        protocols=["idsds"], cells=[cell.key for cell in cells], boards=sorted({cell.board for cell in cells}),
        images={"list": store.save_list(images), "count": len(images)}, precision="float32", **fields,
    )  # fmt: skip
    run.finish(status)
    run.save(store)
    return run


@pytest.fixture(scope="session")
def kit():
    """The builders above, for tests; a fixture, since test folders are no packages."""
    return SimpleNamespace(context=make_context, cells=make_cells, ids=image_ids, rows=make_rows, run=add_run)


@pytest.fixture(scope="session")
def earlier_format():
    """earlier_format(root): makes a board folder one of the format before `SHA256SUMS`, in place."""

    def change(root: Path) -> None:
        index = json.loads((root / "board.json").read_text())
        assert not index.pop("withdrawn_comparisons")
        (root / "board.json").write_text(json.dumps(index | {"format_version": 1}))
        (root / "SHA256SUMS").unlink()

    return change


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch) -> None:
    """Locks of publishing go to a home of the test."""
    monkeypatch.setenv("XAIBENCH_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def results(tmp_path_factory) -> Path:
    """A results folder that no test changes: two models under one protocol, 12 images, maps of the first three."""
    root = tmp_path_factory.mktemp("published") / "results"
    for model in ("resnet18", "vgg16"):
        add_run(root, make_cells(make_context(model)), image_ids(12), keep=3, command=f"xaibench run "
                f"idsds --model {model} --images 12 --keep-maps")  # fmt: skip
    return root


@pytest.fixture(scope="session")
def board(results) -> Path:
    """The board folder of `results`, which no test changes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XAIBENCH_HOME", str(results.parent / "home"))
        publish(results, results.parent / "board")
    return results.parent / "board"
