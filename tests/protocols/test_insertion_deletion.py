"""Deletion, insertion and their difference: hand-computed, in closed form, against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from torch import Tensor

from xaibench.errors import XaibenchError
from xaibench.protocols.base import OK, UNDEFINED_MAP, UNDEFINED_REFERENCE
from xaibench.protocols.faithfulness.combined import Combined
from xaibench.protocols.faithfulness.deletion import Deletion
from xaibench.protocols.faithfulness.insertion import Insertion
from xaibench.protocols.insertion_deletion import blank_images, relative_heights, replacement_curve

ZERO = torch.tensor([0.4, -0.3, 0.2])


def sigmoid(value: float) -> float:
    return 1 / (1 + np.exp(-value))


def test_a_hand_computed_image_of_two_by_two_pixels(evidence, linear):
    """Contributions 3, 1, -2, 0 go in the order of the map: pixel 1, 0, 3, 2; the logit is 2, 1, -2, -2, 0."""
    image = torch.tensor([[[[3.0, 1.0], [-2.0, 0.0]]]]).double()
    e = evidence(linear(torch.ones(1, 2, 2).double()), image, [0])
    attribution = torch.tensor([[[[5.0, 9.0], [-1.0, 0.0]]]])
    protocol = Deletion(steps=4)
    score = protocol.score(protocol.prepare(e), attribution)
    heights = [sigmoid(value) for value in (2, 1, -2, -2, 0)]
    assert float(score.values) == pytest.approx(np.trapezoid(heights, dx=0.25), abs=1e-12)
    protocol = Insertion(steps=4, start="zero")  # the logit is 0, 1, 4, 4, 2
    heights = [sigmoid(value) for value in (0, 1, 4, 4, 2)]
    assert float(protocol.score(protocol.prepare(e), attribution).values) == pytest.approx(
        np.trapezoid(heights, dx=0.25)
    )
    protocol = Insertion(steps=4, start="zero", output="logit")
    assert float(protocol.score(protocol.prepare(e), attribution).values) == pytest.approx((0.5 + 2 + 2 + 0.5) / 4)
    # three steps of 1, 3 and 4 pixels: fractions 0, 0.25, 0.75, 1
    protocol, heights = Deletion(steps=3), [sigmoid(value) for value in (2, 1, -2, 0)]
    expected = np.trapezoid(heights, [0, 0.25, 0.75, 1])
    assert float(protocol.score(protocol.prepare(e), attribution).values) == pytest.approx(expected, abs=1e-12)


def test_the_curve_of_a_linear_model_is_the_sum_of_what_is_left(evidence, linear):
    torch.manual_seed(0)
    weights, image = torch.rand(1, 8, 8).double(), torch.rand(1, 1, 8, 8).double()
    e, contributions = evidence(linear(weights), image, [0]), (weights * image[0])[None]
    at, heights = replacement_curve(e, contributions, 16, "zero", "logit", insertion=False)
    ordered = contributions.flatten().sort(descending=True).values
    left = 1 - torch.cat([torch.zeros(1), ordered.cumsum(0)[3::4]]) / ordered.sum()
    assert torch.allclose(heights[0], left, rtol=1e-10) and torch.equal(at, torch.arange(17).double() / 16)
    # no order deletes faster, and none inserts faster
    for protocol, sign in ((Deletion(output="logit"), 1), (Insertion(output="logit", start="zero"), -1)):
        best = protocol.score(protocol.prepare(e), contributions).values
        others = [protocol.score(protocol.prepare(e), torch.rand(1, 1, 8, 8)).values for _ in range(20)]
        assert all(sign * (other - best) > 0 for other in others)


def loop_area(net, image, blank, target, order, steps, insertion) -> float:
    """The area for an order of pixels, the image being copied and changed pixel by pixel."""
    pixels, heights, fractions = len(order), [], []
    for step in range(steps + 1):
        count = round(step * pixels / steps)
        current, other = (blank, image) if insertion else (image, blank)
        current = current.clone().flatten(1)
        current[:, order[:count]] = other.flatten(1)[:, order[:count]]
        heights.append(float(net(current.view_as(image)[None]).softmax(1)[0, target]))
        fractions.append(count / pixels)
    return float(np.trapezoid(heights, fractions))


def loop_blur(image: Tensor, kernel: int, sigma: float) -> Tensor:
    scale = max(image.shape[1:]) / 224
    radius = max(1, round((kernel - 1) / 2 * scale))
    line = np.exp(-((np.arange(-radius, radius + 1) / (sigma * scale)) ** 2) / 2)
    kernel = np.outer(line, line) / np.outer(line, line).sum()
    return torch.from_numpy(np.stack([convolve2d(channel, kernel, mode="same") for channel in image.numpy()]))


def test_curves_agree_with_a_plain_loop(net, images, labels, evidence):
    maps = torch.randn(6, 1, 16, 24)
    e = evidence(net, images, labels, zero=ZERO, chunk=11)
    protocol = Combined(steps=7)
    scores = protocol.score(protocol.prepare(e), maps)
    for i in range(6):
        order = (-maps[i].flatten()).argsort()
        blurred, blank = loop_blur(images[i], 11, 5), ZERO.double()[:, None, None].expand_as(images[i])
        insertion = loop_area(net, images[i], blurred, labels[i], order, 7, True)
        deletion = loop_area(net, images[i], blank, labels[i], order, 7, False)
        assert float(scores.also["insertion"].values[i]) == pytest.approx(insertion, rel=1e-6)
        assert float(scores.also["deletion"].values[i]) == pytest.approx(deletion, rel=1e-6)
        assert float(scores.values[i]) == pytest.approx(insertion - deletion, abs=1e-7)
    assert scores.status == [OK] * 6 and scores.also["tied"].values.tolist() == [0] * 6
    for single, name in ((Deletion(steps=7), "deletion"), (Insertion(steps=7), "insertion")):
        assert torch.equal(single.score(single.prepare(e), maps).values, scores.also[name].values)


def test_the_blur_at_224_pixels_has_11_taps_of_deviation_5():
    image = torch.zeros(1, 1, 224, 224).double()
    image[0, 0, 112, 112] = 1

    class E:
        images = image
        once = staticmethod(lambda key, compute, per_image: compute())

    found = blank_images(E, "blur")[0, 0]
    assert (found[112] > 0).sum() == 11 and float(found.sum()) == pytest.approx(1)
    assert float(found[112, 115] / found[112, 112]) == pytest.approx(np.exp(-9 / 50), rel=1e-6)


def test_ends_are_shared_and_only_the_way_costs(net, images, labels, maps, evidence):
    e = evidence(net, images, labels)
    protocol = Deletion(steps=5)
    prepared = protocol.prepare(e)
    assert e.runner.forwards == 6 * 2
    protocol.score(prepared, maps), protocol.score(prepared, maps)
    assert e.runner.forwards == 6 * (2 + 2 * 4)
    Deletion(steps=8).prepare(e), Combined().prepare(e), Insertion(start="zero").prepare(e)
    assert e.runner.forwards == 6 * (2 + 2 * 4 + 1), "the blurred image alone was new"


@pytest.mark.parametrize("protocol", [Deletion(steps=6), Insertion(steps=6), Combined(steps=6)])
def test_scores_do_not_depend_on_batches_chunks_and_order(protocol, net, images, labels, maps, evidence):
    together = protocol.score(protocol.prepare(evidence(net, images, labels, chunk=32)), maps)
    ids = [f"photo {i}" for i in range(6)]
    flipped = evidence(net, images.flip(0), labels.flip(0), ids[::-1], chunk=5)
    backwards = protocol.score(protocol.prepare(flipped), maps.flip(0))
    assert torch.allclose(backwards.values.flip(0), together.values, rtol=1e-9)
    one = evidence(net, images[4:5], labels[4:5], ["photo 4"])
    assert torch.allclose(protocol.score(protocol.prepare(one), maps[4:5]).values, together.values[4], rtol=1e-9)


def test_several_targets_of_an_image(net, images, labels, maps, evidence):
    targets, owner = torch.tensor([0, 4, 4]), torch.tensor([2, 2, 5])
    protocol = Combined(steps=6)
    found = protocol.score(protocol.prepare(evidence(net, images, labels).explaining(targets, owner)), maps[:3])
    for pair in range(3):
        i = int(owner[pair])
        alone = evidence(net, images[i : i + 1], targets[pair : pair + 1], [f"photo {i}"])
        value = protocol.score(protocol.prepare(alone), maps[pair : pair + 1]).values
        assert torch.allclose(found.values[pair], value[0], rtol=1e-9)


def test_undefined_maps_and_references(net, images, labels, maps, evidence, linear):
    maps[0], maps[1, 0, 3, 3], maps[2, 0, 0, 0] = 0.1, float("nan"), float("inf")
    for protocol in (Deletion(steps=4), Insertion(steps=4), Combined(steps=4)):
        scores = protocol.score(protocol.prepare(evidence(net, images, labels)), maps)
        assert scores.status == [UNDEFINED_MAP] * 3 + [OK] * 3
        assert scores.also["tied"].status == [OK] + [UNDEFINED_MAP] * 2 + [OK] * 3
        assert float(scores.also["tied"].values[0]) == 1
    flat = evidence(linear(torch.zeros(3, 16, 24).double()), images, torch.zeros(6, dtype=torch.long))
    protocol = Deletion(output="logit")
    assert protocol.score(protocol.prepare(flat), maps).status == [UNDEFINED_REFERENCE] * 6


def test_a_logit_is_a_share_of_its_way():
    heights = torch.tensor([[4.0, 1.0, 2.0], [4.0, 1.0, 2.0]])
    found = relative_heights(heights, torch.tensor([4.0, 2.0]), torch.tensor([2.0, 2.0]))
    assert found[0].tolist() == [1.0, -0.5, 0.0] and found[1].isnan().all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Deletion(steps=0), "steps is a whole number of at least 1, not 0"),
        (lambda: Deletion(baseline="random"), "baseline is zero or blur, not 'random'"),
        (lambda: Insertion(start="mean"), "start is zero or blur, not 'mean'"),
        (lambda: Combined(target="labels"), "target is label or prediction, not 'labels'"),
        (lambda: Deletion(steps=28).check((4, 4)), "28 steps need at least as many pixels"),
    ],
)
def test_settings_that_do_not_exist_are_refused(make, message):
    with pytest.raises(XaibenchError, match=message):
        make()
