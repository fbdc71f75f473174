"""Class activation maps against pytorch-grad-cam and against plain loops written from the papers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM, XGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

import xaibench
from xaibench.attribution import cam
from xaibench.seeds import generator

SEED, SIGMA = 11, 0.3
PEERS = {
    "grad-cam": (cam.grad_cam, GradCAM),
    "xgrad-cam": (cam.xgrad_cam, XGradCAM),
    "layer-cam": (cam.layer_cam, LayerCAM),
    "grad-cam++": (cam.grad_cam_plus_plus, GradCAMPlusPlus),
}


def raw_map(kind: type, net: nn.Module, layer: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """What pytorch-grad-cam computes before it scales and resizes, after its ReLU, (P, 1, h, w)."""

    class Raw(kind):
        def get_cam_image(self, *args, **kwargs):
            self.raw = super().get_cam_image(*args, **kwargs)
            return self.raw

    with Raw(model=net, target_layers=[layer]) as peer:
        peer.compute_input_gradient = True
        peer(x, [ClassifierOutputTarget(t) for t in targets.tolist()])
        return torch.from_numpy(np.maximum(peer.raw, 0))[:, None]


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("layer", ["layer2", "layer3.0", "layer4"])
def test_raw_maps_agree_with_pytorch_grad_cam(name, layer, exact_resnet, photos64, evidence, deviation):
    from copy import deepcopy

    net = deepcopy(exact_resnet)
    net.fc.weight *= 1e3  # steep gradients, against which the peer's epsilon in Grad-CAM++ is nothing
    x, targets = photos64[:3].double(), torch.tensor([3, 8, 0])
    ours, peer = PEERS[name]
    e = evidence(net, x, targets, cam_layer=net.get_submodule(layer))
    assert deviation(ours(e), raw_map(peer, net, net.get_submodule(layer), x, targets)) < 1e-4


def seen(net: nn.Module, x: Tensor, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Activations and gradients (K, h, w) of `body` for one image, by the network cut in two."""
    activations = net.body(x[None]).detach().requires_grad_()
    net.head(activations)[0, target].backward()
    return activations.detach()[0].numpy(), activations.grad[0].numpy()


def noisy(image: Tensor, image_id: str) -> list[Tensor]:
    draws = [torch.randn(image.shape, generator=generator(SEED, f"noise {k}", image_id)) for k in range(4)]
    return [image + SIGMA * draw.double() for draw in draws]


def relu(x):
    return np.maximum(x, 0)


def loop_plus_plus(net: nn.Module, image: Tensor, target: int, image_id: str) -> np.ndarray:
    """Chattopadhay et al., equations 10 and 19 for an exponential output, position by position."""
    activations, gradients = seen(net, image, target)
    total = np.zeros(activations.shape[1:])
    for a, g in zip(activations, gradients, strict=True):
        weight = 0.0
        for value in g.flatten():
            if value > 0:
                weight += value**2 / (2 * value**2 + a.sum() * value**3) * value
        total += weight * a
    return relu(total)


def loop_plus_plus_torchcam(net: nn.Module, image: Tensor, target: int, image_id: str) -> np.ndarray:
    activations, gradients = seen(net, image, target)
    return relu(sum((relu(g) ** 3).sum() * a for a, g in zip(activations, gradients, strict=True)))


def loop_smooth(net: nn.Module, image: Tensor, target: int, image_id: str) -> np.ndarray:
    """Omeiza et al., equations 5 and 6: derivatives averaged over noisy inputs, activations of the clean one."""
    activations, _ = seen(net, image, target)
    gradients = [seen(net, x, target)[1] for x in noisy(image, image_id)]
    total = np.zeros(activations.shape[1:])
    for k, a in enumerate(activations):
        first, second, third = (np.mean([g[k] ** power for g in gradients], axis=0) for power in (1, 2, 3))
        weight = 0.0
        for d1, d2, d3 in zip(first.flatten(), second.flatten(), third.flatten(), strict=True):
            denominator = 2 * d2 + d3 * a.sum()
            weight += d2 / denominator * max(d1, 0) if denominator else 0.0
        total += weight * a
    return relu(total)


def loop_smooth_torchcam(net: nn.Module, image: Tensor, target: int, image_id: str) -> np.ndarray:
    clean, _ = seen(net, image, target)
    samples = [seen(net, x, target) for x in noisy(image, image_id)]
    last, total = samples[-1], np.zeros(clean.shape[1:])
    for k in range(len(clean)):
        g2 = np.mean([g[k] ** 2 for _, g in samples], axis=0)
        g3 = np.mean([g[k] ** 3 for _, g in samples], axis=0)
        alpha = g2 / (2 * g2 + (g3 * clean[k]).sum() + 1e-8)
        total += (alpha * relu(last[1][k])).sum() * last[0][k]
    return relu(total)


LOOPS = {
    "grad-cam++": (cam.grad_cam_plus_plus, loop_plus_plus),
    "grad-cam++-torchcam": (cam.grad_cam_plus_plus_torchcam, loop_plus_plus_torchcam),
    "sg-cam++": (cam.smooth_grad_cam_plus_plus, loop_smooth),
    "sg-cam++-torchcam": (cam.smooth_grad_cam_plus_plus_torchcam, loop_smooth_torchcam),
}


@pytest.mark.parametrize("name", LOOPS)
def test_formulas_agree_with_plain_loops(name, small, pictures, classes, evidence, deviation):
    ours, loop = LOOPS[name]
    e = evidence(small, pictures, classes, seed=SEED)
    pairs = zip(pictures, classes.tolist(), e.image_ids, strict=True)
    expected = np.stack([loop(small, image, target, image_id) for image, target, image_id in pairs])
    assert deviation(ours(e), expected[:, None]) < 1e-9


@pytest.mark.parametrize("name", [*PEERS, *LOOPS])
def test_maps_are_the_enlarged_raw_maps(name, small, pictures, classes, evidence, deviation):
    ours = (PEERS | LOOPS)[name][0]
    raw = ours(evidence(small, pictures, classes, seed=SEED))
    ids = [f"photo {i}" for i in range(4)]
    maps = xaibench.attribute(small, pictures, classes, name, cam_layer="body", image_ids=ids, seed=SEED)
    assert raw.shape == (4, 1, 8, 8) and (raw >= 0).all()
    expected = nn.functional.interpolate(raw, (16, 16), mode="bilinear", align_corners=False)
    assert deviation(maps, expected) < 1e-12


def test_xgrad_cam_is_grad_cam_where_pooling_and_a_linear_layer_follow(exact_resnet, photos64, evidence, deviation):
    x, targets = photos64[:4].double(), torch.tensor([0, 3, 5, 9])
    e = evidence(exact_resnet, x, targets, cam_layer=exact_resnet.layer4)
    assert deviation(cam.xgrad_cam(e), cam.grad_cam(e)) < 1e-6
    deeper = evidence(exact_resnet, x, targets, cam_layer=exact_resnet.layer3)
    assert deviation(cam.xgrad_cam(deeper), cam.grad_cam(deeper)) > 1e-2


def test_an_in_place_relu_behind_the_layer_does_not_reach_the_kept_activation(pictures, classes, evidence):
    torch.manual_seed(6)
    before = nn.Conv2d(3, 4, 3, padding=1).double()
    behind = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5)).double()
    net = nn.Sequential(before, nn.ReLU(inplace=True), behind).eval().requires_grad_(False)
    stage = evidence(net, pictures, classes, cam_layer=before).activations_and_gradients()
    assert torch.equal(stage.activations, before(pictures)) and (stage.activations < 0).any()
    point = before(pictures).requires_grad_()
    (expected,) = torch.autograd.grad(behind(point.relu()).gather(1, classes[:, None]).sum(), point)
    assert torch.allclose(stage.gradients, expected, rtol=1e-12)


@pytest.mark.parametrize("name", [*PEERS, *LOOPS])
def test_vanishing_gradients_and_activations_give_finite_maps(name, small, pictures, classes, evidence):
    ours = (PEERS | LOOPS)[name][0]
    e = evidence(small, pictures, classes)
    shape = e.activations_and_gradients().activations.shape
    for activation, gradient in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)):
        stage = type(e.activations_and_gradients())(torch.full(shape, activation), torch.full(shape, gradient))
        e.activations_and_gradients = lambda *sample, stage=stage: stage
        assert ours(e).isfinite().all()


@pytest.mark.parametrize("scale", [1e-12, 1e-21])
@pytest.mark.parametrize("name", ["grad-cam", "grad-cam++", "sg-cam++", "xgrad-cam", "layer-cam"])
def test_tiny_gradients_of_saturated_probabilities_give_finite_maps(name, scale, resnet, photos64, evidence):
    ours = (PEERS | LOOPS)[name][0]
    e = evidence(resnet, photos64[:2], torch.tensor([1, 2]), cam_layer=resnet.layer3)
    kept = e.activations_and_gradients
    e.activations_and_gradients = lambda *sample: type(kept())(
        kept(*sample).activations, scale * kept(*sample).gradients
    )
    assert ours(e).isfinite().all()


def test_without_a_spatial_layer_the_error_says_so(small, pictures, classes, evidence):
    from xaibench.errors import XaibenchError

    with pytest.raises(XaibenchError, match="no layer with a spatial map"):
        cam.grad_cam(evidence(small, pictures, classes, cam_layer=None))


def test_the_default_layer_is_the_last_with_a_map(exact_resnet, photos64, deviation):
    x, targets = photos64[:2].double(), torch.tensor([3, 8])
    maps = [xaibench.attribute(exact_resnet, x, targets, "grad-cam", cam_layer=c) for c in (None, "layer4", "layer3")]
    assert torch.equal(maps[0], maps[1]) and not torch.equal(maps[0], maps[2])
    by_module = xaibench.attribute(exact_resnet, x, targets, "grad-cam", cam_layer=exact_resnet.layer3)
    assert torch.equal(by_module, maps[2])
