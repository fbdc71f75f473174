"""IDS and SRG: hand-computed, against a plain loop, updated attributions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from torch import nn

from xaibench.errors import XaibenchError
from xaibench.protocols.base import OK, UNDEFINED_MAP
from xaibench.protocols.curves import tie_order
from xaibench.protocols.faithfulness.ids import IncrementalDeletion, incremental_deletion_score
from xaibench.protocols.faithfulness.srg import SymmetricRelevanceGain, symmetric_relevance_gain
from xaibench.seeds import generator

ZERO = torch.tensor([0.4, -0.3, 0.2])


class Brightness(nn.Module):
    """The logit of class 0 is the sum of all values; class 1 has the logit 0."""

    def __init__(self):
        super().__init__()
        self.eval()

    def forward(self, x):
        logit = x.sum((1, 2, 3))
        return torch.stack([logit, torch.zeros_like(logit)], 1)


def sigmoid(values):
    return 1 / (1 + np.exp(-np.array(values, dtype=float)))


def test_a_hand_computed_image_of_four_by_four_pixels(evidence):
    """Quadrants of brightness 1, 2, 3, 4 (16 values: sums 4, 8, 12, 16, scaled by 1/10), four steps of one patch.

    The map ranks the quadrants 3, 1, 2, 4 from the least important on (that is, quadrant 1, 2, 0, 3 goes).
    """
    quadrants = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64) / 10
    image = quadrants.repeat_interleave(2, 0).repeat_interleave(2, 1)[None, None]
    attribution = torch.tensor([[9.0, 0, 1, 0], [0, 0, 0, 0], [5, 0, 9, 9], [0, 0, 9, 9]])[None, None]
    e = evidence(Brightness(), image, [0])
    settings = {"level": "patch", "grid": 2, "steps": 4}
    ascending, descending = sigmoid([4.0, 3.2, 2.0, 1.6]), sigmoid([4.0, 2.4, 2.0, 0.8])
    protocol = IncrementalDeletion(**settings)
    assert float(protocol.score(protocol.prepare(e), attribution).values) == pytest.approx(ascending.mean(), abs=1e-12)
    protocol = IncrementalDeletion(order="descending", **settings)
    assert float(protocol.score(protocol.prepare(e), attribution).values) == pytest.approx(
        1 - descending.mean(), abs=1e-12
    )
    protocol = SymmetricRelevanceGain(**settings)
    scores = protocol.score(protocol.prepare(e), attribution)
    assert float(scores.values) == pytest.approx(ascending.mean() - descending.mean(), abs=1e-12)
    assert float(scores.also["least-first"].values) == pytest.approx(ascending.mean(), abs=1e-12)
    assert float(scores.also["most-first"].values) == pytest.approx(descending.mean(), abs=1e-12)
    # the same by the trapezoid rule, with the end that both curves share
    both = trapezoid(np.append(ascending, 0.5), dx=0.25) - trapezoid(np.append(descending, 0.5), dx=0.25)
    assert float(scores.values) == pytest.approx(both, abs=1e-12)


def test_the_gain_is_that_of_the_two_scores():
    least, most = torch.rand(5, 32).double(), torch.rand(5, 32).double()
    two = incremental_deletion_score(least, "ascending") + incremental_deletion_score(most, "descending") - 1
    assert torch.allclose(symmetric_relevance_gain(least, most), two, atol=1e-12)


def loop_score(net, image, other, target, order, steps) -> float:
    """Mean probability over the steps 0..steps-1, pixels going in this order."""
    values = []
    for step in range(steps):
        current = image.clone().flatten(1)
        gone = order[: round(step * len(order) / steps)]
        current[:, gone] = other.flatten(1)[:, gone]
        values.append(float(net(current.view_as(image)[None]).softmax(1)[0, target]))
    return float(np.mean(values))


@pytest.mark.parametrize("baseline", ["zero", "random", "blur"])
def test_scores_agree_with_a_plain_loop_also_where_maps_tie(baseline, net, images, labels, maps, evidence):
    from xaibench.protocols.patches import blur

    e = evidence(net, images, labels, zero=ZERO, seed=3)
    protocol = IncrementalDeletion(baseline=baseline, steps=6)
    scores = protocol.score(protocol.prepare(e), maps)
    ties = tie_order(e, 384)
    for i in range(6):
        draw = torch.rand(3, 16, 24, generator=generator(3, "deleted pixels", f"photo {i}"))
        other = {
            "zero": ZERO.double()[:, None, None].expand_as(images[i]),
            "random": 2 * draw.double() - 1,
            "blur": blur(images[i : i + 1])[0],
        }[baseline]
        drawn = {int(pixel): place for place, pixel in enumerate(ties[i])}
        values = maps[i].flatten().tolist()
        order = sorted(range(384), key=lambda pixel: (values[pixel], -drawn[pixel]))
        assert float(scores.values[i]) == pytest.approx(loop_score(net, images[i], other, labels[i], order, 6))
    assert torch.allclose(scores.also["tied"].values, (maps.flatten(1) == 0).double().mean(1))


def test_scores_do_not_depend_on_batches_chunks_and_order(net, images, labels, maps, evidence):
    for protocol in (IncrementalDeletion(steps=5, baseline="random"), SymmetricRelevanceGain(steps=5)):
        together = protocol.score(protocol.prepare(evidence(net, images, labels)), maps).values
        ids = [f"photo {i}" for i in reversed(range(6))]
        flipped = evidence(net, images.flip(0), labels.flip(0), ids, chunk=7)
        backwards = protocol.score(protocol.prepare(flipped), maps.flip(0)).values
        assert torch.allclose(backwards.flip(0), together, rtol=1e-9)


def test_a_tied_region_goes_in_the_same_order_for_all_methods(evidence):
    """Two methods that differ only where both have gone, or not yet gone, score the same."""
    torch.manual_seed(0)
    e = evidence(Brightness(), torch.rand(1, 1, 4, 4).double(), [0])
    one, two = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    one[..., 0, 0], two[..., 0, 0] = 1.0, 50.0
    protocol = IncrementalDeletion(steps=8)
    assert torch.equal(protocol.score(protocol.prepare(e), one).values, protocol.score(protocol.prepare(e), two).values)


def test_intact_counts_and_fully_deleted_does_not(net, images, labels, maps, evidence):
    e = evidence(net, images, labels)
    heights = IncrementalDeletion(steps=4).heights(e, maps, "ascending")
    assert heights.shape == (6, 4) and torch.allclose(heights[:, 0], e.scores(e.logits(), "probability"))
    assert e.runner.forwards == 6 * 4


def ixg(e):
    return (e.inputs * e.gradient()).sum(1, keepdim=True)


@pytest.mark.parametrize("settings", [{}, {"order": "descending"}, {"level": "patch", "grid": 4}])
def test_updated_is_fixed_for_a_map_that_does_not_depend_on_the_image(settings, net, images, labels, maps, evidence):
    e = evidence(net, images, labels)
    fixed, updated = (IncrementalDeletion(steps=8, attribution=a, **settings) for a in ("fixed", "updated"))
    expected = fixed.score_method(fixed.prepare(e), maps, None)
    seen = []

    def again(other):
        seen.append(other.inputs)
        return maps

    found = updated.score_method(updated.prepare(e), maps, again)
    assert torch.allclose(found.values, expected.values, rtol=1e-9) and found.status == expected.status == [OK] * 6
    assert len(seen) == 6, "the intact image's map is known, and behind the last step none is needed"
    gone = torch.stack([(image == 0).all(1) for image in seen])
    assert (gone[1:] | ~gone[:-1]).all(), "deleted pixels stay deleted"
    assert torch.allclose(gone[0].double().mean((1, 2)), torch.full((6,), 1 / 8).double())


def test_updated_attributions_agree_with_a_plain_loop(net, images, labels, evidence):
    e = evidence(net, images, labels)
    protocol = IncrementalDeletion(steps=6, attribution="updated")
    found = protocol.score_method(protocol.prepare(e), ixg(e), ixg)
    for i in (0, 3):
        current, left, values = images[i].clone(), list(range(384)), []
        for _ in range(6):
            values.append(float(net(current[None]).softmax(1)[0, labels[i]]))
            attribution = ixg(evidence(net, current[None], labels[i : i + 1])).flatten()
            going = sorted(left, key=lambda pixel: float(attribution[pixel]))[:64]
            left = [pixel for pixel in left if pixel not in going]
            current = current.flatten(1).index_fill(1, torch.tensor(going), 0).view_as(current)
        assert float(found.values[i]) == pytest.approx(np.mean(values), rel=1e-9)
    assert found.values[0] != IncrementalDeletion(steps=6).score(e, ixg(e)).values[0]


def test_a_map_that_breaks_on_the_way_is_undefined(net, images, labels, maps, evidence):
    e = evidence(net, images, labels)
    protocol, calls = IncrementalDeletion(steps=5, attribution="updated"), []

    def again(other):
        calls.append(1)
        changed = maps.clone()
        if len(calls) == 2:
            changed[4, 0, 0, 0] = float("nan")
        return changed

    assert protocol.score_method(protocol.prepare(e), maps, again).status == [OK] * 4 + [UNDEFINED_MAP, OK]


def test_undefined_maps(net, images, labels, maps, evidence):
    maps[0], maps[1, 0, 3, 3] = 0.1, float("nan")
    e = evidence(net, images, labels)
    for protocol in (IncrementalDeletion(steps=4), SymmetricRelevanceGain(steps=4)):
        assert protocol.score(protocol.prepare(e), maps).status == [UNDEFINED_MAP] * 2 + [OK] * 4
    inside = torch.zeros(6, 1, 16, 24)
    inside[:, :, ::4, ::6] = 0.3  # the same in each of 4 x 4 cells
    protocol = IncrementalDeletion(level="patch", grid=4, steps=4)
    assert protocol.score(protocol.prepare(e), inside).status == [UNDEFINED_MAP] * 6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IncrementalDeletion(order="random"), "order is ascending or descending, not 'random'"),
        (lambda: IncrementalDeletion(level="cell"), "level is pixel or patch"),
        (lambda: IncrementalDeletion(attribution="updated").score(None, None), "it needs the method, not its map"),
        (
            lambda: IncrementalDeletion(level="patch", grid=4).check((16, 16)),
            "32 steps need as many units .patch.; images have 16",
        ),
        (lambda: SymmetricRelevanceGain(level="patch").check((20, 20)), "do not divide into 8x8"),
        (lambda: SymmetricRelevanceGain(steps=1), "steps is a whole number of at least 2"),
    ],
)
def test_settings_that_do_not_fit_are_refused(make, message):
    with pytest.raises(XaibenchError, match=message):
        make()
