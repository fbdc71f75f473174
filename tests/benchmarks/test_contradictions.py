"""The study of contradictions: networks for which what it measures is known, and its intervals against SciPy."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

FOLDER = Path(__file__).parents[2] / "leaderboards" / "contradictions"


@pytest.fixture
def study(monkeypatch):
    """The scripts of the folder, as modules."""
    if not FOLDER.is_dir():
        pytest.skip("the scripts are in the repository only")
    monkeypatch.syspath_prepend(str(FOLDER))
    names = ("networks", "arms", "study", "measures", "boards")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    import arms
    import boards
    import measures
    import networks
    import study

    yield {"networks": networks, "arms": arms, "study": study, "measures": measures, "boards": boards}
    for name in names:
        sys.modules.pop(name, None)


def random_images(encoding, count=3):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return encoding(pixels), torch.arange(count) % 4


def test_a_linear_b_cos_network_explains_itself_exactly(study):
    """With B = 1 a network is linear: what a deletion takes away times the weights is the drop, and all is additive."""
    pytest.importorskip("bcos")
    arm = study["arms"].ARMS["B-cos, B = 1"]
    net = arm.shape.build(4, seed=0).eval()
    images, labels = random_images(arm.shape.encoding)
    found = study["study"].measured(arm, net, images, labels)
    assert found["score b-cos less baseline"] == pytest.approx(1, abs=0.01)  # float32 may swap two equal drops
    assert found["additivity"] == pytest.approx(1, abs=1e-3)
    assert found["score b-cos"].mean() < 0.99  # the own map leaves out the baseline
    curved = study["arms"].ARMS["B-cos"].shape.build(4, seed=0).eval()
    assert study["study"].measured(arm, curved, images, labels)["additivity"].mean() < 0.999


def test_additivity_is_one_of_a_sum_over_cells_and_less_of_a_product(study):
    class Cells(nn.Module):
        def __init__(self, joined):
            super().__init__()
            self.joined = joined

        def forward(self, x):
            cells = x.mean(1).unfold(1, 8, 8).unfold(2, 8, 8).square().mean((3, 4)).flatten(1)
            total = cells.cumsum(1).square().sum(1) if self.joined else cells.sum(1)
            return torch.stack([total, -total], 1)

    images, labels = torch.rand(4, 3, 32, 32), torch.zeros(4, dtype=torch.long)
    zero, masks = torch.zeros(3), study["study"].cell_masks((32, 32), 4, torch.arange(16))
    found = {}
    for joined in (False, True):
        net = Cells(joined)
        single = study["study"].drops(net, images, labels, zero, masks)
        found[joined] = study["study"].additivity(net, images, labels, zero, single, 4)
    assert found[False].numpy() == pytest.approx(1, abs=1e-5) and (found[True] < 0.9999).all()


@pytest.mark.parametrize("norm", ["batch", "fixup"])
def test_depth_adds_blocks_and_keeps_the_last_map(study, norm):
    shape = study["networks"].Shape
    images = torch.rand(2, 3, 32, 32)
    for blocks in (1, 4):
        net = shape(blocks, norm).build(4, seed=0).eval()
        assert len([m for m in net.modules() if isinstance(m, study["networks"].Block)]) == 2 * blocks
        assert net.features(net.stem(images)).shape == (2, 24, 8, 8) and net(images).shape == (2, 4)
    if norm == "fixup":  # it starts as a network whose branches are zero
        assert net(images).abs().max() == 0
        assert not [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]


@pytest.mark.slow
def test_a_training_is_of_its_seed_and_learns(study):
    from dataclasses import replace

    arms = study["arms"]
    images, labels = random_images(arms.STANDARD.shape.encoding, 8)
    arm = replace(arms.STANDARD, steps=25, aligned=False)
    first, again, other = (arms.trained(arm, seed, images, labels, 4) for seed in (0, 0, 1))
    weights = [net.fc.weight for net in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert (first.train()(images).argmax(1) == labels).float().mean() > 0.7  # statistics of the batch, as it learned


def test_changes_have_the_interval_of_welch(study):
    draws = np.random.default_rng(1)
    before, after = draws.normal(0.5, 0.1, 5), draws.normal(0.7, 0.3, 4)
    mean, width = study["measures"].change(before, after)
    expected = stats.ttest_ind(after, before, equal_var=False).confidence_interval()
    assert (mean - width, mean + width) == pytest.approx((expected.low, expected.high))
    low, high = study["boards"].interval(before)[1:]
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 4, before.mean(), stats.sem(before)))


def test_pairs_differ_in_one_field_but_for_those_that_are_the_contradiction(study):
    """Or in the recipe (loss with its optimiser and rate, as B-cos has them), which is one thing by its card."""
    arms, pairs = study["arms"].ARMS, study["measures"].PAIRS
    for contradiction, some in pairs.items():
        for number, (before, after) in enumerate(some):
            assert before in arms and after in arms
            one, other = vars(arms[before]), vars(arms[after])
            differ = {name for name in one if one[name] != other[name]}
            groups = {"optimizer": "recipe", "rate": "recipe", "steps": "steps", "shape": "shape"}
            things = {groups.get(name, name) for name in differ}
            across = "standard" in before and "B-cos" in after and before.partition(",")[2] == after.partition(",")[2]
            first = number == 0 or (contradiction == "1 B-cos" and across)
            assert first or len(things) == 1, (before, after, things)


def test_rows_and_pairs_of_stored_trainings(study, tmp_path):
    drops = np.array([[1.0, -1.0, 0.05, 2.0]])
    for arm, shift in (("standard", 0.0), ("B-cos", 0.1)):
        for seed in (0, 1):
            own = {"score b-cos": np.array([0.2 + seed]), "score b-cos less baseline": np.array([0.3])}
            np.savez(tmp_path / f"{arm}--{seed}.npz", drops=drops, right=np.array([True]), additivity=np.array([0.5]),
                     **{"score ig": np.array([0.6 + shift]), "score saliency": np.array([0.4]),
                        "score grad-cam": np.array([0.1])}, **(own if arm == "B-cos" else {}))  # fmt: skip
    images = study["measures"].images_of(tmp_path)
    first = study["measures"].rows_of(images).iloc[0]
    assert first["arm"] == "B-cos" and first["best"] == pytest.approx(0.7) and first["own"] == pytest.approx(0.2)
    assert first["against"] == pytest.approx(1 / 4.05) and first["flat"] == 0.25
    assert first["drops"] == pytest.approx(drops.std())
    pairs = study["measures"].pairs_of(images)
    found = pairs[pairs["before"] == "standard"].set_index("quantity")
    own = pairs[pairs["before"] == "B-cos"].set_index("quantity").loc["best to own"]  # of the same trainings
    assert own["change"] == pytest.approx(0.7 - 0.7) and own["low"] == pytest.approx(-0.5 * 12.706, rel=1e-3)
    assert found.loc["best", "change"] == pytest.approx(0.1) and found.loc["best", "low"] == pytest.approx(0.1)
    assert found.loc["best to own", "change"] == pytest.approx(0.7 - 0.6) and "own" not in found.index
    assert study["measures"].markdown(pairs).count("standard to B-cos") == 1
