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


def test_a_time_left_that_is_known_better_and_an_hour(clock, capsys):
    with progress.bar("work", 4) as bar:
        clock[0] = 30
        bar.advance(1, "a", 4000)
        clock[0] = 60
        bar.advance(0, "b")
    assert capsys.readouterr().err.splitlines() == [
        "work: 1/4, 0:30 spent, 1:06:40 left; a",
        "work: 1/4, 1:00 spent, 1:06:10 left; b",
    ]


def test_reports_do_not_flood_a_log(clock, capsys):
    with progress.bar("work", 0) as bar:
        for second in range(0, 250, 10):
            clock[0] = second
            bar.report([f"after {second}"])
    assert capsys.readouterr().err.splitlines() == ["after 120", "after 240"]


def test_on_a_terminal_lines_and_the_time_left_are_below_and_in_the_bar(monkeypatch, capsys):
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    with progress.bar("work", 4) as bar:
        bar.advance(1, "a", 4000.9)
        bar.report(["sds after 8 images: [bold] 0.5"])
    printed = capsys.readouterr().err
    assert "1:06:4" in printed and "[bold] 0.5" in printed


def test_a_command_in_a_notebook_prints_lines_although_its_output_is_a_terminal(monkeypatch, capsys, clock):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    with progress.bar("work", 1000) as bar:
        for second in range(1000):
            clock[0] = second / 10
            bar.advance(1)
    printed = capsys.readouterr().err
    assert "\r" not in printed and "\x1b" not in printed and len(printed.splitlines()) == 5
