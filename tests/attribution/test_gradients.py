"""Gradient methods against captum and against direct loops, in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients, Saliency
from torch import Tensor, nn

import xaibench
from xaibench.seeds import generator

SEED = 7
pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")


def noise(sample: int, image_id: str, shape: tuple) -> Tensor:
    return torch.randn(*shape, generator=generator(SEED, f"noise {sample}", image_id)).double()


def uniform_image(shape: tuple) -> Tensor:
    return (torch.rand(*shape, generator=generator(SEED, "uniform baseline")) * 2 - 1).double()


def captum_gradient(net: nn.Module, x: Tensor, targets: Tensor, steps: int) -> Tensor:
    return Saliency(net).attribute(x.clone(), target=targets, abs=False)


def captum_l1(net: nn.Module, x: Tensor, targets: Tensor, steps: int) -> Tensor:
    return Saliency(net).attribute(x.clone(), target=targets)


def captum_ixg(net: nn.Module, x: Tensor, targets: Tensor, steps: int) -> Tensor:
    return InputXGradient(net).attribute(x.clone(), target=targets)


def captum_ig(net: nn.Module, x: Tensor, targets: Tensor, steps: int, baseline: Tensor | float = 0.0) -> Tensor:
    method = IntegratedGradients(net)
    return method.attribute(x, baselines=baseline, target=targets, n_steps=steps, method="gausslegendre")


def captum_ig_u(net: nn.Module, x: Tensor, targets: Tensor, steps: int) -> Tensor:
    return captum_ig(net, x, targets, steps, uniform_image(x.shape[1:]).expand_as(x))


CAPTUM = {
    "ixg": (captum_ixg, False),
    "ixg-abs": (captum_ixg, True),
    "ig": (captum_ig, False),
    "ig-abs": (captum_ig, True),
    "ig-u": (captum_ig_u, False),
    "ig-u-abs": (captum_ig_u, True),
    "saliency": (captum_gradient, True),
    "saliency-l1": (captum_l1, False),
}


@pytest.mark.parametrize("name", CAPTUM)
@pytest.mark.parametrize("network", ["small", "resnet"])
def test_maps_agree_with_captum(name, network, small, exact_resnet, pictures, classes, photos64, deviation):
    net, x, targets = small, pictures, classes
    if network == "resnet":
        net, x, targets = exact_resnet, photos64[:2].double(), torch.tensor([3, 8])
    steps = 50 if network == "small" else 5
    params = {"steps": steps} if name.startswith("ig") and network == "resnet" else {}
    reference, absolute = CAPTUM[name]
    expected = reference(net, x, targets, steps).sum(1, keepdim=True)
    ours = xaibench.attribute(net, x, targets, name, seed=SEED, **params)
    assert ours.shape == expected.shape
    assert deviation(ours, expected.abs() if absolute else expected) < 1e-6


def gradient_at(net: nn.Module, point: Tensor, target: int) -> Tensor:
    point = point.clone().requires_grad_()
    net(point[None])[0, target].backward()
    return point.grad


def loop_ixg(net: nn.Module, end: Tensor, target: int) -> Tensor:
    return end * gradient_at(net, end, target)


def loop_ig(net: nn.Module, end: Tensor, target: int, steps: int = 50) -> Tensor:
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    path = sum(w / 2 * gradient_at(net, (n + 1) / 2 * end, target) for n, w in zip(nodes, weights, strict=True))
    return end * path


SMOOTHED = {
    "ixg-sg": (loop_ixg, 1, False),
    "ixg-sg-abs": (loop_ixg, 1, True),
    "ig-sg": (loop_ig, 1, False),
    "ig-sg-abs": (loop_ig, 1, True),
    "ig-sg-sq": (loop_ig, 2, False),
}


@pytest.mark.parametrize("name", SMOOTHED)
def test_smoothgrad_agrees_with_a_loop_over_the_same_noise(name, small, pictures, classes, deviation):
    x, targets, ids = pictures[:2], classes[:2], ["a", "b"]
    attribution, power, absolute = SMOOTHED[name]
    expected = []
    for image, target, image_id in zip(x, targets.tolist(), ids, strict=True):
        samples = [attribution(small, image + noise(k, image_id, image.shape), target) for k in range(4)]
        total = sum(s**power for s in samples).sum(0) / 4
        expected.append(total.abs() if absolute else total)
    ours = xaibench.attribute(small, x, targets, name, image_ids=ids, seed=SEED)
    assert deviation(ours, torch.stack(expected)[:, None]) < 1e-9


@pytest.mark.parametrize(("samples", "sigma"), [(1, 1.0), (3, 0.2)])
def test_smoothgrad_follows_its_parameters(samples, sigma, small, pictures, deviation):
    image = pictures[0]
    noisy = [image + sigma * noise(k, "0", image.shape) for k in range(samples)]
    expected = sum(loop_ixg(small, end, 2) for end in noisy).sum(0) / samples
    ours = xaibench.attribute(small, image[None], torch.tensor([2]), "ixg-sg", seed=SEED, samples=samples, sigma=sigma)
    assert deviation(ours[0], expected[None]) < 1e-9


@pytest.mark.parametrize("baseline", ["zero", "uniform"])
def test_integrated_gradients_sum_to_the_difference_of_logits(baseline, small, pictures, classes):
    maps = xaibench.attribute(small, pictures, classes, "ig", seed=SEED, steps=300, baseline=baseline)
    start = uniform_image(pictures.shape[1:]) if baseline == "uniform" else torch.zeros_like(pictures[0])
    rise = (small(pictures) - small(start[None])).gather(1, classes[:, None])[:, 0]
    assert torch.allclose(maps.sum((1, 2, 3)), rise, rtol=0, atol=2e-3 * float(rise.abs().max()))


def test_the_zero_baseline_is_that_of_the_encoded_space(small, pictures, classes, evidence, deviation):
    from xaibench.attribution.gradients import integrated_gradients

    grey = torch.tensor([0.5, -0.25, 0.125], dtype=torch.float64)
    e = evidence(small, pictures, classes, zero=grey)
    start = grey[:, None, None].expand_as(pictures)
    expected = captum_ig(small, pictures, classes, 20, start)
    assert deviation(integrated_gradients(e, steps=20), expected) < 1e-6


def test_the_uniform_baseline_is_one_image_of_the_run_in_minus_one_to_one(small, pictures, classes, evidence):
    first = evidence(small, pictures, classes, seed=SEED).baseline("uniform")
    other_images = evidence(small, pictures[2:], classes[2:], ["x", "y"], seed=SEED).baseline("uniform")
    other_seed = evidence(small, pictures, classes, seed=SEED + 1).baseline("uniform")
    assert torch.equal(first, other_images) and not torch.equal(first, other_seed)
    assert first.shape == pictures.shape[1:] and first.abs().max() <= 1
    assert first.min() < -0.95 and first.max() > 0.95 and first.mean().abs() < 0.06


@pytest.mark.parametrize("name", ["ixg-abs", "ig-abs", "ig-u-abs", "ixg-sg-abs", "ig-sg-abs"])
def test_absolute_methods_are_the_magnitude_of_the_signed_map(name, small, pictures, classes):
    signed = xaibench.attribute(small, pictures, classes, name.removesuffix("-abs"))
    assert (signed < 0).any()
    assert torch.equal(xaibench.attribute(small, pictures, classes, name), signed.abs())


@pytest.fixture
def linear() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5)).double().eval()


@pytest.mark.parametrize("name", ["ixg", "ig", "saliency", "saliency-l1"])
def test_linear_models_have_the_attributions_of_their_weights(name, linear, pictures, classes, deviation):
    weights = linear[1].weight.detach()[classes].view_as(pictures)
    expected = {
        "ixg": (weights * pictures).sum(1),
        "ig": (weights * pictures).sum(1),
        "saliency": weights.sum(1).abs(),
        "saliency-l1": weights.abs().sum(1),
    }[name]
    assert deviation(xaibench.attribute(linear, pictures, classes, name), expected[:, None]) < 1e-10


@pytest.mark.parametrize("name", ["ixg", "ig", "saliency"])
def test_probabilities_are_explained_where_asked(name, small, pictures, classes, evidence, deviation):
    from xaibench import registry
    from xaibench.attribution.methods import method_maps

    reference, absolute = CAPTUM[name]
    for probability, squash in (("softmax", nn.Softmax(1)), ("sigmoid", nn.Sigmoid())):
        e = evidence(small, pictures, classes, output="probability", probability=probability)
        card = registry.card("method", name)
        expected = reference(nn.Sequential(small, squash), pictures, classes, 50).sum(1, keepdim=True)
        expected = expected.abs() if absolute else expected
        assert deviation(method_maps(card, e, card.parameters), expected) < 1e-6
