"""The table of exit codes in docs/use-evaluate.md against what commands end with."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from processes import hear_all

import xaibench
from xaibench import cli
from xaibench.signals import ENDING

PAGE = Path(__file__).parents[2] / "docs" / "use-evaluate.md"
SLEEP = "import os, signal\nos.kill(os.getpid(), signal.{})\n"


def table() -> dict[int, str]:
    """The codes of the table with their meaning."""
    section = PAGE.read_text().partition("## Exit codes")[2].partition("\n## ")[0]
    return {int(code): text for code, text in re.findall(r"^\| (\d+) \| (.*) \|$", section, re.M)}


def ends(words: str, shell: str = "{}") -> int:
    """What a command ends with, as a shell says it; shell: what stands around it."""
    command = shell.format(f'"{sys.executable}" -m xaibench {words}')
    environment = os.environ | {"PYTHONPATH": str(Path(xaibench.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, timeout=120, preexec_fn=hear_all
    ).returncode


def codes_of_the_code() -> set[int]:
    """The exit status of every `typer.Exit(...)` of the command line, and those that its entry point knows."""
    found = {0, cli.MISTAKE, cli.INTERRUPTED, cli.CLOSED_PIPE, *(128 + number for number in ENDING)}
    for path in Path(cli.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("typer.Exit", "SystemExit", "sys.exit"):
                given = [*node.args, *(keyword.value for keyword in node.keywords)]
                found |= {one.value for one in given if isinstance(one, ast.Constant)}
    return found


def test_the_table_lists_every_code_of_the_code_once():
    assert list(table()) == sorted(codes_of_the_code()) and len(table()) == 7


def test_code_1_names_every_command_that_ends_with_it():
    folder = Path(cli.__file__).parent
    finding = {path.stem for path in folder.rglob("*.py") if "typer.Exit(1)" in path.read_text()}
    assert {re.search(rf"`{name}[` ]", table()[1]) is not None for name in finding} == {True}, finding


@pytest.mark.slow
@pytest.mark.process
def test_what_is_done_and_what_was_found(home, photos):
    assert ends("ls protocols") == 0 and "done" in table()[0]
    (Path("broken") / "rows").mkdir(parents=True)
    (Path("broken") / "cells").mkdir()
    (Path("broken") / "rows" / "x.parquet").write_bytes(b"no rows")
    assert ends("validate broken") == 1 and "`validate`" in table()[1]
    next(photos.rglob("*.png")).write_bytes(b"no photo")
    assert ends(f"data check imagefolder --data-root {photos}") == 1 and "`data check`" in table()[1]


@pytest.mark.process
@pytest.mark.parametrize("words", ["ls nothing", "run sds --model tiny --nonsense", "status --out nowhere", "nonsense"])
def test_mistakes(words, home):
    assert ends(words) == 2 and "mistake" in table()[2]


@pytest.mark.process
def test_a_closed_pipe(home):
    assert ends("ls protocols", "{} | true; exit ${{PIPESTATUS[0]}}") == 141 and "pipe" in table()[141]


@pytest.mark.process
@pytest.mark.parametrize(("name", "code"), [("SIGHUP", 129), ("SIGINT", 130), ("SIGTERM", 143)])
def test_signals(name, code, home):
    """The signal comes while a plug-in is loaded, which is before anything is computed."""
    Path("plugin.py").write_text(SLEEP.format(name))
    assert ends("run sds --model tiny --dataset mini --plugin plugin.py --quiet") == code
    assert name in table()[code] or "Ctrl-C" in table()[code]
