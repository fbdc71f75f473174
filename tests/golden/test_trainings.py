"""Keys of trainings, pinned exactly: the names of the folders of trained weights under XAIBENCH_HOME/models.

They are planned, not carried out. A key that moves trains weights anew, and all results that rest on them get other
keys. Keys only move by a decision written in docs/results.md; `python tests/golden/record.py trainings` writes
trainings.json again.
"""

from __future__ import annotations

import json

import cases
import pytest

PINNED = json.loads((cases.HERE / "trainings.json").read_text())


@pytest.mark.parametrize("case", cases.TRAININGS)
def test_folders_of_commands_are_the_pinned_ones(case, golden_home):
    assert cases.training_by_command(case, golden_home) == PINNED[case]
    trained = {path.name for path in (golden_home / "models").iterdir()}
    assert trained == {"critters_cnn-critters-guided-0"}, "nothing was trained"


@pytest.mark.parametrize("case", cases.WITHOUT_A_VERB)
def test_folders_of_other_trainings_are_the_pinned_ones(case, golden_home):
    assert cases.WITHOUT_A_VERB[case](cases.start_of(golden_home)) == PINNED[case]


def test_every_case_is_pinned_and_nothing_else():
    assert list(PINNED) == [*cases.TRAININGS, *cases.WITHOUT_A_VERB]


def test_a_run_trains_what_its_command_trains():
    """So the cases differ where they should, and only there."""
    same = {"by a run, plain": "plain", "by a run, aligned": "aligned resnet50", "by a run, for masks": "random masks"}
    same |= {"by a run, for parts": "part deletion"}
    assert all(PINNED[run] == PINNED[command] for run, command in same.items())
    others = [folder for case, folder in PINNED.items() if case not in same]
    assert len(set(others)) == len(others)
