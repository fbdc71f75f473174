"""Progress away from a terminal: a line now and then, with time left, and one at the end."""

from __future__ import annotations

import pytest

from xaibench import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves by hand."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_come_at_intervals_and_at_the_end(clock, capsys):
    with progress.bar("work", 4) as bar:
        for second, note in ((5, "a"), (30, "b"), (40, "c"), (45, "d")):
            clock[0] = second
            bar.advance(1, note)
    assert capsys.readouterr().err.splitlines() == [
        "work: 2/4, 0:30 spent, 0:30 left; b",
        "work: 4/4, 0:45 spent, 0:00 left; d",
    ]


def test_a_note_alone_does_not_claim_a_time_left(clock, capsys):
    with progress.bar("work", 4) as bar:
        clock[0] = 25
        bar.advance(0, "rise")
    assert capsys.readouterr().err == "work: 0/4, 0:25 spent; rise\n"


def test_quiet_says_nothing(clock, capsys):
    with progress.bar("work", 1, quiet=True) as bar:
        clock[0] = 100
        bar.advance(1)
    assert capsys.readouterr().err == ""
