"""The simulation of `leaderboards/scaling` against cases that are known exactly."""

from __future__ import annotations

import math
import statistics
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "leaderboards" / "scaling"))
pytest.importorskip("simulation", reason="the scripts are in the repository only")

import studies
from costs import HESSE, NUMBERS, usual
from parts import Folder, Machines, Network, Rules
from simulation import simulate
from studies import BATCH, IMAGES, STUDIES, WAYS, machines, networks, rules

from xaibench.evaluation.executor import FLUSH_SECONDS
from xaibench.evaluation.shards import LEAST_IMAGES, cut

ALL_AT_ONCE = Machines(
    24, failure=900, failure_away=300, preemption=600, preemption_away=60, startup=(3, 5), gpu_spread=0.1,
    task_spread=0.3, slow_share=0.1, slow_factor=2,
)  # fmt: skip
SHARED = Folder(rate=2000, latency=0.01, lists=1e-3, reads=2e-3, claims=1e-3, meets=True)


def test_one_gpu_takes_the_sum():
    work = [Network(7, 3.0), Network(5, 2.0, epochs=3, epoch_seconds=10.0)]
    assert simulate(work, Machines(1)).seconds == pytest.approx(7 * 3 + 5 * 2 + 3 * 10)
    started = simulate(work, Machines(1, startup=(4, 4)))
    assert started.seconds == pytest.approx(61 + 3 * 4), "the training, and one for each network"


@pytest.mark.parametrize("gpus", [1, 2, 3, 7, 20, 64])
def test_equal_tasks_take_so_many_rounds(gpus):
    out = simulate([Network(20, 3.0)], Machines(gpus))
    assert out.seconds == pytest.approx(3 * math.ceil(20 / gpus))
    assert out.efficiency == pytest.approx(20 / gpus / math.ceil(20 / gpus))


@pytest.mark.parametrize(("failure", "training"), [(10.0, False), (4.0, False), (10.0, True)])
def test_restarted_tasks_take_the_time_of_the_closed_form(failure, training):
    """Of tasks of T seconds that start again at failures of rate r: mean (e^rT - 1)/r, variance
    (e^2rT - 2rT e^rT - 1)/r^2."""
    count, seconds, rate = 500, 5.0, 1 / failure
    work = Network(0, 0.0, count, seconds) if training else Network(count, seconds)
    out = simulate([work], Machines(1, failure=failure), seed=3)
    mean = math.expm1(rate * seconds) / rate
    variance = (math.exp(2 * rate * seconds) - 2 * rate * seconds * math.exp(rate * seconds) - 1) / rate**2
    assert abs(out.seconds - count * mean) < 4 * math.sqrt(count * variance)
    assert out.seconds == pytest.approx(out.spent["work"] + out.spent["killed"])


def test_failures_and_preemptions_both_count():
    times = [simulate([Network(500, 5.0)], Machines(1, failure=20, preemption=20), seed=s).seconds for s in (1, 2)]
    assert statistics.fmean(times) == pytest.approx(500 * math.expm1(5 / 10) * 10, rel=0.06)


def test_two_gpus_by_hand():
    """Trainings of 9, 5 and 2 s, tasks of 6, 4 and 3 s. One GPU trains a until 9 and then computes a's task, which is
    longer than c's, until 15; the other trains b until 5 and c until 7, and computes b's until 11 and c's until 14."""
    out = simulate([Network(1, 3.0, 1, 2.0), Network(1, 6.0, 1, 9.0), Network(1, 4.0, 1, 5.0)], Machines(2))
    assert out.seconds == pytest.approx(15)
    assert {cause: seconds for cause, seconds in out.spent.items() if seconds} == pytest.approx({"work": 29, "tail": 1})


def test_locks_allow_so_many_gpus():
    out = simulate([Network(40, 3.0)], Machines(16), Rules(together=4))
    assert out.seconds == pytest.approx(30)
    assert out.spent["locks"] == pytest.approx(12 * 27), "until the last tasks are begun"


def test_a_training_over_several_gpus():
    out = simulate([Network(0, 0.0, 3, 20.0)], Machines(8), Rules(training_gpus=5, training_gain=0.75))
    assert out.seconds == pytest.approx(3 * 20 / 4)
    assert out.spent["parallel training"] == pytest.approx(15 * 5 - 60)


def test_the_folder_is_listed_and_read_and_its_table_is_held():
    folder = Folder(rate=1e9, latency=0.5, lists=2.0, reads=3.0, claims=0.25, list_requests=0, read_requests=0)
    out = simulate([Network(3, 10.0, shards=4)], Machines(1), Rules(folder=folder))
    table = 4 * 2 * (0.25 + 6 * 0.5)  # for each shard, to claim it and to give it up
    assert out.spent["folder"] == pytest.approx(3 * (table + 4 * 0.5) + (0 + 1 + 2) * 2 * 4 + 2 * 3)
    assert (out.files, out.claims, out.requests) == (3, 24, 24 * 6 + 3 * 4)


@pytest.mark.parametrize(("own", "rounds"), [(False, 2), (True, 1)])
def test_the_table_of_a_folder_serves_one_process_at_a_time(own, rounds):
    """Two networks with a GPU each: each task holds the table for 2 x 3 s, and then takes 1 s."""
    folder = Folder(rate=1e9, latency=0, lists=0, reads=0, claims=3.0, own=own)
    out = simulate([Network(50, 1.0), Network(50, 1.0)], Machines(2), Rules(folder=folder))
    assert out.seconds == pytest.approx(50 * 6 * rounds + 1 if rounds == 2 else 50 * 7)


def test_processes_of_one_command_meet_at_its_shards():
    folder = Folder(rate=1e9, latency=0, lists=0, reads=0, meets=True)
    out = simulate([Network(30, 1.0, shards=2)], Machines(3), Rules(folder=folder))
    assert out.claims == 2 * (2 + 3 + 28 * 4), "the first two find fewer others"


def test_a_slow_server_limits_how_many_tasks_there_are():
    folder = Folder(rate=2, latency=0, lists=0, reads=0, list_requests=0, read_requests=0, claim_requests=0)
    out = simulate([Network(300, 1.0)], Machines(50), Rules(folder=folder))
    assert out.seconds == pytest.approx(300 * 4 / 2 + 1)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_every_second_of_every_gpu_has_one_cause(seed, own):
    work = [Network(30 * n, 20.0 + n, n, 50.0, shards=2) for n in range(1, 7)]
    shared = Folder(**{**SHARED.__dict__, "own": own})
    out = simulate(work, ALL_AT_ONCE, Rules(together=5, training_gpus=3, folder=shared), seed)
    assert sum(out.spent.values()) == pytest.approx(out.seconds * 24)
    assert out.spent["work"] == pytest.approx(sum(n.seconds for n in work)) and out.kills
    assert out.files == sum(n.tasks for n in work)
    assert out == simulate(work, ALL_AT_ONCE, Rules(together=5, training_gpus=3, folder=shared), seed)


def test_nothing_to_do_is_refused():
    for work, gpus in (([], 1), ([Network(0, 1.0)], 2), ([Network(1, 1.0)], 0)):
        with pytest.raises(ValueError, match="needs a GPU and work"):
            simulate(work, Machines(gpus))


def test_shards_are_those_of_the_engine():
    assert (studies.LEAST_IMAGES, studies.FLUSH_SECONDS) == (LEAST_IMAGES, FLUSH_SECONDS)
    (work, *_) = networks(STUDIES[1], usual())
    images = len(cut([str(n) for n in range(1000)], BATCH)[0].images)
    assert work.tasks == math.ceil(IMAGES / (images * work.shards))


def test_studies_have_the_work_that_their_numbers_say():
    numbers = usual()
    assert all(n.low <= n.value <= n.high for n in NUMBERS.values())
    hesse, world = (networks(study, numbers) for study in STUDIES)
    assert (len(hesse), len(world)) == (16 * 4, 200) and sum(n.epochs > 0 for n in hesse) == 48
    images = sum(n.tasks * n.task_seconds for n in hesse)
    passes = sum(IMAGES * (2930 + g * g + 1) for g in (2, 4, 8, 16))
    assert images == pytest.approx(passes * sum(HESSE.values()) / HESSE["resnet50"] * 25.9 / 32 / 2947)
    assert machines(numbers, 8, WAYS["spot"]).preemption and not machines(numbers, 8, WAYS["folders"]).preemption
    assert rules(numbers, WAYS["locks"]).together == 4 and rules(numbers, WAYS["folders"]).together is None
    assert [rules(numbers, WAYS[name]).training_gpus for name in ("one-gpu", "node")] == [1, 8]
