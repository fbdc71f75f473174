"""Shards: how the list is cut, parts that share one folder, and shards that another process is computing."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xaibench
from xaibench.evaluation import evaluator
from xaibench.evaluation.shards import LEAST_IMAGES, SLOTS, cut, part_of
from xaibench.locks import try_lock
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


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 300))
def test_whoever_computes_an_image_excludes_all_others_whatever_their_batches(one, other, position):
    images = [f"{number}" for number in range(300 + 1)]

    def locks(batch: int) -> set[str]:
        return {name for shard in cut(images, batch) if images[position] in shard.images for name in shard.locks(["k"])}

    assert locks(one) & locks(other)


def test_locks_of_a_long_list_are_few():
    assert len({name for shard in cut([str(n) for n in range(10**5)], 4) for name in shard.locks(["k"])}) == SLOTS


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


def test_shards_of_another_process_are_left_to_it_and_looked_at_again(home, monkeypatch, capsys):
    monkeypatch.setattr("xaibench.evaluation.shards.LEAST_IMAGES", 8)
    monkeypatch.setattr(evaluator, "WAIT_SECONDS", 0.05)
    keys = run("other", images=1).cells
    whole = run("whole", images=24)
    store = Store.create("mine")
    (store.root / "locks").mkdir()
    held = try_lock(store.root / "locks", cut(whole.images, 4)[1].locks(keys[:1]))
    free = threading.Timer(1.0, held.close)
    free.start()
    found = run("mine", images=24, quiet=False)
    free.join()
    assert "waiting for 8 images that are being computed by another process" in capsys.readouterr().err
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


def test_a_list_of_more_shards_than_slots_waits_for_nobody(home, monkeypatch, capsys):
    monkeypatch.setattr("xaibench.evaluation.shards.LEAST_IMAGES", 8)
    monkeypatch.setattr("xaibench.evaluation.shards.SLOTS", 2)
    found = run("a", images=40, quiet=False)
    assert found.computed == 40 and "waiting" not in capsys.readouterr().err
