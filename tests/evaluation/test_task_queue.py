"""Which shards each task gets, against counts by hand and a simulation of slots; what becomes of lost ones."""

from __future__ import annotations

import heapq

import pytest

from xaibench.evaluation.task_queue import ATTEMPTS, FIT, TASK_SECONDS, TaskQueue, task_shards


@pytest.mark.parametrize("slots", [1, 2, 8, 512])
@pytest.mark.parametrize("seconds", [None, 0.0, 0.01, 1.0, 29.0, 400.0])
def test_tasks_are_about_half_a_minute_and_end_together(slots, seconds):
    for left in range(1, 3000, 7):
        size = task_shards(left, slots, seconds)
        assert 1 <= size <= max(1, left // (2 * slots)), "every slot still gets one more"
        if seconds:
            assert size == 1 or size * seconds <= TASK_SECONDS + seconds
    assert task_shards(10**6, 1, 1.0) == 30


@pytest.mark.parametrize(("slots", "shards", "seconds"), [(2, 500, 1.0), (8, 1563, 0.2), (64, 1563, 4.0), (3, 2, 9.0)])
def test_all_shards_are_given_once_and_slots_end_together(slots, shards, seconds):
    queue, given, ends = TaskQueue(8), [], [0.0] * slots
    queue.add(range(shards))
    while queue:
        now = heapq.heappop(ends)
        numbers, chunk = queue.next(slots)
        given += numbers
        assert chunk == 8
        queue.computed(len(numbers), seconds * len(numbers))
        heapq.heappush(ends, now + seconds * len(numbers))
    assert given == list(range(shards))
    assert max(ends) - min(ends) <= 2 * seconds + 1e-9


def test_time_left_is_that_of_what_waits_and_runs():
    queue = TaskQueue(8)
    queue.add(range(10))
    assert queue.seconds_left(0, 2) is None
    numbers, _ = queue.next(2)
    queue.computed(len(numbers), 6.0 * len(numbers))
    assert queue.seconds_left(3, 2) == pytest.approx(6.0 * (9 + 3) / 2)
    assert queue.seconds_left(3, 0) is None, "no node is there"


def test_lost_shards_are_alone_and_given_up_after_some_attempts():
    queue = TaskQueue(8)
    queue.computed(1, 1.0)
    queue.add(range(1, 5))
    queue.failed((0,), "killed")
    queue.add(range(100, 200))
    assert [queue.next(1)[0] for _ in range(2)] == [(1, 2, 3, 4), (0,)]
    assert len(queue.next(1)[0]) == 30
    for _ in range(ATTEMPTS - 1):
        assert not queue.lost
        queue.failed((0,), "killed")
    assert queue.lost == {0: f"its process ended {ATTEMPTS} times: killed"}


def test_shards_whose_node_was_lost_are_like_any_other():
    queue = TaskQueue(8)
    queue.computed(1, 1.0)
    for _ in range(3 * ATTEMPTS):
        queue.failed((0, 1), "preempted", counts=False)
        assert len(queue) == 2
        queue.add(range(2, 100))
        assert queue.next(1)[0] == tuple(range(30))
        while queue:
            queue.next(1)
    assert not queue.lost


def test_what_ran_out_of_memory_has_half_the_chunk_down_to_one():
    queue, chunks = TaskQueue(5), []
    queue.add([7])
    while queue:
        numbers, chunk = queue.next(1)
        chunks.append(chunk)
        queue.failed(numbers, "memory", halve=True)
    assert chunks == [5, 2, 1, 1] and 7 in queue.lost


def test_what_is_refused_comes_first_in_its_order():
    queue = TaskQueue(8)
    queue.computed(1, 1.0)
    queue.add(range(8))
    numbers, _ = queue.next(1)
    assert numbers == (0, 1, 2, 3)
    queue.put_back(numbers)
    assert queue.next(1)[0] == numbers


def test_fitting_is_a_task_alone():
    queue = TaskQueue(8)
    queue.computed(1, 1.0)
    queue.add([FIT, *range(9)])
    assert queue.next(1)[0] == (FIT,) and len(queue.next(1)[0]) > 1
