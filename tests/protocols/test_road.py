"""ROAD: the imputation against a dense system and pytorch-grad-cam's, the curves against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer

from xaibench.errors import XaibenchError
from xaibench.protocols.base import OK, UNDEFINED_MAP
from xaibench.protocols.faithfulness.road import Road, road_score
from xaibench.protocols.imputation import NEIGHBOURS, linear_imputation
from xaibench.seeds import generator


def dense_imputation(image: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """The same system with one equation for every pixel, solved densely."""
    height, width = removed.shape
    system, known = np.eye(height * width), image.reshape(len(image), -1).T.copy()
    for y in range(height):
        for x in range(width):
            if removed[y, x]:
                near = [
                    ((y + dy) * width + x + dx, weight)
                    for (dy, dx), weight in NEIGHBOURS.items()
                    if 0 <= y + dy < height and 0 <= x + dx < width
                ]
                total = sum(weight for _, weight in near)
                known[y * width + x] = 0
                for other, weight in near:
                    system[y * width + x, other] -= weight / total
    return np.linalg.solve(system, known).T.reshape(image.shape)


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_imputed_pixels_are_those_of_a_dense_system_and_of_pytorch_grad_cam(share):
    random = np.random.default_rng(0)
    image = random.normal(size=(3, 7, 9))
    removed = random.random((7, 9)) < share
    ours = linear_imputation(image, removed)
    np.testing.assert_allclose(ours, dense_imputation(image, removed), atol=1e-10)
    theirs = NoisyLinearImputer(noise=0)(torch.from_numpy(image).float(), torch.from_numpy(~removed).float())
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


def test_a_single_pixel_becomes_the_weighted_mean_of_its_neighbours():
    image = np.arange(16.0).reshape(1, 4, 4) ** 2
    removed = np.zeros((4, 4), dtype=bool)
    removed[1, 1] = removed[0, 3] = True
    found = linear_imputation(image, removed)[0]
    square = lambda *numbers: sum(n**2 for n in numbers)  # noqa: E731
    assert found[1, 1] == pytest.approx(square(1, 4, 6, 9) / 6 + square(0, 2, 8, 10) / 12)
    assert found[0, 3] == pytest.approx((square(2, 7) / 6 + square(6) / 12) / (2 / 6 + 1 / 12))
    assert np.array_equal(found[~removed], image[0][~removed])


def test_nothing_to_impute_and_little_left():
    image = np.random.default_rng(1).normal(size=(2, 5, 5))
    assert np.array_equal(linear_imputation(image, np.zeros((5, 5), dtype=bool)), image)
    left = np.ones((5, 5), dtype=bool)
    left[2, 3] = False
    np.testing.assert_allclose(linear_imputation(image, left), np.broadcast_to(image[:, 2:3, 3:4], image.shape))


def loop_means(net, image, attribution, label, image_id, steps, noise, seed) -> list[float]:
    """Mean probabilities, the least and the most important pixels first."""
    drawn = noise * torch.randn(3, 16, 24, generator=generator(seed, "imputation noise", image_id)).double()
    pixels, means = attribution.numel(), []
    for descending in (False, True):
        order, values = attribution.flatten().argsort(descending=descending), []
        for step in range(1, steps):
            removed = torch.zeros(pixels, dtype=torch.bool)
            removed[order[: round(step * pixels / steps)]] = True
            removed = removed.view(16, 24)
            filled = torch.from_numpy(dense_imputation(image.numpy(), removed.numpy())) + drawn
            values.append(float(net(torch.where(removed, filled, image)[None]).softmax(1)[0, label]))
        means.append(float(np.mean(values)))
    return means


def test_scores_agree_with_a_plain_loop(net, images, labels, evidence):
    maps, protocol = torch.randn(3, 1, 16, 24), Road(steps=4, noise=0.2)
    e = evidence(net, images[:3], labels[:3], seed=5, chunk=5)
    scores = protocol.score(protocol.prepare(e), maps)
    assert e.runner.forwards == 3 * 2 * 3
    for i in range(3):
        least, most = loop_means(net, images[i], maps[i], labels[i], f"photo {i}", 4, 0.2, 5)
        assert float(scores.also["least-first"].values[i]) == pytest.approx(least, rel=1e-6)
        assert float(scores.also["most-first"].values[i]) == pytest.approx(most, rel=1e-6)
        assert float(scores.values[i]) == pytest.approx((least - most) / 2, abs=1e-7)
    assert scores.status == [OK] * 3 and scores.also["tied"].values.tolist() == [0] * 3
    assert torch.allclose(protocol.score(e, -maps).values, -scores.values, rtol=1e-6)


def test_score_is_half_of_the_difference():
    assert road_score(torch.tensor([[0.9, 0.7]]), torch.tensor([[0.5, 0.1]])).tolist() == pytest.approx([0.25])


def test_scores_do_not_depend_on_batches_and_chunks(net, images, labels, maps, evidence):
    protocol = Road(steps=3)
    together = protocol.score(protocol.prepare(evidence(net, images, labels)), maps).values
    ids = [f"photo {i}" for i in reversed(range(6))]
    flipped = evidence(net, images.flip(0), labels.flip(0), ids, chunk=4)
    assert torch.allclose(protocol.score(protocol.prepare(flipped), maps.flip(0)).values.flip(0), together, rtol=1e-9)


def test_undefined_maps_and_settings(net, images, labels, maps, evidence):
    maps[0], maps[1, 0, 3, 3] = 0.1, float("nan")
    protocol = Road(steps=2)
    scores = protocol.score(protocol.prepare(evidence(net, images, labels)), maps)
    assert scores.status == [UNDEFINED_MAP] * 2 + [OK] * 4
    with pytest.raises(XaibenchError, match="noise is a standard deviation"):
        Road(noise=-1)
    with pytest.raises(XaibenchError, match="10 steps need at least as many pixels"):
        Road().check((3, 3))
