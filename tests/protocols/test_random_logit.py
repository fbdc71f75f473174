"""Random logit: SSIM of scikit-image and by SciPy's filter, which class is the other one, and maps that do not look."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from xaibench.errors import XaibenchError
from xaibench.functional import structural_similarity
from xaibench.protocols.base import OK, UNDEFINED_MAP
from xaibench.protocols.randomization.random_logit import RandomLogit


def ixg(e):
    return (e.inputs * e.gradient()).sum(1, keepdim=True)


def scaled(a: np.ndarray, scaling: str = "quantile") -> np.ndarray:
    """A map as the paper scales it, or Quantus."""
    low, high = np.percentile(a, [1, 99])
    return np.clip((a - low) / (high - low), 0, 1) if scaling == "quantile" else a / abs(a).max()


@pytest.fixture
def two() -> tuple[np.ndarray, np.ndarray]:
    """Two maps of 20 x 17 pixels that share something."""
    random = np.random.default_rng(0)
    a = random.normal(size=(20, 17))
    b = 0.6 * a + 0.4 * random.normal(size=(20, 17))
    return a, b


def ours(a: np.ndarray, b: np.ndarray) -> float:
    return structural_similarity(*(torch.from_numpy(each)[None, None] for each in (a, b))).item()


def test_ssim_is_that_of_scikit_image(two):
    metrics = pytest.importorskip("skimage.metrics")
    span = max(each.max() for each in two) - min(each.min() for each in two)
    theirs = metrics.structural_similarity(
        *two, data_range=span, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ours(*two) == pytest.approx(theirs, abs=1e-12) and 0.2 < theirs < 0.9


def test_ssim_is_the_formula_with_scipys_filter(two):
    a, b = two
    span = max(a.max(), b.max()) - min(a.min(), b.min())
    inside = (slice(5, -5), slice(5, -5))
    smooth = lambda each: gaussian_filter(each, 1.5, truncate=3.5)[inside]  # noqa: E731
    m, n = smooth(a), smooth(b)
    va, vb, cov = smooth(a * a) - m * m, smooth(b * b) - n * n, smooth(a * b) - m * n
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    expected = ((2 * m * n + c1) * (2 * cov + c2) / ((m * m + n * n + c1) * (va + vb + c2))).mean()
    assert ours(a, b) == pytest.approx(expected, abs=1e-12)


def test_ssim_is_symmetric_bounded_and_not_made_for_signs(two):
    a, b = two
    assert ours(5 * a, 5 * b) == pytest.approx(ours(a, b)) == pytest.approx(ours(b, a))
    positive = scaled(a)
    assert ours(a, a) == pytest.approx(1) and -1 <= ours(positive, 1 - positive) < -0.8
    assert ours(a, -a) > 0.3, "why maps are scaled to [0, 1]"
    assert np.isnan(ours(0 * a, 0 * b)) and np.isnan(ours(a, b * np.nan))
    assert abs(ours(a, 0 * b)) < 0.1 and abs(ours(a, np.random.default_rng(1).normal(size=a.shape))) < 0.3
    small = torch.rand(2, 1, 6, 4)
    assert structural_similarity(small, small).tolist() == pytest.approx([1, 1]), "the window shrinks to 3 pixels"


@pytest.mark.parametrize("other", ["random", "second", "last"])
def test_the_other_class(other, net, images, labels, evidence):
    e = evidence(net, images, labels)
    classes = RandomLogit(other).other_classes(e)
    assert (classes != labels).all() and ((classes >= 0) & (classes < 5)).all()
    logits = net(images)
    for pair in range(6):
        rest = [c for c in logits[pair].argsort(descending=True).tolist() if c != labels[pair]]
        if other != "random":
            assert int(classes[pair]) == rest[0 if other == "second" else -1]
    one = evidence(net, images[3:4], labels[3:4], ["photo 3"])
    assert RandomLogit(other).other_classes(one).tolist() == classes[3:4].tolist(), "it does not depend on the batch"


def test_a_drawn_class_is_any_of_the_others_and_depends_on_the_seed(net, images, labels, evidence):
    found = [RandomLogit().other_classes(evidence(net, images, labels, seed=seed)) for seed in range(60)]
    counts = torch.stack([torch.bincount(each, minlength=5) for each in torch.stack(found, 1)])
    assert all(counts[pair, label] == 0 for pair, label in enumerate(labels)) and (counts > 0).sum() == 6 * 4
    assert counts.max() < 30


@pytest.mark.parametrize("scaling", ["quantile", "largest"])
def test_scores_are_those_of_the_other_map(scaling, net, images, labels, evidence):
    e, protocol = evidence(net, images, labels), RandomLogit(scaling=scaling)
    prepared, maps = protocol.prepare(e), ixg(e)
    scores = protocol.score_method(prepared, maps, ixg)
    others = ixg(evidence(net, images, protocol.other_classes(e)))
    pairs = [(maps[pair, 0].numpy(), others[pair, 0].numpy()) for pair in range(6)]
    same, turned = ([ours(scaled(a, scaling), scaled(sign * b, scaling)) for a, b in pairs] for sign in (1, -1))
    assert scores.also["same-sign"].values.tolist() == pytest.approx(same, abs=1e-9)
    assert scores.values.tolist() == pytest.approx(list(map(max, same, turned)), abs=1e-9)
    assert scores.status == [OK] * 6 and scores.values.tolist() != same
    again = protocol.score_method(prepared, 7 * maps, lambda changed: 0.3 * ixg(changed))
    assert torch.allclose(again.values, scores.values), "scales of both maps change nothing"
    backwards = e.runner.backwards
    protocol.score_method(prepared, maps, ixg)
    assert e.runner.backwards == backwards, "methods share the evidence about the other class"


def test_maps_that_do_not_look_at_the_class_score_one(net, images, labels, evidence):
    e, protocol = evidence(net, images, labels), RandomLogit()
    blind = torch.randn(6, 1, 16, 24)
    assert protocol.score_method(protocol.prepare(e), blind, lambda _: blind).values.tolist() == pytest.approx([1] * 6)


def test_one_output_has_two_classes_whose_gradients_are_opposite(evidence):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.LazyLinear(1))
    images = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        net(images)
    e, protocol = evidence(net.eval().requires_grad_(False), images, [0, 1, 1]), RandomLogit()
    scores = protocol.score_method(protocol.prepare(e), ixg(e), ixg)
    assert protocol.other_classes(e).tolist() == [1, 0, 0] and (scores.also["same-sign"].values < -0.5).all()
    assert scores.values.tolist() == pytest.approx([1] * 3, abs=1e-5)


def test_undefined_maps_and_settings(net, images, labels, maps, evidence):
    e, protocol = evidence(net, images, labels), RandomLogit()
    maps[0], maps[1, 0, 0, 0], maps[2] = 0.5, float("nan"), 0
    broken = torch.randn(6, 1, 16, 24).double()
    broken[3, 0, 1, 1], broken[4] = float("inf"), 0
    scores = protocol.score_method(protocol.prepare(e), maps, lambda other: broken)
    assert scores.status == [UNDEFINED_MAP] * 4 + [OK] * 2, "a zero map of the other class is a difference"
    assert scores.also["same-sign"].status == scores.status
    single = torch.zeros(6, 1, 16, 24)
    single[:, 0, 5, 5] = 1  # of 384 values: both quantiles are 0
    assert protocol.score_method(e, single, lambda other: broken).status == [UNDEFINED_MAP] * 6
    largest = RandomLogit(scaling="largest").score_method(e, single, lambda other: broken)
    assert largest.status == [OK] * 3 + [UNDEFINED_MAP] + [OK] * 2
    with pytest.raises(XaibenchError, match="it needs the method"):
        protocol.score(e, maps)
    with pytest.raises(XaibenchError, match="other is random or second or last, not 'best'"):
        RandomLogit("best")
