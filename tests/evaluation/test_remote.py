"""What a process elsewhere refuses to compute: other versions, other data, folders that are not shared, a full disk."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from xaibench.evaluation import remote
from xaibench.evaluation.api import run_config
from xaibench.evaluation.compute import Tally
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.ray_engine import order_of
from xaibench.evaluation.remote import Order, compute
from xaibench.models.state import save_state
from xaibench.results.claims import Claims
from xaibench.results.store import Store

pytestmark = pytest.mark.process


@pytest.fixture
def ordered(home):
    """Makes an order for a run of which nothing is computed."""
    orders = []

    class Nothing:
        tally, fitted = Tally(), {}

        def execute(self, shards):
            return []

    @contextmanager
    def engine(work):
        orders.append(order_of(work, 1, 1.0))
        yield Nothing()

    def call(**fields: object) -> Order:
        fields = {"protocols": "sds", "model": "tiny", "images": 16, "out": "a", "chunk_size": 8} | fields
        run_config(RunConfig.parse(fields | {"batch_size": 4}), quiet=True, engine=engine)
        return orders[-1]

    yield call
    remote.close()


@pytest.fixture
def order(ordered) -> Order:
    """An order for a data set that is drawn."""
    return ordered(dataset="mini", methods="ixg,random")


def stored() -> int:
    return len(Store.open("a").rows())


def test_shards_are_computed_and_counted_once(order):
    first, second = compute(order, [1]), compute(order, [0, 1])
    assert (first.refusal, first.tally.images, first.shards) == (None, 8, 1)
    assert (second.refusal, second.tally.images, second.shards) == (None, 8, 2), "shard 1 is there already"
    assert first.tally.forward_equivalents == second.tally.forward_equivalents > 0
    assert first.tally.costs["ixg"].images == second.tally.costs["ixg"].images == 8
    assert stored() == 32


def test_other_versions_are_refused_by_their_names(order):
    wanted = order.versions | {"torch": "1.0", "elsewhere": "3"}
    refusal = compute(replace(order, versions=wanted), [0]).refusal
    assert f"torch {order.versions['torch']}, not 1.0" in refusal and "elsewhere missing, not 3" in refusal
    assert stored() == 0


def test_weights_that_are_not_there_are_refused_and_not_trained(order):
    """The node has another data set of the same name: its card has another version, so other weights are wanted."""
    card = Path(os.environ["XAIBENCH_HOME"], "cards", "datasets", "mini.toml")
    text = card.read_text()
    try:
        card.write_text("version = 2\n" + text)
        refusal = compute(order, [0]).refusal
    finally:
        card.write_text(text)
    assert stored() == 0
    assert "weights" in refusal and "are not there; share the folder that XAIBENCH_HOME names" in refusal


def test_another_plan_is_refused_by_key(order):
    refusal = compute(replace(order, request=order.request.replace("seed", "x") + "seed = 7\n"), [0]).refusal
    assert any(f"result key {key} of" in refusal for key in order.keys) and "its seed is another here" in refusal
    assert stored() == 0


def test_a_method_that_is_not_here_is_refused_by_key(order):
    refusal = compute(replace(order, request=order.request.replace('"ixg"', '"grad-cam"')), [0]).refusal
    assert "ixg has no result here (key " in refusal and stored() == 0


def test_photos_that_are_not_here_are_refused(ordered, photos, tmp_path):
    from xaibench_test_network import build

    save_state(build(2), tmp_path / "two.safetensors", {})
    weights = str(tmp_path / "two.safetensors")
    order = ordered(dataset="imagefolder", data_root=photos, weights=weights, methods="ixg", images=4)
    photos.rename(tmp_path / "elsewhere")
    refusal = compute(order, [0]).refusal
    assert str(photos) in refusal and len(refusal.splitlines()) == 1 and stored() == 0
    (tmp_path / "elsewhere").rename(photos)
    assert compute(order, [0]).refusal is None and stored() == 4


def test_folders_that_are_not_shared_are_refused(order, tmp_path):
    assert "the working folder /nowhere is not there" in compute(replace(order, folder="/nowhere"), [0]).refusal
    other = order.request.replace(f'"{tmp_path / "a"}"', f'"{tmp_path / "other"}"')
    assert other != order.request
    assert f"no results in {tmp_path / 'other'}" in compute(replace(order, request=other), [0]).refusal
    Store.create("other")
    assert "is missing" in compute(replace(order, request=other), [0]).refusal


def test_a_full_disk_is_a_refusal_and_nothing_is_lost(order, monkeypatch):
    assert compute(order, [1]).refusal is None
    replaced = Path.replace

    def full(self, target):
        if Path(target).parent.name == "rows":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replaced(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        assert "the disk is full" in compute(order, [0]).refusal
    assert stored() == 16 and compute(order, [0, 1]).refusal is None and stored() == 32


def test_what_another_process_computes_is_busy(order):
    """Two coordinators: the second gets no shard that a worker of the first has claimed."""
    assert compute(order, []).refusal is None
    with Claims(Path("a", "locks"), order.keys, "another") as others:
        assert others.take(order.keys, remote._open[0]._shards[1].span)
        receipt = compute(order, [0, 1])
        assert receipt.busy == (1,) and receipt.tally.images == 8
