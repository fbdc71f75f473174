"""Exclusive use of objects by a thread: two calls that put hooks on one network would see each other's passes."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from xaibench.errors import XaibenchError

_changed = threading.Condition()
_holders: dict[int, list[int]] = {}  # thread and depth, by the id of an object; only while it is held
_waiting: dict[int, list[int]] = {}  # ids of what a thread waits for


@contextmanager
def exclusive(objects: Iterable[object]) -> Iterator[None]:
    """While active, no other thread has any of the objects; one that wants them waits.

    All are taken at once, and a thread may take again what it has. So calls wait for each other where they share an
    object, such as one module of two networks, and others go on side by side. Raises XaibenchError where a nested call
    and a call of another thread would wait for each other for ever.
    """
    mine, kept = threading.get_ident(), list(objects)  # kept: an id is one object's only as long as that lives
    wanted = list({id(each) for each in kept})
    with _changed:
        while not _free(mine, wanted):
            _waiting[mine] = wanted
            try:
                if mine in _must_end(mine, wanted, set()):
                    raise XaibenchError(
                        "two threads have a network each and wait for that of the other; call for one after the other"
                    )
                _changed.wait()
            finally:
                del _waiting[mine]
        for each in wanted:
            _holders.setdefault(each, [mine, 0])[1] += 1
    try:
        yield
    finally:
        with _changed:
            for each in wanted:
                _holders[each][1] -= 1
                if not _holders[each][1]:
                    del _holders[each]
            _changed.notify_all()


def _free(thread: int, wanted: list[int]) -> bool:
    return not _others(thread, wanted)


def _others(thread: int, wanted: list[int]) -> set[int]:
    """The other threads that hold any of what a thread wants."""
    return {_holders[each][0] for each in wanted if each in _holders} - {thread}


def _must_end(thread: int, wanted: list[int], seen: set[int]) -> set[int]:
    """The threads that must end before a thread gets what it wants: those that hold it, and those they wait for."""
    for other in _others(thread, wanted) - seen:
        seen.add(other)
        _must_end(other, _waiting.get(other, []), seen)
    return seen
