"""Exclusive use of objects by threads."""

from __future__ import annotations

import threading

import pytest

from xaibench.errors import XaibenchError
from xaibench.exclusive import _holders, _waiting, exclusive


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert not _holders and not _waiting


def in_thread(function):
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def test_others_wait_and_oneself_does_not():
    a, b, seen = object(), object(), []

    def other():
        with exclusive([b, a]):
            seen.append("other")

    with exclusive([a]):
        thread = in_thread(other)
        with exclusive([a, b, b]):
            thread.join(0.1)
            assert thread.is_alive() and not seen
        thread.join(0.1)
        assert thread.is_alive(), "what the outer block has is still held"
    thread.join(10)
    assert seen == ["other"]


def test_what_is_not_shared_is_free():
    with exclusive([object()]):
        thread = in_thread(lambda: exclusive([object()]).__enter__() and None)
        thread.join(10)
        assert not thread.is_alive()
    _holders.clear()  # the thread has ended with its block open


def test_an_error_frees():
    a = object()
    with pytest.raises(KeyError), exclusive([a]):
        raise KeyError
    thread = in_thread(lambda: _enter_and_leave(a))
    thread.join(10)
    assert not thread.is_alive()


def _enter_and_leave(thing):
    with exclusive([thing]):
        pass


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_circle_of_threads_is_refused_for_one_of_them_and_the_others_go_on(count):
    things, errors, done = [object() for _ in range(count)], [], []
    all_hold = threading.Barrier(count)

    def work(number):
        try:
            with exclusive([things[number]]):
                all_hold.wait(timeout=10)
                with exclusive([things[number], things[(number + 1) % count]]):
                    done.append(number)
        except XaibenchError as error:
            errors.append(str(error))

    threads = [in_thread(lambda number=number: work(number)) for number in range(count)]
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert len(errors) == 1 and len(done) == count - 1
