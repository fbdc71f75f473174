"""Rows as an engine would hand them over."""

from __future__ import annotations

import pytest

from xaibench.results.cells import Cell
from xaibench.results.store import Store


def make_cell(name: str = "ig", seed: int = 0, **protocol) -> Cell:
    context = {
        "protocol": {"name": "idsds", "version": 1, "range": [-1, 1]} | protocol,
        "dataset": {"name": "critters"},
        "model": {"name": "resnet50"},
        "seed": seed,
    }
    return Cell(context, {"name": name, "version": 1})


def make_row(cell: Cell, image: str, score: float | None = 0.5, **columns) -> dict:
    return {
        "cell": cell.key, "image_id": image, "image_digest": f"d-{image}", "target": 1, "unit": "image",
        "metric": "idsds", "score": score, "status": "ok", "prediction": 1, "label": 1, "correct": True,
        "protocol": "idsds", "dataset": "critters", "model": "resnet50", "reference_model": None,
        "method": cell.method["name"],
    } | columns  # fmt: skip


@pytest.fixture
def cell() -> Cell:
    return make_cell()


@pytest.fixture
def row():
    return make_row


@pytest.fixture
def new_cell():
    return make_cell


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.create(tmp_path / "results")
