"""Runs that end once the order is settled: rows, records and words are those of any run of as many images."""

from __future__ import annotations

import json

import pandas as pd
import pytest

import xaibench
from xaibench.errors import XaibenchError
from xaibench.evaluation.shards import cut
from xaibench.evaluation.until_stable import looks
from xaibench.report.settlement import conclusions
from xaibench.results.manifest import RunManifest
from xaibench.results.store import Store
from xaibench.results.validate import validate

pytestmark = pytest.mark.process

PLUGIN = """
from dataclasses import dataclass
import torch, xaibench

@xaibench.method("good")
def good(evidence):
    return torch.ones(len(evidence.owner), 1, 32, 32).cumsum(-1)

@xaibench.method("bad")
def bad(evidence):
    return -torch.ones(len(evidence.owner), 1, 32, 32).cumsum(-1)

@xaibench.method("twin")
def twin(evidence):
    return torch.ones(len(evidence.owner), 1, 32, 32).cumsum(-1)

@xaibench.protocol("sign", metric="sign", range={range}, higher_is_better=True, undefined_cost={cost})
@dataclass(frozen=True)
class Sign(xaibench.Protocol):
    \"\"\"1 for positive maps, 0 for others.\"\"\"
    target: str = "prediction"
    def prepare(self, e):
        return None
    def score(self, prepared, maps):
        bad = torch.zeros(len(maps), dtype=torch.bool)
        return xaibench.status_of((maps.mean((1, 2, 3)) > 0).double(), bad, bad)
"""


@pytest.fixture
def plugin(home, tmp_path):
    def make(range="(0, 1)", cost="0"):
        path = tmp_path / "sign.py"
        path.write_text(PLUGIN.format(range=range, cost=cost))
        return path

    return make


def run(plugin, **changes):
    settings = {"model": "tiny", "dataset": "mini", "methods": "good,bad", "out": "results", "images": 40,
                "until_stable": "all", "quiet": True, "plugins": [plugin]}  # fmt: skip
    return xaibench.run("sign", **(settings | changes))


def table(results):
    rows = results.rows[["method", "image_id", "target", "score", "status", "prediction", "image_digest"]]
    return rows.sort_values(["method", "image_id"]).reset_index(drop=True)


def test_a_run_ends_with_the_rows_of_an_ordinary_run_of_as_many_images(plugin):
    results = run(plugin())
    stop = results.manifest.stop
    found = stop["protocols"]["sign"]
    assert found["outcome"] == "settled" and found["order"] == ("good", "bad") and found["seen"] == 8
    assert (results.computed, len(results.images), results.manifest.images["count"]) == (8, 8, 8)
    assert results.manifest.status == "complete" and results.manifest.accuracy["images"] == 8
    assert results.manifest.config["until_stable"] == "all"
    other = run(plugin(), out="other", images=8, until_stable=None)
    assert other.cells == results.cells and other.images == results.images
    pd.testing.assert_frame_equal(table(results), table(other), check_exact=True)
    board = results.leaderboard()
    assert board.table["n_images"].tolist() == [8, 8]
    assert any("--until-stable: 8 of 40" in note and "ranks here know nothing of" in note for note in board.notes)
    assert not any("--until-stable" in note for note in run(plugin(), until_stable=None).leaderboard().notes)
    assert validate("results") == []


def test_given_again_it_computes_nothing_and_says_the_same(plugin):
    first = run(plugin())
    again = run(plugin())
    assert again.computed == 0 and conclusions(again.manifest.stop) == conclusions(first.manifest.stop)
    run(plugin(), until_stable=None)  # all images are there now
    third = run(plugin())
    assert conclusions(third.manifest.stop) == conclusions(first.manifest.stop) and len(third.images) == 8
    stored = RunManifest.load(Store.open("results").root / "runs" / f"{third.manifest.run}.json")
    assert conclusions(stored.stop) == conclusions(first.manifest.stop)
    assert stored.stop == json.loads(json.dumps(third.manifest.stop))


def test_an_interrupted_run_goes_on_to_the_same_end(plugin, monkeypatch):
    from xaibench.datasets.critters import Critters

    settings = {"methods": "good,twin", "margin": 0.4, "batch_size": 2}
    whole = run(plugin(), out="whole", **settings)
    assert whole.manifest.stop["protocols"]["sign"]["seen"] > 8
    load, loaded = Critters.load, []

    def killed(self, image_id):
        loaded.append(image_id)
        if len(loaded) == 14:
            raise KeyboardInterrupt
        return load(self, image_id)

    monkeypatch.setattr(Critters, "load", killed)
    with pytest.raises(KeyboardInterrupt):
        run(plugin(), **settings)
    monkeypatch.setattr(Critters, "load", load)
    resumed = run(plugin(), **settings)
    assert 0 < resumed.computed < len(resumed.images) == len(whole.images)
    assert conclusions(resumed.manifest.stop) == conclusions(whole.manifest.stop)
    pd.testing.assert_frame_equal(table(resumed), table(whole), check_exact=True)


@pytest.mark.slow
def test_identical_methods_are_equivalent_by_a_margin_and_tie_without(plugin, command):
    words = ("run", "sign", "--model", "tiny", "--dataset", "mini", "--methods", "good,twin", "--images", "40",
             "--plugin", plugin())  # fmt: skip
    status, said, _ = command(*words, "--until-stable", "top-1", "--margin", "0.4")
    assert status == 0 and "equivalent within 0.4: good = twin" in said and "sign: settled after" in said
    status, said, noted = command(*words, "--until-stable", "top-1")
    assert status == 0
    assert "sign: not settled by all 40 images of the list, on which these tie exactly; with --margin they are" in said
    assert "sign: 8 of 40 images, 1 of 1 pairs open, the closest good and twin (0 apart)" in noted


def test_a_list_that_is_too_short_says_that_nothing_was_saved(plugin, command):
    status, said, _ = command(
        "run", "sign", "--model", "tiny", "--dataset", "mini", "--methods", "good,bad", "--images", "6", "--plugin",
        plugin(), "--until-stable", "all", "--confidence", "0.999", "--quiet",
    )  # fmt: skip
    assert status == 0 and "sign: all 6 images of the list were needed, nothing was saved" in said


def test_a_method_that_fails_settles_nothing(plugin, tmp_path):
    text = plugin().read_text() + '\n@xaibench.method("broken")\ndef broken(evidence):\n    raise ValueError("no")\n'
    (tmp_path / "sign.py").write_text(text)
    with pytest.raises(xaibench.evaluation.api.MethodFailed) as raised:
        run(tmp_path / "sign.py", methods="good,bad,broken")
    stop = raised.value.results.manifest.stop
    assert conclusions(stop) == ["not settled: broken failed"] and len(raised.value.results.images) == 8


@pytest.mark.parametrize(
    ("card", "changes", "message"),
    [
        ({"range": "(0, float('inf'))"}, {}, "finite range, and that of sign is"),
        ({"cost": "2"}, {}, "undefined maps cost 2 under sign"),
        ({"range": "(0, 0.5)"}, {}, "a score of good is outside of"),
        ({}, {"margin": 1.5}, "--margin 1.5 calls all methods equivalent"),
        ({}, {"methods": "good"}, "sign ranks 1 here"),
        ({}, {"methods": "good,random"}, "sign ranks 1 here"),
    ],
)
def test_what_would_not_be_valid_is_refused_in_one_line(plugin, card, changes, message):
    with pytest.raises(XaibenchError, match=message) as raised:
        run(plugin(**card), **changes)
    assert "\n" not in str(raised.value)


def test_a_list_in_an_order_of_its_own_is_refused(plugin, monkeypatch):
    from xaibench.datasets.critters import Critters

    monkeypatch.setattr(Critters, "image_list", lambda self, count=None: sorted(self.ids)[:count])
    with pytest.raises(XaibenchError, match="needs a list in random order, and data set critters has an order"):
        run(plugin())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shard": "1/2"}, "leave out --shard"),
        ({"margin": -0.1}, "margin is more than 0.0, not -0.1"),
        ({"margin": True}, "True is no number"),
        ({"confidence": 1.0}, "confidence is less than 1.0, not 1.0"),
        ({"confidence": 0.0}, "confidence is more than 0.0, not 0.0"),
        ({"until_stable": "top-0"}, "--until-stable is all, or top-K such as top-3, not 'top-0'"),
        ({"until_stable": None, "margin": 0.1}, "--confidence and --margin are of --until-stable"),
    ],
)
def test_requests_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(XaibenchError) as raised:
        xaibench.RunConfig.parse({"protocols": "sds", "model": "tiny", "until_stable": "top-3"} | changes)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_looks_come_at_fixed_places_of_the_list():
    shards = cut([str(number) for number in range(800)], 4)
    places = [sum(len(shard.images) for shard in some) for some in looks(shards)]
    assert sum(places) == 800 and places[:32] == [8] * 32 and places[32:35] == [16, 16, 16]
    assert [shard for some in looks(shards) for shard in some] == shards
