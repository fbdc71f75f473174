"""How alike two models are: by hand, against plain NumPy, and what is undefined."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch

from xaibench.attribution.cam import grad_cam
from xaibench.errors import XaibenchError
from xaibench.protocols.activations import most_activating, top_images
from xaibench.protocols.base import OK, UNDEFINED_REFERENCE
from xaibench.protocols.model_checks.model_similarity import ModelSimilarity, map_difference, softmax_difference

NAN = float("nan")


@pytest.fixture
def other(net):
    """A network of the same shape with other weights."""
    torch.manual_seed(9)
    changed = deepcopy(net)
    for parameter in changed.parameters():
        parameter += 0.3 * torch.randn_like(parameter)
    return changed


@pytest.fixture
def compared(evidence):
    """Evidence about two networks: compared(first, second, images, labels, images of the second)."""

    def make(first, second, images, labels, others=None, layers=(0, 0), **settings):
        own, theirs = (
            evidence(n, x, labels, cam_layer=None if layer is None else n[layer], **settings)
            for n, x, layer in zip((first, second), (images, images if others is None else others), layers, strict=True)
        )
        return own.with_reference(theirs)

    return make


def scores_of(e, **settings):
    protocol = ModelSimilarity(**settings)
    return protocol.score(protocol.prepare(e), None)


def test_hand_computed():
    found = softmax_difference(torch.tensor([0.25, 1.0, NAN]), torch.tensor([0.75, 0.0, 0.5]))
    assert found[:2].tolist() == [0.5, 1.0] and found[2].isnan()
    maps = torch.tensor([[0.0, 1, 2, 4], [0, 0, 0, 1], [1, 1, 1, 1], [0, 1, 2, float("inf")], [5, 5, 5, 9]])
    others = torch.tensor([[0.0, 4, 2, 1], [-3, 1, 1, -3], [0, 1, 2, 3], [0, 1, 2, 3], [0, 0, 0, 0]])
    found = map_difference(maps.view(5, 1, 2, 2), others.view(5, 1, 2, 2))
    assert found[:2].tolist() == [(0 + 0.75 + 0 + 0.75) / 4, (0 + 1 + 1 + 1) / 4]
    assert found[2:].isnan().all(), "constant, or not finite, on either side"


def test_scores_agree_with_plain_numpy(net, other, images, labels, compared):
    shifted = images * 0.5 + 0.1  # each model sees the image by its own encoding
    found = scores_of(compared(net, other, images, labels, shifted))
    chances, scaled = [], []
    for model, inputs in ((net, images), (other, shifted)):
        logits = model(inputs).numpy()
        chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        chances.append(chance[np.arange(6), labels.numpy()])
        features = model[0](inputs).requires_grad_()
        (gradient,) = torch.autograd.grad(model[1](features)[range(6), labels].sum(), features)
        weights = gradient.numpy().mean((2, 3), keepdims=True)
        cam = np.maximum((weights * features.detach().numpy()).sum(1), 0).reshape(6, -1)
        low, high = cam.min(1, keepdims=True), cam.max(1, keepdims=True)
        assert (high > low).all()
        scaled.append((cam - low) / (high - low))
    assert found.values.tolist() == pytest.approx(np.abs(chances[0] - chances[1]).tolist())
    also = found.also["grad-cam-difference"]
    assert also.values.tolist() == pytest.approx(np.abs(scaled[0] - scaled[1]).mean(1).tolist())
    assert found.status == also.status == [OK] * 6 and found.values.dtype == also.values.dtype == torch.float64


def test_small_maps_are_compared_at_the_size_of_the_image(net, other, images, labels, compared):
    coarse = [torch.nn.Sequential(n[0], torch.nn.AvgPool2d(8), n[1]) for n in (net, other)]
    e = compared(*coarse, images, labels, layers=(1, 0))  # 2 x 3 positions against 16 x 24
    small, large = grad_cam(e), grad_cam(e.reference)
    assert small.shape[-2:] == (2, 3) and large.shape[-2:] == (16, 24)
    resized = torch.nn.functional.interpolate(small, (16, 24), mode="bilinear", align_corners=False)
    found = scores_of(e).also["grad-cam-difference"].values
    assert torch.allclose(found, map_difference(resized, large), equal_nan=True) and found.isfinite().any()


def test_a_model_is_its_own_equal_and_the_order_does_not_matter(net, other, images, labels, compared):
    same = scores_of(compared(net, net, images, labels))
    assert same.values.tolist() == [0] * 6 and same.also["grad-cam-difference"].values.tolist() == [0] * 6
    there, back = (scores_of(compared(*both, images, labels)) for both in ((net, other), (other, net)))
    assert torch.equal(there.values, back.values) and (there.values > 0).all() and (there.values <= 1).all()
    assert torch.equal(there.also["grad-cam-difference"].values, back.also["grad-cam-difference"].values)


def test_what_cannot_be_compared_is_nobodys_fault(net, other, images, labels, compared):
    blind = deepcopy(other)
    blind[-1][-1].weight.zero_()  # no gradient reaches the layer: Grad-CAM is 0 everywhere
    found = scores_of(compared(net, blind, images, labels))
    assert found.status == [OK] * 6 and found.also["grad-cam-difference"].status == [UNDEFINED_REFERENCE] * 6
    broken = images.clone()
    broken[2, 0, 0, 0] = NAN
    found = scores_of(compared(net, other, images, labels, broken))
    assert found.status == [OK, OK, UNDEFINED_REFERENCE, OK, OK, OK]


def test_a_model_without_a_map_has_no_second_score(net, other, images, labels, compared):
    found = scores_of(compared(net, other, images, labels, layers=(0, None)))
    assert found.also == {} and found.status == [OK] * 6


def test_passes_are_shared_with_grad_cam(net, other, images, labels, compared):
    e = compared(net, other, images, labels)
    grad_cam(e)
    scores_of(e)
    assert (e.runner.forwards, e.runner.backwards) == (12, 6) == (e.reference.runner.forwards, 6)


def test_other_pairs_have_a_reference_about_the_same(net, other, images, labels, compared):
    e = compared(net, other, images, labels)
    targets, owner = torch.tensor([1, 4, 0]), torch.tensor([2, 2, 5])
    pairs = e.explaining(targets, owner, "probability")
    assert torch.equal(pairs.reference.targets, targets) and pairs.reference.output == "probability"
    chances = [n(images[owner]).softmax(1)[range(3), targets] for n in (net, other)]
    assert torch.allclose(scores_of(pairs).values, softmax_difference(*chances))
    assert e.explaining(labels).reference is not None and e.at(e.inputs).reference is None
    with pytest.raises(XaibenchError, match="the same images and targets"):
        e.with_reference(pairs)


def test_top_images():
    activations = torch.tensor([[0.0, 3.0], [5.0, 1.0], [5.0, 2.0], [NAN, 9.0], [7.0, 0.0]])
    assert top_images(activations, 0, 3).tolist() == [4, 1, 2]
    assert top_images(activations, 1, 2).tolist() == [3, 0]
    assert top_images(activations, 0, 9).tolist() == [4, 1, 2, 0, 3]
    for channel in (-1, 2):
        with pytest.raises(XaibenchError, match=rf"channel {channel} is none of 2"):
            top_images(activations, channel, 1)


def test_most_activating_images_are_those_of_a_plain_loop(net, images):
    for channel in range(6):
        highest = [float(net[0](image[None])[0, channel].max()) for image in images]
        expected = sorted(range(6), key=lambda i: -highest[i])[:4]
        assert most_activating(net, net[0], images, channel, 4, chunk=4).tolist() == expected
        assert most_activating(net, "0", images, channel, 4).tolist() == expected
    assert not net[0]._forward_hooks and not net._forward_hooks


def test_most_activating_refuses_in_one_line(net, images):
    for message, arguments in (
        ("no layer 'x'", ("x", images, 0)),
        ("channel 6 is none of 6", ("0", images, 6)),
        ("must give a map", ("1.2", images, 0)),
        ("0 images", ("0", images[:0], 0)),
    ):
        with pytest.raises(XaibenchError, match=message):
            most_activating(net, *arguments)
    assert not net._forward_hooks and not net[1][2]._forward_hooks
    with pytest.raises(XaibenchError, match="training mode"):
        most_activating(net.train(), "0", images, 0)


def test_settings_and_a_missing_second_model(net, images, labels, evidence):
    assert ModelSimilarity().description == "label, logit"
    with pytest.raises(XaibenchError, match="target is label or prediction"):
        ModelSimilarity(target="labels")
    with pytest.raises(XaibenchError, match=r"compares two models; use .* with reference_model"):
        ModelSimilarity().prepare(evidence(net, images, labels))
