"""Manifold matching and transport against hand-computed values, SciPy and finite differences, at empty maps too."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.special import softmax
from scipy.stats import entropy

from xaibench.training.lico.losses import distances, mm_loss, ot_loss, squared_distances
from xaibench.training.vectors import unit

LOG2 = math.log(2)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reference(images, texts, log_scale):
    """Manifold matching with SciPy, sample by sample."""
    rows = []
    for x in (images, texts):
        flat = x.numpy().reshape(len(x), -1)
        flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
        rows.append(softmax(-np.exp(log_scale) * cdist(flat, flat), axis=1))
    return np.mean([entropy(text, image) for image, text in zip(*rows, strict=True)])


def test_two_samples_by_hand():
    """Images at a right angle, sqrt 2 apart; texts equal: their rows are uniform."""
    images = torch.tensor([[[1.0, 0.0]], [[0.0, 3.0]]], dtype=torch.float64)
    texts = torch.tensor([[[5.0, 0.0]], [[1.0, 0.0]]], dtype=torch.float64)
    near = 1 / (1 + math.exp(-2 * math.sqrt(2)))
    expected = -LOG2 - 0.5 * (math.log(near) + math.log(1 - near))
    assert mm_loss(images, texts, LOG2).item() == pytest.approx(expected)
    # and the other way round, KL(text || image) of a uniform image row
    expected = LOG2 + near * math.log(near) + (1 - near) * math.log(1 - near)
    assert mm_loss(texts, images, LOG2).item() == pytest.approx(expected)


@pytest.mark.parametrize("log_scale", [0.0, 2.66, math.log(100)])
def test_manifold_matching_is_that_of_scipy(log_scale):
    images, texts = draw(6, 4, 9), draw(6, 3, 9, seed=1)
    assert mm_loss(images, texts, log_scale).item() == pytest.approx(reference(images, texts, log_scale), rel=1e-9)


def test_equal_manifolds_cost_nothing():
    images = draw(5, 2, 4)
    assert mm_loss(images, 7 * images, 2.0).item() == pytest.approx(0, abs=1e-12)


def test_gradients_of_manifold_matching_are_finite_differences():
    images, texts = draw(4, 3, 4).requires_grad_(), draw(4, 2, 4, seed=1).requires_grad_()
    scale = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mm_loss, (images, texts, scale))
    gradients = torch.autograd.grad(mm_loss(images, texts, scale), (images, texts, scale))
    assert all(gradient.abs().max() > 1e-4 for gradient in gradients)  # both sides and the scale are trained


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("which", ["equal", "zero", "tiny", "all equal", "all zero"])
def test_degenerate_samples_have_finite_gradients(which, dtype):
    """Two images of a class have one text; a dead layer has a map of zeros."""
    images, texts = draw(4, 3, 4).to(dtype), draw(4, 2, 4, seed=1).to(dtype)
    for x in (images, texts):
        if which == "equal":
            x[1] = x[0]
        elif which == "zero":
            x[2] = 0
        elif which == "tiny":
            x[2] *= 1e-30
        else:
            x[:] = x[:1].clone() if which == "all equal" else 0
    images.requires_grad_(), texts.requires_grad_()
    scale = torch.tensor(math.log(100), dtype=dtype, requires_grad=True)
    value = mm_loss(images, texts, scale) + ot_loss(images, texts)[0]
    gradients = torch.autograd.grad(value, (images, texts, scale))
    assert value.isfinite() and all(gradient.isfinite().all() for gradient in gradients)
    if which == "zero":
        assert (gradients[0][2] == 0).all() and (gradients[1][2] == 0).all()
    elif which != "tiny":
        assert max(gradient.abs().max() for gradient in gradients) < 1e3


def test_one_text_for_two_images_leaves_the_gradient_of_the_others():
    """With equal rows the loss has a kink; along the other samples it is smooth, and the gradient is the slope."""
    images, texts = draw(4, 3, 4), draw(4, 2, 4, seed=1)
    texts[1] = texts[0]
    moved = draw(2, 2, 4, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: mm_loss(images, torch.cat([texts[:2], x]), 1.5), moved)


def test_distances_of_equal_rows_are_zero_in_float32():
    rows = unit(torch.randn(1, 20_000, generator=torch.Generator().manual_seed(0))).repeat(5, 1)
    assert (distances(rows) == 0).all()
    apart = unit(draw(6, 50))
    np.testing.assert_allclose(distances(apart).numpy(), cdist(apart, apart), atol=1e-12)


def test_squared_distances_of_batches():
    x, y = draw(2, 3, 5), draw(2, 4, 5, seed=1)
    np.testing.assert_allclose(squared_distances(x, y).numpy(), (torch.cdist(x, y) ** 2).numpy(), atol=1e-12)


def test_unit_vectors_and_their_gradients():
    assert unit(torch.tensor([3.0, 4.0])).tolist() == pytest.approx([0.6, 0.8])
    assert torch.autograd.gradcheck(unit, draw(3, 4).requires_grad_())
    zero = torch.zeros(2, 3, requires_grad=True)
    unit(zero).sum().backward()
    assert (unit(zero) == 0).all() and (zero.grad == 0).all()


def test_transport_of_two_channels_by_hand():
    """Channels e1 and e2, tokens e1 and e2 of any length: the cost is 0 on the diagonal and 2 beside it."""
    images = torch.tensor([[[2.0, 0.0], [0.0, 0.1]]], dtype=torch.float64)
    texts = torch.tensor([[[0.5, 0.0], [0.0, 9.0]]], dtype=torch.float64)
    value, found = ot_loss(images, texts, epsilon=1.0)
    assert value.item() == pytest.approx(2 / (1 + math.exp(2))) and found.error.item() < 1e-9
    # one channel can only go to both tokens alike
    assert ot_loss(images[:, :1], texts)[0].item() == pytest.approx(1)


@pytest.mark.slow
def test_gradients_of_transport_are_finite_differences():
    images, texts = draw(2, 4, 5).requires_grad_(), draw(2, 3, 5, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: ot_loss(a, b, tolerance=1e-10)[0], (images, texts), atol=1e-6)
