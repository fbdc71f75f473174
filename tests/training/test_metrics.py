"""F1 and mAP by hand, and against brute force over all thresholds in exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from xaibench.training.metrics import accuracy, average_precision, f1, mean_average_precision

LOGITS = torch.tensor([[2.0, -1.0, 0.0], [1.0, 3.0, -2.0], [-1.0, 0.5, -0.5], [0.5, -3.0, -4.0]])
TRUTH = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])


def test_by_hand():
    """Predicted: 0 and 2, 0 and 1, 1, 0 (a logit of 0 counts). Hits 4, false 2, missed 1: F1 = 8 / (8 + 2 + 1).

    Class 0 ranks images 0, 1, 3, 2, of which 0, 3, 2 are right: (1 + 2/3 + 3/4) / 3. Class 1 ranks both right ones
    first. No image has class 2.
    """
    assert f1(LOGITS, TRUTH) == pytest.approx(8 / 11)
    value, classes = mean_average_precision(LOGITS, TRUTH)
    assert classes == 2 and value == pytest.approx(((1 + 2 / 3 + 3 / 4) / 3 + 1) / 2)
    assert accuracy(LOGITS, torch.tensor([0, 1, 2, 0])) == 0.75


def brute_force(scores, truth):
    """The sum over thresholds of precision times the gain in recall."""
    total, before, positives = Fraction(0), 0, sum(truth)
    for threshold in sorted(set(scores), reverse=True):
        chosen = [t for s, t in zip(scores, truth, strict=True) if s >= threshold]
        total += Fraction(sum(chosen), len(chosen)) * Fraction(sum(chosen) - before, positives)
        before = sum(chosen)
    return float(total)


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_average_precision_is_the_sum_over_thresholds_whatever_the_order(levels):
    draw = torch.Generator().manual_seed(levels)
    for _ in range(20):
        scores = torch.randint(levels, (30,), generator=draw).float()
        truth = (torch.rand(30, generator=draw) < 0.3).float()
        truth[0] = 1
        expected = brute_force(scores.int().tolist(), truth.int().tolist())
        assert average_precision(scores, truth) == pytest.approx(expected, abs=1e-12)
        order = torch.randperm(30, generator=draw)
        assert average_precision(scores[order], truth[order]) == average_precision(scores, truth)


def test_average_precision_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    draw = torch.Generator().manual_seed(0)
    scores, truth = torch.randn(50, 6, generator=draw), (torch.rand(50, 6, generator=draw) < 0.2).float()
    scores = scores.round(decimals=1)
    expected = metrics.average_precision_score(truth.numpy(), scores.numpy(), average="macro")
    assert mean_average_precision(scores, truth)[0] == pytest.approx(expected)
    assert f1(scores, truth) == pytest.approx(metrics.f1_score(truth.numpy(), (scores >= 0).numpy(), average="micro"))


def test_where_nothing_is_there_or_predicted():
    none = torch.zeros(3, 2)
    assert f1(none - 1, none) == 0 and f1(none - 1, none + 1) == 0 and f1(none, none + 1) == 1
    value, classes = mean_average_precision(none, none)
    assert math.isnan(value) and classes == 0
    assert average_precision(torch.zeros(4), torch.tensor([0.0, 1, 0, 0])) == 0.25, "a tie is one threshold"
