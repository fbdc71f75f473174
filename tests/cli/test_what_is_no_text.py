"""Words and surroundings that no command can work with: bytes, numbers and nesting without end, closed streams, no
home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import xaibench

PRINT = ("run", "sds", "--model", "tiny", "--dataset", "mini", "--print-config")


def line(said: tuple[int, str, str], *words: str) -> None:
    status, out, err = said
    assert status == 2 and err.startswith("xaibench: ") and len(err.splitlines()) == 1 and len(err) < 4100, err
    assert all(word in err for word in words), err
    assert err.strip().isprintable() and not out


HUGE = {
    "grid=" + "9" * 400: "more than 64 bits", "grid=" + "9" * 5000: "more than 64 bits",
    "grid=-9223372036854775809": "more than 64 bits", "grid=" + "[" * 20_000: "nested too deep",
    "grid=1e400": "finite", "grid=-inf": "finite", "grid=nan": "finite",
    "grid={a = [1, 99999999999999999999]}": "more than 64 bits",
    ".".join("a" * 3000) + "=1": "nested",
}  # fmt: skip


@pytest.mark.parametrize("option", ["--setting", "--recipe", "--dataset-option"])
@pytest.mark.parametrize("value", HUGE, ids=lambda value: value[:16])
def test_values_without_end(option, value, command, home):
    line(command(*PRINT, option, value), HUGE[value])


@pytest.mark.parametrize("value", ["9223372036854775807", "-5", "[1, 2]", "1e300", "9" * 400 + "x"])
def test_values_that_files_can_hold(value, command, home):
    status, out, err = command(*PRINT, "--setting", f"grid={value}")
    assert status == 0, err
    Path("run.toml").write_text(out)
    assert command("run", "--config", "run.toml", "--print-config")[1] == out


def test_a_value_of_two_lines_is_a_text(command, home):
    assert "grid = 1" not in command(*PRINT, "--setting", "grid=1\nother=2")[1]


@pytest.mark.parametrize("field", ["out", "data_root", "weights", "model", "methods", "settings"])
def test_requests_of_python_hold_texts_alone(field, home):
    bad = {
        "out": Path("a\udcff"),
        "data_root": Path("a\udcff"),
        "methods": ["rise", "a\udcff"],
        "settings": {"a": "\udcff"},
    }
    words = {"model": "tiny", "dataset": "mini"} | {field: bad.get(field, "a\udcff")}
    with pytest.raises(xaibench.XaibenchError, match=r"'[^']*udcff', which is no text in UTF-8"):
        xaibench.run("sds", **words)
    with pytest.raises(xaibench.XaibenchError, match="grid is a whole number of more than 64 bits"):
        xaibench.run("sds", model="tiny", dataset="mini", settings={"grid": 10**5000})


FILES = {
    "not UTF-8": (b'model = "\xff"', "utf-8"), "brackets": (b"images = " + b"[" * 50_000, "nested too deep"),
    "a huge number": (b"images = " + b"9" * 5000, "64 bits"),
    "a bit too large": (b"seed = 9223372036854775808", "64 bits"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_files_of_requests(kind, command, home):
    content, words = FILES[kind]
    Path("run.toml").write_bytes(content)
    line(command("run", "--config", "run.toml", "--print-config"), "run.toml", words)


def test_a_folder_and_a_pipe_are_no_files_of_requests(command, home):
    os.mkfifo("run.toml")
    line(command("run", "--config", "run.toml", "--print-config"), "run.toml is no file")
    line(command("run", "--config", ".", "--print-config"), "is no file")


def python(command: str, **environment: str | None) -> subprocess.CompletedProcess:
    """A command of a shell in which `xaibench` is this one; a variable that is None is not set."""
    changed = os.environ | {"PYTHONPATH": str(Path(xaibench.__file__).parents[1]), "OMP_NUM_THREADS": "1"} | environment
    kept = {name: value for name, value in changed.items() if value is not None}
    command = f'xaibench() {{ "{sys.executable}" -m xaibench "$@"; }}; {command}'
    return subprocess.run(["bash", "-c", command], env=kept, capture_output=True, timeout=120)


@pytest.mark.process
@pytest.mark.parametrize("words", ["status --out", "validate", "leaderboard sds --out", "show run", "explain", "ls"])
def test_bytes_that_are_no_text_are_refused(words, home):
    said = python(rf"xaibench {words} $'a\xff'")
    assert said.returncode == 2 and said.stdout == b""
    assert said.stderr == b"xaibench: 'a\\udcff' is no text in UTF-8; rename that file or folder\n"
    assert sorted(Path().iterdir()) == []


@pytest.mark.process
@pytest.mark.parametrize(
    ("closed", "words", "status"),
    [(">&-", "ls protocols", 0), ("2>&-", "ls nothing", 2), (">&- 2>&- <&-", "ls protocols", 0),
     ("<&-", "ls nothing", 2)],
)  # fmt: skip
def test_closed_streams(closed, words, status, home):
    said = python(f"xaibench {words} {closed}")
    assert said.returncode == status and b"Traceback" not in said.stdout + said.stderr
    assert (said.stdout == b"") and (said.stderr == b"") == ("2>&-" in closed or status == 0)


@pytest.mark.slow
@pytest.mark.process
def test_no_file_takes_the_place_of_a_closed_stream(home):
    """A file that is opened while the number 1 is free would receive what is printed."""
    text = 'import xaibench.cli.ls as ls\nfile = open("kept", "w")\nprint("printed", flush=True)\n'
    Path("plugin.py").write_text(text)
    python(f'"{sys.executable}" -c \'import sys; sys.argv[1:] = ["validate", "."]; from xaibench.cli import main\n'
           f"try: main()\nexcept SystemExit: exec(open(\"plugin.py\").read())' >&-")  # fmt: skip
    assert Path("kept").read_text() == ""


@pytest.mark.process
def test_without_a_home(home):
    said = python("xaibench ls models", XAIBENCH_HOME="~no-such-user/x")
    assert said.returncode == 2 and said.stderr.count(b"\n") == 1 and b"XAIBENCH_HOME" in said.stderr


def test_a_home_that_nobody_knows(command, home, monkeypatch):
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")  # as Python says it without HOME and password entry

    monkeypatch.delenv("XAIBENCH_HOME")
    monkeypatch.setattr(Path, "home", unknown)
    line(command("ls", "models"), "HOME is not set", "XAIBENCH_HOME")
