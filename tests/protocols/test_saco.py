"""SaCo: hand-computed cases, a plain loop over pairs of groups, and what ties, noise and the oracle get."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from xaibench.errors import XaibenchError
from xaibench.functional import removal_places, saco_score, salience_groups
from xaibench.protocols.base import OK, UNDEFINED_MAP, UNDEFINED_REFERENCE
from xaibench.protocols.faithfulness.saco import Saco


def coefficient(sums: list[float], drops: list[float]) -> float:
    """The definition of the paper, pair by pair."""
    signed = total = 0.0
    for i, j in combinations(range(len(sums)), 2):
        weight = sums[i] - sums[j]
        signed += weight if drops[i] >= drops[j] else -weight
        total += abs(weight)
    return signed / total


def loop(net, image, attribution, label, groups, mean=True) -> tuple[list[float], list[float]]:
    """Sums and drops of groups of pixels, for a map without ties, and a number of pixels that the groups divide."""
    colour = image.mean((1, 2), keepdim=True) if mean else torch.zeros(3, 1, 1).double()
    order, sums, drops = attribution.flatten().argsort(descending=True), [], []
    intact = float(net(image[None]).softmax(1)[0, label])
    for part in order.view(groups, -1):
        gone = torch.zeros(order.numel(), dtype=torch.bool)
        gone[part] = True
        sums.append(float(attribution.flatten()[part].sum()))
        without = torch.where(gone.view(image.shape[1:]), colour, image)
        drops.append(intact - float(net(without[None]).softmax(1)[0, label]))
    return sums, drops


@pytest.mark.parametrize("baseline", ["mean", "zero"])
def test_scores_agree_with_a_plain_loop(baseline, net, images, labels, evidence):
    maps, protocol = torch.randn(6, 1, 16, 24).double(), Saco(groups=6, baseline=baseline)
    images = images + torch.tensor([3.0, 0, -3])[:, None, None]  # the mean colour is no grey
    e = evidence(net, images, labels, chunk=5)
    scores = protocol.score(protocol.prepare(e), maps)
    assert e.runner.forwards == 6 + 6 * 6 and scores.status == [OK] * 6
    for i in range(6):
        sums, drops = loop(net, images[i], maps[i, 0], labels[i], 6, baseline == "mean")
        assert float(scores.values[i]) == pytest.approx(coefficient(sums, drops), abs=1e-9)
    assert scores.also["tied"].values.tolist() == scores.also["tied-drops"].values.tolist() == [0] * 6


def test_the_coefficient_is_that_of_the_paper():
    generator = torch.Generator().manual_seed(0)
    sums = torch.randn(50, 7, generator=generator).sort(1, descending=True).values
    drops = torch.randn(50, 7, generator=generator).round(decimals=1)
    expected = [coefficient(*pair) for pair in zip(sums.tolist(), drops.tolist(), strict=True)]
    found = saco_score(sums, drops)
    assert found.tolist() == pytest.approx(expected, abs=1e-6) and found.abs().max() <= 1
    # by hand: weights 1, 3 and 2 of the pairs, of which the first disagrees
    assert saco_score(torch.tensor([[3.0, 2.0, 0.0]]), torch.tensor([[0.1, 0.3, 0.0]])).item() == pytest.approx(4 / 6)
    unsorted = sums.flip(1)  # as sums may be where groups differ by a pixel
    expected = [coefficient(*pair) for pair in zip(unsorted.tolist(), drops.tolist(), strict=True)]
    assert saco_score(unsorted, drops).tolist() == pytest.approx(expected, abs=1e-6)
    # scale and shift of the map, and any increasing function of the drops, change nothing
    assert torch.allclose(saco_score(3 * sums - 5, drops.double() ** 3), found, atol=1e-5)
    assert saco_score(sums, sums).tolist() == [1] * 50 and saco_score(sums, -sums).tolist() == [-1] * 50


def test_ties_of_drops_agree_and_equal_groups_are_undefined():
    sums = torch.tensor([[3.0, 2.0, 1.0]])
    assert saco_score(sums, torch.zeros(1, 3)).tolist() == [1]
    assert saco_score(torch.ones(1, 3), sums).isnan().all()
    assert saco_score(sums, torch.tensor([[1.0, float("nan"), 0.0]])).isnan().all()


def test_groups_have_equal_numbers_and_ties_an_order_of_their_own():
    maps = torch.randn(3, 1, 5, 5).relu()
    ties = torch.stack([torch.randperm(25) for _ in range(3)])
    numbers, sums = salience_groups(maps, removal_places(maps.flatten(1), ties), 4)
    for pair in range(3):
        counts = torch.bincount(numbers[pair], minlength=4).tolist()
        assert sum(counts) == 25 and set(counts) <= {6, 7}
        for group in range(4):
            inside = maps[pair].flatten()[numbers[pair] == group]
            assert float(inside.double().mean() * 25 / 4) == pytest.approx(float(sums[pair, group]))
            later = maps[pair].flatten()[numbers[pair] > group]
            assert not len(later) or inside.min() >= later.max()


def test_a_constant_added_to_a_map_changes_nothing(net, images, labels, evidence):
    """384 pixels in 10 groups of 38 or 39: a constant must not make the larger groups the more salient ones."""
    e, maps = evidence(net, images, labels), torch.randn(6, 1, 16, 24).double()
    found = [Saco().score(e, maps + constant).values for constant in (0, 1, -1000)]
    assert torch.allclose(found[1], found[0], atol=1e-9) and torch.allclose(found[2], found[0], atol=1e-6)
    assert found[0].abs().max() < 0.999, "not all pairs of groups agree"


def test_a_linear_models_own_map_is_right_and_its_opposite_wrong(linear, evidence):
    """The logit is a sum over pixels: a group with a larger sum of weight times value moves it more."""
    weights, images = torch.rand(1, 8, 8).double(), torch.rand(4, 1, 8, 8).double() / 8
    e, protocol = evidence(linear(weights), images, [0] * 4), Saco(groups=8, baseline="zero")
    prepared = protocol.prepare(e)
    assert protocol.score(prepared, images * weights).values.tolist() == pytest.approx([1] * 4)
    assert protocol.score(prepared, -images * weights).values.tolist() == pytest.approx([-1] * 4)


def test_noise_scores_nothing_on_average(net, images, labels, evidence):
    e, protocol = evidence(net, images, labels), Saco()
    found = [protocol.score(e, torch.randn(6, 1, 16, 24)).values.mean() for _ in range(12)]
    assert abs(float(torch.stack(found).mean())) < 0.15


def test_a_model_that_never_moves_gives_every_map_one(linear, evidence):
    e = evidence(linear(torch.zeros(1, 8, 8).double()), torch.rand(2, 1, 8, 8).double(), [0, 0])
    scores = Saco(groups=4).score(e, torch.rand(2, 1, 8, 8))
    assert scores.values.tolist() == scores.also["tied-drops"].values.tolist() == [1, 1]


def test_undefined_maps_lost_drops_and_settings(net, images, labels, maps, evidence):
    maps[0], maps[1, 0, 2, 2], maps[2] = 0.3, float("nan"), 0
    e = evidence(net, images, labels)
    scores = Saco().score(e, maps)
    assert scores.status == [UNDEFINED_MAP] * 3 + [OK] * 3 and scores.also["tied-drops"].status == scores.status
    e.once(("logits",), lambda: None, per_image=True)[4] = float("nan")  # what the network says of one image is lost
    assert Saco().score(e, maps).status == [UNDEFINED_MAP] * 3 + [OK, UNDEFINED_REFERENCE, OK]
    with pytest.raises(XaibenchError, match="10 groups need at least as many pixels; images have 3x3"):
        Saco().check((3, 3))
    with pytest.raises(XaibenchError, match="groups is a whole number of at least 2"):
        Saco(groups=1)


def test_scores_do_not_depend_on_batches(net, images, labels, maps, evidence):
    protocol = Saco(groups=5)
    together = protocol.score(evidence(net, images, labels), maps).values
    ids = [f"photo {i}" for i in reversed(range(6))]
    flipped = evidence(net, images.flip(0), labels.flip(0), ids, chunk=4)
    assert torch.allclose(protocol.score(flipped, maps.flip(0)).values.flip(0), together, rtol=1e-9)
