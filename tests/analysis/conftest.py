"""A small results folder with made-up scores, built through the public interface only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xaibench.results.cells import Cell
from xaibench.results.manifest import RunManifest
from xaibench.results.schema import row_table
from xaibench.results.store import Store

PROTOCOL = {"name": "idsds", "version": 1, "label": "idsds · grid 4, zero baseline, label, logit",
            "settings": {"grid": 4}, "range": [-1, 1], "undefined_cost": 0.0, "higher_is_better": True}  # fmt: skip


def make_context(model: str = "resnet50", **protocol) -> dict:
    return {
        "protocol": PROTOCOL | protocol,
        "model": {"name": model, "label": f"{model} (aligned)"},
        "weights": {"kind": "aligned", "digest": "ab12"},
        "dataset": {"name": "critters", "version": 1, "label": "critters (64 px)"},
        "profile": {"name": "quick"},
        "seed": 0,
        "precision": "float32",
    }


def make_cell(name: str, kind: str = "method", source: str = "1", context: dict | None = None) -> Cell:
    return Cell(context or make_context(), {"name": name, "version": 1, "source": source, "kind": kind})


def make_rows(cell: Cell, scores: dict[str, float | str], **columns) -> dict:
    """Columns for `row_table`; a score that is a word is the status of an undefined one."""
    values = list(scores.values())
    return {
        "cell": cell.key, "image_id": list(scores), "image_digest": [f"d-{name}" for name in scores], "target": 1,
        "unit": "image", "metric": "idsds", "prediction": 1, "protocol": "idsds", "dataset": "critters",
        "model": cell.context["model"]["name"], "method": cell.method["name"],
        "score": [None if isinstance(value, str) else value for value in values],
        "status": [value if isinstance(value, str) else "ok" for value in values],
    } | columns  # fmt: skip


def make_table(cell: Cell, scores: dict[str, float | str], **columns):
    return row_table(make_rows(cell, scores, **columns))


def image_ids(count: int) -> list[str]:
    return [f"{index:03d}.png" for index in range(count)]


def record(store: Store, cells: list[Cell], scores: list[dict], images: list[str], status="complete", **fields):
    store.register(cells)
    run = RunManifest("xaibench run idsds --model resnet50", protocols=["idsds"], cells=[cell.key for cell in cells],
                      boards=sorted({cell.board for cell in cells}),
                      images={"list": store.save_list(images), "count": len(images)}, **fields)  # fmt: skip
    for cell, values in zip(cells, scores, strict=True):
        if values:
            store.append(row_table(make_rows(cell, values)))
    run.finish(status)
    run.save(store)
    return run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "results")


@pytest.fixture
def random_scores():
    """(images, methods) correlated scores, as of methods judged on the same images."""
    rng = np.random.default_rng(7)
    image = rng.normal(size=(60, 1))
    return 0.3 + 0.1 * np.arange(5) / 5 + 0.2 * (image + 0.5 * rng.normal(size=(60, 5)))


@pytest.fixture(scope="session")
def kit():
    """The builders above, for tests; a fixture, since test folders are no packages."""
    from types import SimpleNamespace

    return SimpleNamespace(
        context=make_context, cell=make_cell, rows=make_rows, table=make_table, ids=image_ids, record=record
    )
