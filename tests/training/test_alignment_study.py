"""The scripts of the study of alignment without labels: agreement of drops by hand, and what each arm learns."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

STUDY = Path(__file__).parents[2] / "leaderboards" / "alignment"


@pytest.fixture
def study(monkeypatch):
    """The modules `arms` and `measures`, imported from their folder for one test."""
    if not STUDY.is_dir():
        pytest.skip("the scripts are in the repository only")
    monkeypatch.syspath_prepend(str(STUDY))
    import arms
    import measures

    yield arms, measures
    for name in ("arms", "measures"):
        sys.modules.pop(name)


def test_agreement_by_hand(study):
    _, measures = study
    reference = np.array([[0.0, 1, 2, 3], [4.0, 1, 0, 3]])
    found = measures.agreement(0.5 * reference + [[7], [9]], reference)
    assert found["spearman"] == pytest.approx(1) and found["slope"] == pytest.approx(0.5)
    found = measures.agreement(np.array([[0.0, 1, 2, 3], [0.0, 3, 4, 1]]), reference)
    # the second image backwards; centred: 5 + -10 = -5 over 15, and squared over 15 * 15
    assert found["spearman"] == pytest.approx(0) and found["slope"] == pytest.approx(-1 / 3)
    assert found["signal"] == pytest.approx((1 / 9) / (1 - 1 / 9))
    logits, labels = np.arange(2 * 17 * 3, dtype=float).reshape(2, 17, 3), np.array([2, 0])
    assert measures.drops_of(logits, labels).tolist() == [[-3.0 * cell for cell in range(1, 17)]] * 2


def test_arms_learn_what_they_say(study):
    arms, _ = study
    draw = torch.Generator().manual_seed(0)
    images, labels = torch.randn(64, 3, 32, 32, generator=draw), torch.arange(64) % 4
    start, zero = arms.small_network(4, 0).eval(), torch.zeros(3)
    kept = {name: tensor.clone() for name, tensor in start.state_dict().items()}
    found = {
        name: arms.trained(arms.Arm(name, 64, 0), start, images, labels, zero, 2, 0.05).state_dict()
        for name in (*arms.ASKED, "bn-only", "labels")
    }
    assert all(torch.equal(tensor, kept[name]) for name, tensor in start.state_dict().items())
    learnt = {name: not torch.equal(state["3.weight"], kept["3.weight"]) for name, state in found.items()}
    assert learnt == {name: name != "bn-only" for name in found}
    mean = "0.1.running_mean"
    assert {n for n, state in found.items() if torch.equal(state[mean], kept[mean])} == {"self-kept"}
    other = arms.trained(arms.Arm("labels", 64, 0), start, images, labels.flip(0), zero, 2, 0.05).state_dict()
    assert not torch.equal(other["3.weight"], found["labels"]["3.weight"])
    for name in arms.ASKED:
        other = arms.trained(arms.Arm(name, 64, 0), start, images, labels.flip(0), zero, 2, 0.05).state_dict()
        assert torch.equal(other["3.weight"], found[name]["3.weight"]), f"{name} sees labels"
