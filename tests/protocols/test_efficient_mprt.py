"""Efficient MPRT: entropies of NumPy and SciPy, the random network, and what controls get."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from xaibench.errors import XaibenchError
from xaibench.functional import complexity_rise_score, histogram_entropy
from xaibench.protocols.base import OK, UNDEFINED_MAP
from xaibench.protocols.randomization.efficient_mprt import EfficientMprt
from xaibench.protocols.randomization.randomization import Randomization, randomized


def ixg(e):
    return (e.inputs * e.gradient()).sum(1, keepdim=True)


@pytest.mark.parametrize("bins", [2, 20, 100])
def test_entropies_are_those_of_numpy_and_scipy(bins):
    maps = torch.randn(8, 1, 16, 24, generator=torch.Generator().manual_seed(0)).double()
    maps[4:] = maps[4:].relu()
    expected = [entropy(np.histogram(one.numpy(), bins=bins)[0]) for one in maps]
    found = histogram_entropy(maps, bins)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)
    assert (found > 0).all() and (found <= math.log(bins)).all()
    assert torch.allclose(histogram_entropy(4 * maps, bins), found) and (found[4:] < found[:4]).all()


def test_entropy_at_its_ends():
    steps = torch.arange(100.0).view(1, 1, 10, 10)
    single = torch.zeros(1, 1, 10, 10)
    single[0, 0, 3, 3] = 5
    assert histogram_entropy(steps).item() == pytest.approx(math.log(100))
    assert histogram_entropy(single).item() == pytest.approx(entropy([0.01, 0.99]))
    assert histogram_entropy(torch.ones(1, 1, 4, 4)).item() == 0
    single[0, 0, 0, 0] = float("inf")
    assert histogram_entropy(single).isnan().all()


def test_the_rise_is_relative():
    before, after = torch.tensor([2.0, 2.0, 0.0, 2.0]), torch.tensor([3.0, 0.0, 1.0, float("nan")])
    assert complexity_rise_score(before, after).nan_to_num(9).tolist() == [0.5, -1, 9, 9]


def test_scores_are_those_of_the_random_network_by_hand(net, images, labels, evidence):
    e, protocol = evidence(net, images, labels), EfficientMprt(bins=30)
    prepared, maps = protocol.prepare(e), ixg(e)
    before = e.runner.forward_equivalents
    scores = protocol.score_method(prepared, maps, ixg)
    assert e.runner.forward_equivalents - before == 3 * 6, "one more map for each image"
    lost = randomized(net, ["1.2", "0.2", "0.0"], 0)
    entropies = [
        np.array([entropy(np.histogram(one.numpy(), bins=30)[0]) for one in ixg(evidence(each, images, labels))])
        for each in (net, lost)
    ]
    rise = (entropies[1] - entropies[0]) / entropies[0]
    np.testing.assert_allclose(scores.also["relative-rise"].values.numpy(), rise, atol=1e-9)
    np.testing.assert_allclose(scores.values.numpy(), np.minimum(rise, 1), atol=1e-9)
    assert scores.status == [OK] * 6 and abs(rise).max() > 0.01
    cascade = Randomization(stages=3).copies(e)[-1][0].net  # the last stage of `randomization` has lost the same
    assert all(torch.equal(a, b) for a, b in zip(lost.parameters(), cascade.parameters(), strict=True))


def test_maps_that_do_not_look_at_the_model_do_not_rise_and_a_simple_one_rises_by_one_at_most(
    net, images, labels, evidence
):
    e, protocol = evidence(net, images, labels), EfficientMprt()
    prepared, blind = protocol.prepare(e), torch.randn(6, 1, 16, 24)
    assert protocol.score_method(prepared, blind, lambda other: blind).values.tolist() == [0] * 6
    simple = torch.zeros(6, 1, 16, 24)
    simple[:, 0, 2, 2] = 1
    scores = protocol.score_method(prepared, simple, lambda other: blind)
    assert scores.values.tolist() == [1] * 6 and scores.also["relative-rise"].values.min() > 100
    assert protocol.score_method(prepared, blind, lambda other: torch.ones(6, 1, 16, 24)).values.tolist() == [-1] * 6


def test_undefined_maps_and_settings(net, images, labels, maps, evidence):
    e, protocol = evidence(net, images, labels), EfficientMprt()
    maps[0], maps[1, 0, 0, 0], maps[2] = 0.5, float("nan"), 0
    broken = torch.randn(6, 1, 16, 24)
    broken[3, 0, 1, 1] = float("inf")
    scores = protocol.score_method(protocol.prepare(e), maps, lambda other: broken)
    assert scores.status == [UNDEFINED_MAP] * 4 + [OK] * 2
    assert all(also.status == scores.status for also in scores.also.values())
    with pytest.raises(XaibenchError, match="it needs the method"):
        protocol.score(protocol.prepare(e), maps)
    with pytest.raises(XaibenchError, match="bins is a whole number of at least 2"):
        EfficientMprt(bins=1)


def test_scores_do_not_depend_on_batches(net, images, labels, evidence):
    protocol, e = EfficientMprt(), evidence(net, images, labels)
    together = protocol.score_method(protocol.prepare(e), ixg(e), ixg).values
    one = evidence(net, images[4:5], labels[4:5], ["photo 4"])
    assert torch.allclose(protocol.score_method(protocol.prepare(one), ixg(one), ixg).values, together[4], rtol=1e-9)
