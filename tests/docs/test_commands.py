"""Every command of the README, the pages and the published boards is one that the command line takes.

The words of a command, as a shell gives them (`shell_blocks.py`), are parsed by the real command line. Commands in
running text may be cut short, so of these the verbs and the names of options are checked.
"""

from __future__ import annotations

import re
import shutil
from functools import cache
from pathlib import Path

import click
import pytest
import typer
from shell_blocks import BLOCK, given

from xaibench.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT)
    for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("leaderboards/**/README.md")]
)
INLINE = re.compile(r"`+(xaibench [^`]+)`+")
WRITTEN = ("--config",)  # files that the page tells to write

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="the pages' commands are for a shell")


@cache
def program() -> click.Command:
    return typer.main.get_command(app)


def verb_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that words name, and the words after its name; raises UsageError for a verb that does not exist."""
    command, rest = program(), list(words)
    while hasattr(command, "commands"):
        if not rest or rest[0] not in command.commands:
            raise click.UsageError(f"no verb {' '.join(words[: len(words) - len(rest) + 1])}")
        command = command.commands[rest.pop(0)]
    return command, rest


def options_of(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


def parse(words: list[str]) -> None:
    """Parses a command without running it; where it is a request, also its values."""
    if words[0].startswith("--"):
        assert words[0] in options_of(program()), words
        return
    command, rest = verb_of(words)
    if "--print-config" in options_of(command) and not set(WRITTEN) & set(rest):
        program().main([*words, "--print-config"], "xaibench", standalone_mode=False)
    else:
        with command.make_context(words[0], rest):
            pass


@needs_bash
@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_of_a_page_parse(page, tmp_path, monkeypatch, home, capsys):
    monkeypatch.chdir(tmp_path)
    for words in given((ROOT / page).read_text(), tmp_path):
        try:
            parse(words)
        except Exception as error:  # one page shows all that is wrong with a command
            message = error.format_message() if isinstance(error, click.ClickException) else error
            pytest.fail(f"{page}: xaibench {' '.join(words)}\n{message}")


@needs_bash
def test_commands_that_a_block_starts_beside_one_another_are_read_whole(tmp_path):
    block = "for i in {1..100}; do xaibench run idsds --shard $i/100 & done"
    found = given(f"```bash\n{block}\n```", tmp_path)
    assert sorted(found) == sorted(["run", "idsds", "--shard", f"{i}/100"] for i in range(1, 101))


@needs_bash
def test_a_name_stands_for_one_training(tmp_path):
    """A name that a model has already is refused, so pages that are followed one after another share none."""
    trainings = {}
    for page in PAGES:
        for words in given((ROOT / page).read_text(), tmp_path):
            if words[0] == "train" and "--name" in words:
                name = words[words.index("--name") + 1]
                assert trainings.setdefault(name, words) == words, f"{page}: {name}"
    assert len(trainings) > 20


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_in_running_text_exist(page):
    text = BLOCK.sub("", (ROOT / page).read_text())
    for inline in INLINE.findall(text):
        words = re.sub(r"[^\w\s./:=,'<>*-]", " ", inline).split()[1:]
        command, rest = program(), words
        while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
            known = rest[0] in command.commands or rest[0].isupper() or rest[0] == "..."
            assert known, f"{page}: {inline}: no verb {rest[0]}"
            command, rest = command.commands.get(rest[0], command), rest[1:]
            if rest and rest[0].isupper():
                break
        if not hasattr(command, "commands"):
            for word in rest:
                name = word.split("=")[0]
                assert not name.startswith("--") or name in options_of(command), f"{page}: {inline}: no option {name}"


def test_what_is_wrong_is_noticed(tmp_path, home, capsys):
    """The tests above can fail: verbs, options, values and missing arguments."""
    text = (
        "```\nfor n in 1 2; do srun -n 4 xaibench run sds --model tiny --seed $n > out & done # xaibench nothing\n```\n"
    )
    both = [["run", "sds", "--model", "tiny", "--seed", n] for n in "12"]
    assert sorted(given(text, tmp_path)) == both, "in any order: they run in the background"
    parse(given(text, tmp_path)[0])
    for wrong in ("walk sds", "run sds --model tiny --sed 1", "run sds --model tiny --seed one",
                  "publish results --too x", "train guided --model tiny --lambdas 1", "show", "validate"):  # fmt: skip
        with pytest.raises(Exception):  # noqa: B017 - usage errors of click, and of requests
            parse(wrong.split())
