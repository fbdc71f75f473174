"""Accuracy under single deletions: a plain loop, and passes shared with SDS."""

from __future__ import annotations

import pytest
import torch

from xaibench.errors import XaibenchError
from xaibench.protocols.base import OK, UNDEFINED_REFERENCE
from xaibench.protocols.faithfulness.sds import SingleDeletion
from xaibench.protocols.model_checks.sds_accuracy import CorruptedAccuracy, corrupted_accuracy_score


def test_hand_computed():
    logits = torch.tensor([[[2.0, 1.0], [3.0, 1.0]], [[2.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    assert corrupted_accuracy_score(logits, torch.tensor([0, 0, 0])).tolist() == [1, 0, 0]
    assert corrupted_accuracy_score(logits, torch.tensor([1, 1, 1])).tolist() == [0, 0, 1]


def test_scores_agree_with_a_plain_loop(net, images, evidence):
    labels = net(images).argmax(1)
    labels[0] = (labels[0] + 1) % 5
    protocol = CorruptedAccuracy(grid=2)
    scores = protocol.score(protocol.prepare(evidence(net, images, labels)), None)
    expected = []
    for image, label in zip(images, labels, strict=True):
        right = []
        for row in range(2):
            for column in range(2):
                hole = image.clone()
                hole[:, 8 * row : 8 * row + 8, 12 * column : 12 * column + 12] = 0
                right.append(int(net(hole[None]).argmax()) == int(label))
        expected.append(float(min(right)))
    assert scores.values.tolist() == expected and 0 < sum(expected) < 5, "some stay right, some do not"
    assert scores.also["accuracy"].values.tolist() == [0, 1, 1, 1, 1, 1] and scores.status == [OK] * 6


def test_deletions_are_shared_with_sds(net, images, labels, evidence):
    e = evidence(net, images, labels)
    assert CorruptedAccuracy.without_method
    SingleDeletion().prepare(e)
    cost = e.runner.forwards
    CorruptedAccuracy().prepare(e)
    assert e.runner.forwards == cost == 6 * 17
    CorruptedAccuracy(grid=2).prepare(e), CorruptedAccuracy(baseline="blur").prepare(e)
    assert e.runner.forwards == cost + 6 * (4 + 16)


def test_each_image_is_judged_by_its_own_label(net, images, evidence):
    labels = net(images).argmax(1)
    protocol = CorruptedAccuracy(grid=2, baseline="random")
    together = protocol.score(protocol.prepare(evidence(net, images, labels)), None).values
    right, wrong = together.argmax(), together.argmin()
    assert together[right] == 1 and together[wrong] == 0
    owner = torch.stack([right, wrong, wrong, right])
    pairs = evidence(net, images, labels).explaining(labels[owner], owner)
    assert torch.equal(protocol.score(protocol.prepare(pairs), None).values, together[owner])


def test_logits_that_are_not_finite_are_nobodys_fault(net, images, labels, evidence):
    images[2, 0, 0, 0] = float("nan")
    protocol = CorruptedAccuracy()
    scores = protocol.score(protocol.prepare(evidence(net, images, labels)), None)
    assert scores.status == [OK] * 2 + [UNDEFINED_REFERENCE] + [OK] * 3
    assert scores.also["accuracy"].status == scores.status


def test_settings_are_checked():
    assert CorruptedAccuracy().description == "grid 4, zero baseline"
    with pytest.raises(XaibenchError, match="baseline is zero or random or blur"):
        CorruptedAccuracy(baseline="mean")
    with pytest.raises(XaibenchError, match="do not divide into 4x4"):
        CorruptedAccuracy().check((18, 18))
