"""Accuracies by group, by hand, and mean and deviation against the statistics of the standard library."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from types import SimpleNamespace

import pytest

from xaibench.cli.train.guided_tables import group_table
from xaibench.training.guidance.groups import group_accuracies, group_metrics, mean_and_deviation, worst_group
from xaibench.training.guidance_search import Outcome, Point, Run

RIGHT = [True, True, False, True, False, False, True, True]
GROUPS = ["G1", "G1", "G2", "G2", "G3", "G3", "G4", "G3"]


def test_accuracies_by_hand():
    found = group_accuracies(RIGHT, GROUPS)
    assert found == {"G1": 1.0, "G2": 0.5, "G3": pytest.approx(1 / 3), "G4": 1.0}
    assert worst_group(found) == "G3"


def test_the_worst_group_is_the_true_minimum_not_g3():
    right = [True, False, False, True, True]
    found = group_metrics(right, ["G1", "G2", "G2", "G3", "G4"])
    assert found == {
        "accuracy": 0.6, "worst_group": 0.0, "accuracy_G1": 1.0, "accuracy_G2": 0.0, "accuracy_G3": 1.0,
        "accuracy_G4": 1.0,
    }  # fmt: skip


def test_images_without_a_group_count_overall_only():
    assert group_metrics([True, False], ["", ""]) == {"accuracy": 0.5}
    assert group_metrics([True, False, False], ["a", "a", ""]) == {
        "accuracy": pytest.approx(1 / 3), "worst_group": 0.5, "accuracy_a": 0.5,
    }  # fmt: skip


def test_overall_is_the_mean_over_images_not_over_groups():
    assert group_metrics([True, True, True, False], ["a", "a", "a", "b"])["accuracy"] == 0.75


def test_a_group_too_many_is_an_error():
    with pytest.raises(ValueError, match="2 predictions for 3 groups"):
        group_accuracies([True, False], ["a", "b", "c"])


def test_mean_and_deviation_of_a_sample():
    values = [0.61, 0.7, 0.55, 0.9]
    mean, deviation = mean_and_deviation(values)
    assert mean == pytest.approx(statistics.fmean(values)) and deviation == pytest.approx(statistics.stdev(values))
    assert mean_and_deviation([0.4])[0] == 0.4 and math.isnan(mean_and_deviation([0.4])[1])


def test_a_baseline_that_runs_share_counts_once():
    def run(seed: int, start: str, accuracy: float) -> Run:
        tested = {"accuracy": accuracy, "worst_group": accuracy, "epg": 0.5}
        baseline, guided = Point(None, 0, {}, tested), Point(0.1, 1, {}, {**tested, "epg": 0.6 + seed / 10})
        return Run(seed, 0, baseline, [guided], 0, [SimpleNamespace(start_digest=start)])

    def baselines(*runs: Run) -> list[str]:
        table = group_table(Outcome(list(runs), "accuracy", Path(), None))
        return next(line for line in table.splitlines() if "baseline" in line).split()[1:]

    assert baselines(run(0, "a", 0.2), run(1, "a", 0.2))[:2] == ["1", "0.200"]
    assert baselines(run(0, "a", 0.2), run(1, "b", 0.4))[:4] == ["2", "0.300", "±", "0.141"]
