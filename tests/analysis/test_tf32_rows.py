"""Rows that a GPU computed in TF32 and stored as float32: told from others by the record, named, never current."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from xaibench.analysis.across_models import across_models
from xaibench.analysis.boards import TF32_STORED, boards
from xaibench.analysis.leaderboard import open_leaderboard
from xaibench.cli import status
from xaibench.errors import XaibenchError
from xaibench.results.manifest import RunManifest, load_runs

OLD = {"device": "cuda", "precision": "float32"}


@pytest.mark.parametrize(("fields", "old"), [
    (OLD, True), (OLD | {"device": "cuda:1"}, True), (OLD | {"device": "cpu"}, False), (OLD | {"device": None}, False),
    (OLD | {"precision": "bfloat16"}, False), (OLD | {"arithmetic": "ieee"}, False),
    (OLD | {"precision": "tf32", "arithmetic": "tf32"}, False),
])  # fmt: skip
def test_the_record_tells(fields, old, store):
    path = RunManifest("xaibench run sds", **fields).save(store)
    assert load_runs(store)[0].is_tf32_as_float32 == old
    if old:  # as records were written before the field was there
        content = json.loads(path.read_text())
        del content["arithmetic"]
        path.write_text(json.dumps(content))
        assert load_runs(store)[0].is_tf32_as_float32


def fill(kit, store, context, value, started, **fields):
    cells, ids = [kit.cell("ig", context=context), kit.cell("rise", context=context)], kit.ids(4)
    return kit.record(store, cells, [dict.fromkeys(ids, value)] * 2, ids, started=f"2026-01-{started}T00:00:00+00:00",
                      **fields)  # fmt: skip


@pytest.fixture
def both(kit, store):
    """Old rows of a GPU, begun last, beside rows of today's GPU."""
    exact = kit.context() | {"arithmetic": "ieee"}
    fill(kit, store, exact, 0.2, "01", arithmetic="ieee", **OLD)
    fill(kit, store, None, 0.5, "02", **OLD)
    return store


def test_titles_say_so_and_the_board_is_never_current(both):
    first, second = boards(both)
    assert first.context["arithmetic"] == "ieee" and first.title.endswith("seed 0")
    assert second.title == f"{first.title} · {TF32_STORED}" and "TF32 (stored as float32" in TF32_STORED
    shown = open_leaderboard(both, "idsds")
    assert shown.table["mean"].tolist() == [0.2, 0.2] and TF32_STORED not in shown.title
    assert any(TF32_STORED in note for note in shown.notes)
    old = open_leaderboard(both, "idsds", board=second.key)
    assert old.title == second.title and old.table["mean"].tolist() == [0.5, 0.5]


def test_status_prints_the_command_that_makes_them_again(both, kit):
    fill(kit, both, None, 0.5, "03", status="interrupted", **OLD)
    app = typer.Typer()
    app.command("status")(status.command)
    lines = CliRunner().invoke(app, ["--out", str(both.root)]).stdout.splitlines()
    again = f"xaibench run idsds --model resnet50 --out {both.root}"
    assert lines.count(f"  to make it again in float32, on a GPU: {again}") == 1
    assert lines[-1] == "nothing is missing", "they are not completed"


def test_models_are_compared_within_one_arithmetic(both, kit):
    """Float32 of a CPU and of a GPU agree up to rounding; TF32 does not."""
    fill(kit, both, kit.context("vgg16"), 0.3, "04", device="cpu", precision="float32", arithmetic="ieee")
    found = across_models(both, "idsds", comparable=True)
    assert found.models["mean"].tolist() == [0.3, 0.2]
    fill(kit, both, kit.context("alexnet"), 0.7, "05", **OLD)
    found = across_models(both, "idsds", comparable=True, model="*")
    assert sorted(found.models["mean"]) == [0.2, 0.3]
    with pytest.raises(XaibenchError, match="only one model"):
        across_models(both, "idsds", model="alexnet", comparable=True)
