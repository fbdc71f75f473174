"""The list of verbs: complete, short enough for a terminal, and a verb imports no other verb."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import xaibench.cli
from xaibench.cli.app import VERBS, Verbs, app

FOLDER = Path(xaibench.cli.__file__).parent
LISTED = """
import json, sys
from xaibench.cli import main
sys.argv = ["xaibench", *{words!r}]
try:
    main()
except SystemExit:
    pass
print()
print(json.dumps(sorted(sys.modules)))
"""


def modules_after(*words: str) -> set[str]:
    code = LISTED.format(words=words)
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return set(json.loads(printed.splitlines()[-1]))


def test_every_file_with_a_command_is_a_verb():
    files = {path.stem: path for path in FOLDER.glob("*.py")} | {"train": FOLDER / "train" / "options.py"}
    texts = {name: path.read_text() for name, path in files.items() if name not in ("app", "__init__")}
    commands = {name for name, text in texts.items() if "\ndef command(" in text or "\napp = typer.Typer(" in text}
    assert commands <= VERBS.keys() and all(Verbs()[name].name == name for name in VERBS)


def test_help_of_the_root_has_a_line_for_each_verb(command):
    _, out, _ = command("--help")
    for name, text in VERBS.items():
        assert f"  {name:<11}  {text}\n" in out and len(f"  {name:<11}  {text}") <= 80


def groups(command: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """A command and the commands below it, each with the words that call it."""
    yield words, command
    for name, below in getattr(command, "commands", {}).items():
        yield from groups(below, *words, name)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 132, 200])
def test_no_line_about_a_command_is_cut(width, command, monkeypatch):
    """In the help of a group each command has its whole first sentence, which is that of its own help."""
    monkeypatch.setenv("COLUMNS", str(width))
    found = dict(groups(get_command(app)))
    assert {("train",), ("masks",), ("data",), ("show",), ("train", "guided"), ("run",)} <= found.keys()
    for words, group in found.items():
        status, out, _ = command(*words, "--help")
        section = out.partition("Commands:")[2]
        assert status == 0 and not [line for line in section.splitlines() if line.endswith("...")]
        shown = " ".join(section.split())
        for name in getattr(group, "commands", {}):
            text = VERBS[name] if not words else found[(*words, name)].help.split("\n\n")[0]
            sentence = " ".join(text.split())
            sentence = sentence[: re.search(r"\.( [A-Z]|$)", sentence).start() + 1]
            assert f"{name} {sentence}" in shown and sentence[-4:-1] != "al."


@pytest.mark.process
@pytest.mark.parametrize(("words", "verb"), [(["--help"], None), (["ls", "methods"], "ls"), (["nonsense"], None)])
def test_what_is_not_asked_for_is_not_imported(words, verb):
    modules = modules_after(*words)
    assert {name for name in VERBS if f"xaibench.cli.{name}" in modules} == ({verb} if verb else set())
    assert not modules & {"torch", "numpy", "pandas", "xaibench.cards"}
