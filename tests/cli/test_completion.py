"""What a shell completes, as the shells ask for it, and how much is imported for that."""

from __future__ import annotations

import pytest
import typer

from xaibench import registry
from xaibench.cli.app import VERBS, app


@pytest.fixture
def complete(command, monkeypatch, home):
    """complete("run", "--mod"): the words that bash may complete the last one to."""

    def ask(*words: str) -> list[str]:
        monkeypatch.setenv("COMP_WORDS", " ".join(["xaibench", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        monkeypatch.setenv("_XAIBENCH_COMPLETE", "complete_bash")
        return command()[1].split()

    return ask


def test_verbs(complete):
    assert complete("") == list(VERBS)
    assert complete("va") == ["validate"] and complete("--v") == ["--version"] and complete("xyz") == []


def test_every_option_of_a_verb(complete):
    parameters = typer.main.get_command(app).commands["run"].params
    options = {name for one in parameters for name in one.opts if name.startswith("--")}
    assert set(complete("run", "--")) - {"--help"} == options and "--verbose" in options


@pytest.mark.parametrize(
    ("words", "kind"),
    [("run --model ", "model"), ("run sds --dataset ", "dataset"), ("run ", "protocol"),
     ("explain --methods ", "method"), ("show method ", "method"), ("show protocol ", "protocol"),
     ("leaderboard ", "protocol"), ("train classifier --model ", "model"), ("compare ", "comparison")],
)  # fmt: skip
def test_names_of_cards(complete, words, kind):
    found = complete(*words.split(" "))
    assert set(found) >= set(registry.names(kind))


def test_the_last_of_several_names(complete):
    assert complete("run", "sds", "--methods", "ig,grad-cam+") == ["ig,grad-cam++", "ig,grad-cam++-torchcam"]
    assert complete("run", "sds,id") == ["sds,ids", "sds,idsds"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells(command, monkeypatch, home, shell):
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "xaibench va")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    monkeypatch.setenv("_XAIBENCH_COMPLETE", f"complete_{shell}")
    assert "validate" in command()[1]


@pytest.mark.process
def test_completing_imports_nothing_heavy(home):
    """A quarter of a second on an idle core: the registry's names, and neither torch nor pandas."""
    import os
    import subprocess
    import sys
    from pathlib import Path

    import xaibench

    code = (
        "import sys; from xaibench.cli import main; sys.argv = ['xaibench']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'pandas', 'numpy', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    environment = os.environ | {
        "COMP_WORDS": "xaibench run sds --model ti", "COMP_CWORD": "4", "_XAIBENCH_COMPLETE": "complete_bash",
        "PYTHONPATH": str(Path(xaibench.__file__).parents[1]),
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[:2] == ["tiny", "[]"], done.stderr
