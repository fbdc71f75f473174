"""What happens, said on standard error and written beside the rows, by one process and by several."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import xaibench
from xaibench import logs
from xaibench.logs import FILE, FORMER, logged, verbose
from xaibench.printing import logger, say

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \d+ (info|warning|error): .+")
WRITER = """
import sys
from pathlib import Path
from xaibench import logs
from xaibench.printing import logger
logs.MOST = 20_000
with logs.logged(Path(sys.argv[1])):
    for number in range(400):
        logger.info("%s %d %s", sys.argv[2], number, "x" * 40)
"""
RUN = ("run", "sds", "--model", "tiny", "--dataset", "mini", "--methods", "ixg,random", "--images", 2, "--quiet")


def test_nothing_is_said_without_being_asked(capsys, tmp_path):
    logger.info("a")
    logger.warning("b")
    assert capsys.readouterr() == ("", "") and logger.level == logging.NOTSET


def test_verbose_says_each_thing_once(capsys):
    with verbose():
        logger.info("two\nlines \x1b[31m")
        say("for the user")
    logger.info("after")
    err = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d two lines \?\[31m", err[0]) and err[1:] == ["xaibench: for the user"]


def test_the_file_has_what_was_said_and_how_it_ended(tmp_path):
    with pytest.raises(ValueError), logged(tmp_path):
        say("for the user")
        raise ValueError("broke\nhere")
    lines = (tmp_path / FILE).read_text().splitlines()
    assert all(map(LINE.fullmatch, lines))
    assert lines[0].endswith("info: for the user") and lines[1].endswith("error: ended by ValueError: broke here")


def test_a_log_that_cannot_be_written_ends_no_run(tmp_path):
    (tmp_path / FILE).mkdir()
    with logged(tmp_path), logged(tmp_path / "nowhere"):
        logger.info("a")
    assert not (tmp_path / "nowhere").exists()


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / FILE).symlink_to(tmp_path / "mine.txt")
    with logged(tmp_path):
        logger.info("a")
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_two_files_bound_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "MOST", 1000)
    with logged(tmp_path):
        for number in range(200):
            logger.info("line %d", number)
    sizes = [(tmp_path / name).stat().st_size for name in (FILE, FORMER)]
    assert all(0 < size < 1100 for size in sizes)
    kept = "".join((tmp_path / name).read_text() for name in (FORMER, FILE))
    numbers = [int(line.rsplit(" ", 1)[1]) for line in kept.splitlines()]
    assert numbers == list(range(numbers[0], 200)), "the newest lines, none lost between the two files"


@pytest.mark.process
def test_lines_of_several_processes_never_mix(tmp_path):
    path = os.pathsep.join(filter(None, [str(Path(xaibench.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), f"w{n}"], env=os.environ | {"PYTHONPATH": path})
        for n in range(3)
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    for name in (FILE, FORMER):
        for line in (tmp_path / name).read_text().splitlines():
            assert re.fullmatch(r"\S+ \d+ info: w[012] \d+ x{40}", line)
        assert (tmp_path / name).stat().st_size < 40_000  # others write on while one renames


@pytest.mark.process
def test_a_run_says_what_it_does_and_keys_know_nothing_of_it(command, home, tmp_path):
    status, _, err = command(*RUN, "--out", "one", "--verbose")
    assert status == 0, err
    for text in ("xaibench run sds", "weights of tiny", "on cpu in float32", "2 of 2 images", "stored", "is complete",
                 "ended after"):  # fmt: skip
        assert any(text in line for line in err.splitlines()), text
    kept = Path("one", FILE).read_text()
    versions = json.loads(next(Path("one", "runs").glob("*.json")).read_text())["versions"]
    assert all(LINE.fullmatch(line) for line in kept.splitlines()) and f"torch {versions['torch']}" in kept
    quiet = command(*RUN, "--out", "two")
    assert quiet[0] == 0 and quiet[2] == "" and Path("two", FILE).read_text().count("is complete") == 1
    assert {p.name for p in Path("one", "cells").iterdir()} == {p.name for p in Path("two", "cells").iterdir()}
    assert command("validate", "one")[0] == 0
    assert command("publish", "one", "--to", "board", "--title", "t", "--license", "mit", "--quiet")[0] == 0
    assert not list(Path("board").rglob("*.log*"))


def test_every_command_has_the_option():
    import typer

    from xaibench.cli.app import app

    waiting, found = [typer.main.get_command(app)], 0
    while waiting:
        one = waiting.pop()
        below = getattr(one, "commands", None)
        waiting += (below or {}).values()
        if not below:
            found += 1
            assert [p.opts for p in one.params].count(["--verbose"]) == 1, one.name
    assert found > 20
