"""Shards: how the list is cut, parts that share one folder, and shards that another process is computing."""

from __future__ import annotations

import json
import os
import resource
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import xaibench
from xaibench.datasets.base import hashed_order
from xaibench.evaluation import evaluator, executor
from xaibench.evaluation.shards import LEAST_IMAGES, cut, part_of
from xaibench.results.claims import Claims, overlap
from xaibench.results.completion import Completion, missing_images
from xaibench.results.store import Store

pytestmark = pytest.mark.process  # whole runs or large networks: not in the fast tier

METHODS = ["ixg-sg", "grad-cam", "random"]


def run(out, images=40, **changes):
    fields = {"model": "tiny", "dataset": "mini", "methods": METHODS, "batch_size": 4, "quiet": True}
    return xaibench.run("sds,ids", images=images, out=out, **(fields | changes))


def rows(results) -> pd.DataFrame:
    return results.rows.sort_values(["cell", "image_id", "metric"]).reset_index(drop=True)


@given(st.integers(0, 200), st.integers(1, 50), st.integers(1, 5))
def test_batches_lie_at_fixed_places_and_parts_are_all_of_them(count, batch, parts):
    images = [f"{number}" for number in range(count)]
    shards = cut(images, batch)
    batches = [list(each) for shard in shards for each in shard.batches]
    assert batches == [images[at : at + batch] for at in range(0, count, batch)]
    assert [image for shard in shards for image in shard.images] == images
    assert all(LEAST_IMAGES <= len(shard.images) < LEAST_IMAGES + batch for shard in shards[:-1])
    taken = [shard.number for part in range(parts) for shard in part_of(shards, (part, parts))]
    assert sorted(taken) == [shard.number for shard in shards]


IDS = hashed_order(f"image {number}" for number in range(700))


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 8, 16, 64])
@pytest.mark.parametrize("batch", [1, 8, 32, 100])
def test_shards_of_different_parts_are_claimed_side_by_side(parts, batch, tmp_path):
    shards = cut(IDS, batch)
    mine = [part_of(shards, (part, parts)) for part in range(parts)]
    with ExitStack() as stack:
        all_claims = [stack.enter_context(Claims(tmp_path, ["k"], "a part")) for _ in mine]
        for claims, some in zip(all_claims, mine, strict=True):
            assert all(claims.take(["k"], shard.span) for shard in some[:2]), "two at once, as one is loaded ahead"


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_spans_overlap_where_shards_have_images_in_common_and_nowhere_else(one, other):
    for mine in cut(IDS[:120], one):
        for theirs in cut(IDS[:110], other):
            assert overlap(mine.span, theirs.span) == bool(set(mine.images) & set(theirs.images))


def test_spans_of_equal_images_overlap_in_a_data_set_that_has_grown():
    grown = hashed_order([*IDS[:300], *(f"new {number}" for number in range(100))])
    for mine in cut(IDS[:300], 7):
        for theirs in cut(grown, 9):
            assert overlap(mine.span, theirs.span) or not set(mine.images) & set(theirs.images)


@pytest.fixture
def few_open_files():
    """48 more open files than this process has."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(int(name) for name in os.listdir("/dev/fd"))  # noqa: PTH208
    resource.setrlimit(resource.RLIMIT_NOFILE, (most + 48, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.slow
def test_many_results_at_once_need_few_open_files(home, monkeypatch, few_open_files):
    monkeypatch.setattr(executor, "FLUSH_SECONDS", 1000.0)  # every shard stays claimed until the end

    def method(number: int):
        def constant(evidence):
            return torch.arange(4.0).reshape(1, 1, 2, 2).repeat(len(evidence.targets), 1, 1, 1) * number

        return xaibench.named(constant, f"constant {number}")

    found = run("many", 64, methods=[method(number) for number in range(25)], batch_size=32)
    assert len(found.cells) == 50 and found.manifest.status == "complete"


def test_parts_into_one_folder_are_the_rows_of_one_run(home, monkeypatch):
    monkeypatch.setattr("xaibench.evaluation.shards.LEAST_IMAGES", 8)
    whole = run("whole")
    first = run("parts", shard="1/2")
    assert first.manifest.status == "partial" and first.computed == 24, "shards 0, 2 and 4 of 8 images each"
    second = run("parts", shard="2/2")
    assert second.manifest.status == "complete" and second.computed == 16
    pd.testing.assert_frame_equal(rows(whole), rows(second))
    assert run("parts").computed == 0
    assert second.manifest.config["shard"] == "2/2"


@pytest.mark.slow
def test_shards_of_another_process_are_left_to_it_and_looked_at_again(home, monkeypatch, capsys):
    monkeypatch.setattr("xaibench.evaluation.shards.LEAST_IMAGES", 8)
    keys = run("other", images=1).cells
    whole = run("whole", images=24)
    held = Claims(Store.create("mine").root / "locks", keys, "xaibench run another")
    assert held.take(keys[:1], cut(whole.images, 4)[1].span)
    monkeypatch.setattr(evaluator, "time", SimpleNamespace(sleep=lambda _: held.__exit__()))
    found = run("mine", images=24, quiet=False)
    error = capsys.readouterr().err
    assert f"waiting for 8 images that are being computed by process {os.getpid()}, started" in error
    assert "xaibench run another" in error
    assert found.computed == 24 and found.manifest.status == "complete"
    pd.testing.assert_frame_equal(rows(whole), rows(found))


def test_what_another_process_has_stored_meanwhile_is_not_computed_again(home, monkeypatch):
    monkeypatch.setattr("xaibench.evaluation.shards.LEAST_IMAGES", 8)
    whole = run("whole", images=24)
    looked = Completion.refresh
    others = Store("whole")

    def refresh(self):
        """Another process stores everything just before the second look, which is at the first shard."""
        looked(self)
        if self.store.root.name == "mine" and not self.store.shards() and getattr(self, "second", False):
            for path in others.shards():
                (self.store.root / "rows" / path.name).write_bytes(path.read_bytes())
            looked(self)
        self.second = True

    monkeypatch.setattr(Completion, "refresh", refresh)
    found = run("mine", images=24)
    assert found.computed == 0 and len(found.rows) == len(whole.rows)


def test_what_is_missing_is_a_function_of_rows_and_list():
    done = {"a": {"1", "2"}, "b": {"1", "2", "3", "4"}}
    assert missing_images(["a", "b", "c"], ["1", "2", "3"], done) == {"a": {"3"}, "c": {"1", "2", "3"}}


def test_completion_reads_each_file_once(home, monkeypatch):
    results = run("a", images=8)
    completion = Completion(Store("a"), results.cells, results.images)
    assert completion.missing() == {}
    read = []
    batches = Store._batches
    monkeypatch.setattr(Store, "_batches", lambda self, columns, keys, shards=None: (
        read.append(shards), batches(self, columns, keys, shards))[1])  # fmt: skip
    completion.refresh()
    assert not read
    run("a", images=12)
    read.clear()
    completion.refresh()
    assert [len(shards) for shards in read] == [1]


@pytest.mark.parametrize("status", ["partial"])
def test_a_partial_run_is_finished_by_the_other_part(home, command, monkeypatch, status):
    monkeypatch.setattr("xaibench.evaluation.shards.LEAST_IMAGES", 8)
    words = ("--model", "tiny", "--dataset", "mini", "--methods", "ixg", "--images", 16, "--out", "a", "--quiet")
    assert command("run", "sds", *words, "--shard", "1/2")[0] == 0
    code, out, _ = command("status", "--out", "a")
    assert code == 0 and status in out and "8 of 16" in out
    assert "  xaibench run sds" in out.split("to finish:")[1] and "--shard" not in out.split("to finish:")[1]
    assert command("run", "sds", *words, "--shard", "2/2")[0] == 0
    assert "nothing is missing" in command("status", "--out", "a")[1]


@pytest.mark.slow
def test_records_that_this_version_cannot_read_stop_nothing(home, command):
    run("a", images=8)
    path = next(Path("a/runs").glob("*.json"))
    record = json.loads(path.read_text())
    for change in (
        {"config": None}, {"config": [1]}, {"config": {"settings": {"x": "y" * 100_000}}}, {"accuracy": "x"},
        {"config": {**record["config"], "of_tomorrow": {"a": 1}}, "of_tomorrow": [1]},
    ):  # fmt: skip
        path.write_text(json.dumps(record | change))
        for words in (("status",), ("leaderboard", "sds"), ("show", "run", "a")):
            code, _, error = command(*words, *(() if "a" in words else ("--out", "a")))
            assert code == 0, (change, words, error)
    for change in ({"cells": [1, None]}, {"images": 3}, {"images": {"count": "x"}}, {"started": None}):
        path.write_text(json.dumps(record | change))
        code, _, error = command("status", "--out", "a")
        assert code == 2 and "is not the record of a run" in error and error.count("\n") == 1
