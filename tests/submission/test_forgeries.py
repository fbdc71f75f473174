"""No forgery of a submission is accepted; each is refused in one line, nothing of it is run or written outside.

`pytest -m slow -s tests/submission/test_forgeries.py` prints the table of `docs/submitting.md`.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from forgeries import structural

from xaibench.errors import XaibenchError
from xaibench.printing import clean
from xaibench.submission.archive import unpacked
from xaibench.submission.check import check

QUICK = 61  # every 61st one is tried in the quick tests


def reason(path: Path) -> str:
    """Why a submission is refused; "" where it is accepted. Anything but one line is an error here."""
    board = path.parent / "board"
    root: object = "no folder"
    try:
        with unpacked(path) as root:
            problems = check(root, board if board.is_dir() else None).problems
            text = clean(problems[0]) if problems else ""
    except XaibenchError as error:
        text = clean(error)
    assert str(root) not in text, text
    assert len(text.splitlines()) <= 1 and text.isprintable(), ascii(text)
    return text


def tried(folder: Path, home: Path, relisted, every: int, start: int = 0) -> dict[str, Counter]:
    """By kind how often each reason was given; fails for what is accepted, or leaves anything."""
    found: dict[str, Counter] = {}
    accepted = []
    outside = home / "outside"
    outside.mkdir()
    for number, (kind, name, forge) in enumerate(structural(folder)):
        if number % every != start:
            continue
        work = home / "work"
        path = forge(Path(shutil.copytree(folder, work / "mine")), relisted)
        here, modules = sorted(work.rglob("*")), set(sys.modules)
        why = reason(path)
        found.setdefault(kind, Counter())[why] += 1
        if not why:
            accepted.append(f"{kind}: {name}")
        assert sorted(work.rglob("*")) == here, f"{kind}: {name} wrote into its folder"
        assert {path.name for path in home.iterdir()} == {"outside", "work"} and not [*outside.iterdir()], name
        assert not {module for module in set(sys.modules) - modules if module.startswith("xaibench_plugin")}, name
        shutil.rmtree(work)
    assert not accepted, accepted
    return found


def test_some_forgeries_are_refused(packed, relisted, tmp_path_factory):
    found = tried(packed.folder, tmp_path_factory.mktemp("forged"), relisted, QUICK)
    assert sum(map(Counter.total, found.values())) > 8


@pytest.mark.slow
def test_every_forgery_is_refused(packed, relisted, tmp_path_factory):
    found = tried(packed.folder, tmp_path_factory.mktemp("forged"), relisted, 1)
    assert sum(map(Counter.total, found.values())) >= 300 and len(found) >= 12
    for kind, reasons in found.items():
        print(f"{kind} | {reasons.total()} | {reasons.most_common(1)[0][0]}")
