"""Time left by method and protocol, by hand; running scores against the board."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import xaibench
from xaibench.evaluation import pace
from xaibench.evaluation.pace import Pace
from xaibench.evaluation.running import RunningScores
from xaibench.evaluation.trace import Tracer


def named(name):
    return SimpleNamespace(name=name)


SDS, FAST, SLOW = named("sds"), named("fast"), named("slow")
PLAN = SimpleNamespace(
    jobs=[SimpleNamespace(method=m, protocol=SDS, key=m.name if m else "model") for m in (None, FAST, SLOW)]
)


def steps(monkeypatch, made, *spent):
    """Lets the clock run: (method, protocol, seconds)."""
    now = [0.0]
    monkeypatch.setattr(pace.time, "perf_counter", lambda: now[0])
    made.resume()
    for method, protocol, seconds in spent:
        made.at(method, protocol)
        now[0] += seconds


def test_methods_of_other_cost_and_other_missing_images(monkeypatch):
    """fast lacks 10 images, slow only 4; two images took 2 s of fast and 20 s of slow, and 1 s for both."""
    images = {f"i{number}" for number in range(10)}
    made = Pace.of(PLAN, {"fast": images, "slow": {"i0", "i1", "i2", "i3"}})
    assert made.seconds_left is None
    of_slow = (("slow", None, 18), ("slow", "sds", 2))
    steps(monkeypatch, made, (None, "sds", 1), ("fast", None, 1), ("fast", "sds", 1), *of_slow)
    made.finished({"fast": {"i0", "i1"}, "slow": {"i0", "i1"}})
    assert made.left(("slow", None)) == 18 and made.left(("fast", "sds")) == 4
    assert made.seconds_left == pytest.approx(8 * (0.5 + 0.5 + 0.5) + 2 * 10)
    methods, protocols = made.lines()
    assert methods == "time of methods: slow 87% (0:20 left), fast 9% (0:08 left)"
    assert protocols == "time of protocols: sds 17% (0:10 left)"
    made.elsewhere({"fast": images, "slow": images}, {"fast": {"i0", "i1", "i2", "i3"}, "slow": images})
    assert made.left(("fast", None)) == 2 * 0.5, "another process has computed six of the eight"


def test_what_was_never_timed_counts_as_the_mean_of_its_kind(monkeypatch):
    made = Pace.of(PLAN, {"fast": {"a", "b"}, "slow": {"b"}})
    steps(monkeypatch, made, ("fast", None, 3), ("fast", "sds", 1))
    made.finished({"fast": {"a"}})
    assert made.left(("slow", None)) == 3 and made.left(("slow", "sds")) == 1


@pytest.mark.process
def test_running_scores_are_the_means_of_the_board(home, monkeypatch):
    """Added shard by shard; undefined maps and several classes of an image count as on the board."""
    added = []
    monkeypatch.setattr(
        RunningScores, "add", lambda self, rows, add=RunningScores.add: (added.append(self), add(self, rows))
    )
    results = xaibench.run(
        "epg,sds", model="tiny", dataset="mini", methods="ixg,grad-cam,random,oracle", images=24, batch_size=4, out="a"
    )
    assert len(added) == 3, "after each shard of eight images"
    for protocol in ("epg", "sds"):
        table = results.leaderboard(protocol).table
        ranked = table[table["rank"].notna()].set_index("method")["mean"].to_dict()
        means = added[-1].means(protocol)
        assert means == pytest.approx(ranked) and list(means) == list(ranked), "best first"
    assert "epg after" in added[-1].lines()[0]


def test_a_tracer_without_a_file_does_nothing():
    tracer = Tracer(None, 0, pytest.fail)
    tracer.mark("x"), tracer.next_batch(), tracer.end()
