"""Methods of captum and pytorch-grad-cam through cards, against formulas written out here or the library itself."""

from __future__ import annotations

import random
import warnings

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import xaibench
from xaibench import registry
from xaibench.attribution.methods import check_parameters, choose_methods, method_maps
from xaibench.attribution.runner import ModelRunner
from xaibench.attribution.trial import trial_of
from xaibench.cards import MethodCard
from xaibench.errors import XaibenchError
from xaibench.models.base import Encoding, Model

FOREIGN = {"captum", "pytorch-grad-cam"}
SHIPPED = [n for n in registry.names("method") if FOREIGN & set(registry.card("method", n).tags)]
FEW = {"n_samples": 6}


def card(target: str, name: str = "mine", **parameters) -> MethodCard:
    return MethodCard(name=name, title=name, target=target, parameters=parameters)


def maps(e, name: str, **changes) -> Tensor:
    """Maps of a shipped method, or of `captum.attr:X`."""
    known = card(name) if ":" in name else registry.card("method", name)
    parameters = known.parameters | {k: v for k, v in FEW.items() if k in known.parameters} | changes
    check_parameters(known, parameters)
    return method_maps(known, e, parameters)


class Rectified(torch.autograd.Function):
    """relu whose gradient is guided (times its own sign and the gate), or a deconvolution's (its own sign alone)."""

    @staticmethod
    def forward(ctx, x, gated):
        ctx.save_for_backward(x)
        ctx.gated = gated
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient.clamp(min=0) * (x > 0 if ctx.gated else 1), None


class Rescaled(torch.autograd.Function):
    """relu of images and their baselines (stacked), whose gradient is DeepLift's multiplier."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        (a, b), (g, h) = x.chunk(2), gradient.chunk(2)
        slope = torch.where(a == b, (a > 0).double(), (a.clamp(min=0) - b.clamp(min=0)) / (a - b))
        return torch.cat([g * slope, h * slope])


class RescaledPool(torch.autograd.Function):
    """3x3 max pool of stride 2 whose gradient is DeepLift's multiplier, window by window."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return F.max_pool2d(x, 3, 2)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        (a, b), g = x.chunk(2), gradient.chunk(2)[0]
        given = torch.zeros_like(a)
        for n, c, i, j in np.ndindex(*g.shape):
            box = slice(2 * i, 2 * i + 3), slice(2 * j, 2 * j + 3)
            one, other = a[n, c][box], b[n, c][box]
            top = max(one.max(), other.max())
            for values, gain in ((one, top - other.max()), (other, one.max() - top)):
                r, s = divmod(int(values.argmax()), values.shape[1])
                given[n, c, 2 * i + r, 2 * j + s] += gain * g[n, c, i, j]
        slope = torch.where(a == b, torch.zeros_like(a), given / torch.where(a == b, torch.ones_like(a), a - b))
        return torch.cat([slope, slope])


class Branches(nn.Module):
    """A shared in-place ReLU, functional ReLUs, an overlapping max pool right behind a ReLU and one on a branch whose
    input others take too: each of these breaks captum alone."""

    def __init__(self):
        super().__init__()
        self.stem, self.left, self.right = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 4, 3, padding=1), nn.Conv2d(5, 4, 1)
        self.relu, self.pool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)
        self.branch, self.head = nn.Conv2d(4, 4, 3), nn.Linear(8, 5)

    def forward(self, x):
        return self.run(x, self.relu, lambda x: F.relu(x, inplace=True), self.pool)

    def run(self, x, relu, rectify, pool):
        x = pool(relu(self.stem(x)))
        x = relu(self.left(x)) + rectify(self.right(x)) - 0.05
        pooled, kept = pool(x), rectify(self.branch(x))
        return self.head(torch.cat([pooled.mean((2, 3)), kept.mean((2, 3))], 1))


@pytest.fixture(scope="module")
def branches():
    torch.manual_seed(7)
    return Branches().double().eval().requires_grad_(False)


class Plain(nn.Sequential):
    """A network that needs no preparation: no shared, in-place, functional ReLU, and pools that do not overlap."""

    def __init__(self, classes: int = 5):
        super().__init__(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 7, 3), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(7, classes),
        )  # fmt: skip


@pytest.fixture
def plain():
    torch.manual_seed(8)
    return Plain().double().eval().requires_grad_(False)


def gradient_of(net, inputs, classes, *functions) -> Tensor:
    at = inputs.clone().requires_grad_()
    picked = net.run(at, *functions).gather(1, classes[:, None]).sum()
    return torch.autograd.grad(picked, at)[0]


# Against formulas ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "gated"), [("guided-backprop", True), ("deconvolution", False)])
def test_guided_gradients_pass_every_relu(name, gated, branches, pictures, classes, evidence, deviation):
    def rectified(x):
        return Rectified.apply(x, gated)

    def pool(x):
        return F.max_pool2d(x, 3, 2)

    expected = gradient_of(branches, pictures, classes, rectified, rectified, pool).sum(1)
    assert deviation(maps(evidence(branches, pictures, classes), name), expected) < 1e-12


def test_deeplift_is_the_rescale_rule_written_out(branches, pictures, classes, evidence, deviation):
    zero = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    base = zero[:, None, None].expand_as(pictures)
    at = torch.cat([pictures, base]).requires_grad_()
    out = branches.run(at, Rescaled.apply, Rescaled.apply, RescaledPool.apply)
    slopes = torch.autograd.grad(out.gather(1, classes.repeat(2)[:, None]).sum(), at)[0][:4]
    expected = (slopes * (pictures - base)).sum(1)
    e = evidence(branches, pictures, classes, zero=zero)
    found = maps(e, "deeplift")
    assert deviation(found, expected) < 1e-10
    change = e.scores(e.logits()) - branches(base)[0][classes]
    assert torch.allclose(found.sum((1, 2, 3)), change, atol=1e-12), "complete"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RuntimeError, match="used more than once"):
            captum.attr.DeepLift(branches).attribute(pictures, base, target=classes)


def test_deeplift_holds_where_another_activation_follows_a_relu(pictures, classes, evidence):
    torch.manual_seed(4)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(294, 5))
    e = evidence(net.double().eval(), pictures, classes)
    change = e.scores(e.logits()) - net(torch.zeros_like(pictures))[0, classes]
    assert torch.allclose(maps(e, "deeplift").sum((1, 2, 3)), change, atol=1e-12)


def test_deeplift_of_an_image_does_not_see_the_others(classes, evidence):
    """captum's rule for max pools takes the first image's gradient where image and baseline agree."""
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 4, (1, 2), bias=False), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(48, 5),
    )  # fmt: skip
    net[0].weight.data[:, 1:] = 0
    net[0].weight.data[..., 1] = net[0].weight.data[..., 0]
    images = torch.randn(4, 3, 12, 12, dtype=torch.float64)
    images[:, :, 4:] = images[:, :, 4:, :1] * torch.tensor([1.0, -1.0] * 6)  # the convolution gives exactly 0 there
    net = net.double().eval()
    together = maps(evidence(net, images, classes), "deeplift")
    for i in range(4):
        alone = maps(evidence(net, images[i : i + 1], classes[i : i + 1]), "deeplift")
        assert torch.allclose(alone[0], together[i], rtol=0, atol=1e-12)


def test_guided_grad_cam_is_the_product(branches, pictures, classes, evidence, deviation):
    e = evidence(branches, pictures, classes, cam_layer=branches.stem)
    coarse = torch.relu(
        (
            e.activations_and_gradients().gradients.mean((2, 3), keepdim=True)
            * e.activations_and_gradients().activations
        ).sum(1, keepdim=True)
    )
    large = F.interpolate(coarse, (16, 16), mode="bilinear")
    expected = large * maps(e, "guided-backprop")
    assert deviation(maps(e, "guided-grad-cam"), expected) < 1e-6


def replaced(net, image, mask, value, target):
    return net(torch.where(mask, value[:, None, None], image)[None])[0, target]


def test_occlusion_is_a_loop_over_windows(plain, pictures, classes, evidence, deviation):
    zero = torch.tensor([0.1, 0.2, -0.3], dtype=torch.float64)
    expected, times = torch.zeros(4, 16, 16, dtype=torch.float64), torch.zeros(16, 16)
    for top in range(0, 14, 1):
        for left in range(0, 14, 1):
            mask = torch.zeros(16, 16, dtype=torch.bool)
            mask[top : top + 3, left : left + 3] = True
            times += mask
            for p in range(4):
                drop = plain(pictures[p : p + 1])[0, classes[p]] - replaced(plain, pictures[p], mask, zero, classes[p])
                expected[p] += drop * mask
    e = evidence(plain, pictures, classes, zero=zero)
    before = e.runner.forwards
    assert deviation(maps(e, "occlusion") / 3, expected / times) < 1e-6, "each of three channels repeats the value"
    assert e.runner.forwards - before == 4 * (1 + 14**2) + 2 * 4, "the windows, the image, and what checks the copy"


def test_feature_ablation_is_a_loop_over_cells(plain, pictures, classes, evidence, deviation):
    expected, edges = torch.zeros(4, 16, 16, dtype=torch.float64), [i * 16 // 7 for i in range(8)]
    for r, s in np.ndindex(7, 7):
        mask = torch.zeros(16, 16, dtype=torch.bool)
        mask[edges[r] : edges[r + 1], edges[s] : edges[s + 1]] = True
        for p in range(4):
            after = replaced(plain, pictures[p], mask, torch.zeros(3).double(), classes[p])
            expected[p][mask] = plain(pictures[p : p + 1])[0, classes[p]] - after
    for chunk in (3, 32):
        e = evidence(plain, pictures, classes, chunk=chunk)
        assert deviation(maps(e, "feature-ablation") / 3, expected) < 1e-10


@pytest.mark.parametrize(("name", "error"), [("kernel-shap", 1e-4), ("shapley-sampling", 1e-5), ("lime", 0.06)])
def test_surrogates_find_what_a_linear_network_adds_up(name, error, pictures, classes, evidence, deviation):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5)).double().eval()
    e = evidence(net, pictures, classes)
    parts = (pictures * net[1].weight[classes].view_as(pictures)).sum(1)
    expected = torch.zeros_like(parts)
    edges = [i * 16 // 4 for i in range(5)]
    for r, s in np.ndindex(4, 4):
        box = slice(edges[r], edges[r + 1]), slice(edges[s], edges[s + 1])
        expected[:, box[0], box[1]] = parts[:, box[0], box[1]].sum((1, 2))[:, None, None]
    found = maps(e, name, cells=4, n_samples=300 if name == "lime" else 60)
    assert deviation(found / 3, expected) < error, "each of three channels repeats the cell's value"


def test_gradient_shap_of_a_linear_network_without_noise(pictures, classes, evidence, deviation):
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5)).double().eval()
    expected = (pictures * net[1].weight[classes].view_as(pictures)).sum(1)
    found = maps(evidence(net, pictures, classes), "gradient-shap", stdevs=0.0)
    assert deviation(found.float(), expected) < 1e-6


@pytest.mark.parametrize("name", ["Saliency", "InputXGradient", "IntegratedGradients", "DeepLift", "GuidedBackprop"])
def test_captum_itself_where_nothing_needs_preparation(name, pictures, classes, evidence, deviation):
    torch.manual_seed(8)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net = net.double().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = getattr(captum.attr, name)(net).attribute(pictures.clone(), target=classes).sum(1)
    assert deviation(maps(evidence(net, pictures, classes, chunk=3), f"captum.attr:{name}"), expected) < 1e-10


# Class activation maps -------------------------------------------------------------------------------------------


def scaled(cams: Tensor) -> Tensor:
    """Negative values cut off, enlarged, scaled to [0, 1]."""
    large = F.interpolate(cams[:, None].clamp(min=0), (16, 16), mode="bilinear")
    low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
    return (large - low) / (high - low)


def test_hires_cam_and_the_elementwise_variant(small, pictures, classes, evidence, deviation):
    e = evidence(small, pictures, classes)
    product = e.activations_and_gradients().gradients * e.activations_and_gradients().activations
    assert deviation(maps(e, "hires-cam"), scaled(product.sum(1))) < 1e-4
    assert deviation(maps(e, "grad-cam-elementwise"), scaled(product.relu().sum(1))) < 1e-4


@pytest.mark.parametrize("name", ["eigen-cam", "eigen-grad-cam"])
def test_eigen_cam_is_the_first_principal_component(name, small, pictures, classes, evidence, deviation):
    e = evidence(small, pictures, classes)
    values = e.activations_and_gradients().activations * (
        e.activations_and_gradients().gradients if name == "eigen-grad-cam" else 1
    )
    expected = []
    for a in values.numpy():
        rows = a.reshape(len(a), -1).T
        rows = rows - rows.mean(0)
        _, _, axes = np.linalg.svd(rows, full_matrices=True)
        expected.append(torch.from_numpy((rows @ axes[0]).reshape(a.shape[1:])))
    assert deviation(maps(e, name), scaled(torch.stack(expected))) < 1e-4


def test_ablation_cam_is_a_loop_over_channels(small, pictures, classes, evidence, deviation):
    e = evidence(small, pictures, classes)
    a, expected = small.body(pictures), []
    for p in range(4):
        whole, weights = small(pictures[p : p + 1])[0, classes[p]], []
        for k in range(a.shape[1]):
            without = a[p : p + 1].clone()
            without[:, k] = 0
            weights.append((whole - small.head(without)[0, classes[p]]) / whole)
        expected.append((torch.stack(weights)[:, None, None] * a[p]).sum(0))
    before = e.runner.forwards
    assert deviation(maps(e, "ablation-cam"), scaled(torch.stack(expected))) < 1e-4
    assert e.runner.forwards - before == 4 * (8 + 2) + 8


@pytest.mark.parametrize("chunk", [3, 32])
def test_ablation_cam_sets_channels_to_zero_where_activations_are_negative(
    chunk, small, pictures, classes, evidence, deviation
):
    a, expected = small.head[0](small.body(pictures)), []
    for p in range(4):
        whole, rest, weights = small(pictures[p : p + 1])[0, classes[p]], small.head[1:], []
        for k in range(a.shape[1]):
            without = a[p : p + 1].clone()
            without[:, k] = 0
            weights.append((whole - rest(without)[0, classes[p]]) / whole)
        expected.append((torch.stack(weights)[:, None, None] * a[p]).sum(0))
    e = evidence(small, pictures, classes, cam_layer=small.head[0], chunk=chunk)
    assert deviation(maps(e, "ablation-cam"), scaled(torch.stack(expected))) < 1e-4


def test_ablating_units_of_a_layer_is_a_loop(small, pictures, classes, evidence, deviation):
    a, images = small.body(pictures[:2]), pictures[:2]
    expected = torch.zeros_like(a)
    for unit in np.ndindex(*a.shape):
        without = a.clone()
        without[unit] = 0
        expected[unit] = (small.head(a) - small.head(without))[unit[0], classes[unit[0]]]
    found = method_maps(card("captum.attr:LayerFeatureAblation"), evidence(small, images, classes[:2]), {})
    assert deviation(found, F.interpolate(expected.sum(1, keepdim=True), (16, 16), mode="bilinear")) < 1e-6


def test_score_cam_is_a_loop_over_masks(small, pictures, classes, evidence, deviation):
    a, expected = small.body(pictures), []
    large = F.interpolate(a, (16, 16), mode="bilinear", align_corners=True)
    low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
    masks = (large - low) / (high - low + 1e-8)
    for p in range(4):
        scores = small(pictures[p] * masks[p][:, None])[:, classes[p]]
        expected.append((scores.softmax(0)[:, None, None] * a[p]).sum(0))
    e = evidence(small, pictures, classes, chunk=5)
    before = e.runner.forwards
    assert deviation(maps(e, "score-cam"), scaled(torch.stack(expected))) < 1e-4
    assert e.runner.forwards - before == 4 * (8 + 1) + 8


def test_finer_cam_weighs_the_nearest_classes(small, pictures, classes, evidence, deviation):
    expected = []
    for image, target in zip(pictures, classes.tolist(), strict=True):
        a = small.body(image[None]).detach().requires_grad_()
        logits = small.head(a)[0]
        near = (logits - logits[target]).abs().argsort()[1:4].tolist()
        chances = logits.softmax(0)
        differences = sum(chances[k] * (logits[target] - logits[k]) for k in near)
        (g,) = torch.autograd.grad(differences / (sum(chances[k] for k in near) + 1e-9), a)
        expected.append((g.mean((2, 3), keepdim=True) * a.detach()).sum(1)[0])
    found = maps(evidence(small, pictures, classes), "finer-cam")
    assert deviation(found, scaled(torch.stack(expected))) < 1e-4


# What holds for all ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_an_image_alone_gives_the_map_that_it_has_in_a_batch(name, plain, pictures, classes, evidence):
    torch.manual_seed(0)
    together = maps(evidence(plain, pictures, classes, list("abcd"), cam_layer=plain[3]), name)
    assert together.shape == (4, 1, 16, 16) and together.dtype == torch.float64
    torch.manual_seed(1)
    np.random.seed(1)
    order = [2, 0]
    e = evidence(plain, pictures[order], classes[order], ["c", "a"], cam_layer=plain[3])
    assert torch.allclose(maps(e, name), together[order], rtol=0, atol=1e-5 * float(together.abs().max()))


@pytest.mark.parametrize(
    "name", ["gradient-shap", "kernel-shap", "lime", "shapley-sampling", "pytorch_grad_cam:RandomCAM"]
)
def test_draws_follow_seed_and_image_and_leave_generators_alone(name, plain, pictures, classes, evidence):
    same = pictures[:1].repeat(3, 1, 1, 1)
    target = classes[:1].repeat(3)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    first = maps(evidence(plain, same, target, ["a", "b", "a"], cam_layer=plain[3]), name)
    assert torch.equal(first[0], first[2]) and not torch.allclose(first[0], first[1])
    again = maps(evidence(plain, same[:1], target[:1], ["a"], seed=1, cam_layer=plain[3]), name)
    assert not torch.allclose(again[0], first[0])
    assert torch.equal(states[0], torch.get_rng_state()) and (states[1] == np.random.get_state()[1]).all()
    assert states[2] == random.getstate()


@pytest.mark.parametrize("name", SHIPPED)
def test_the_network_and_the_screen_stay_as_they_were(name, branches, pictures, classes, capfd):
    weights = {k: v.clone() for k, v in branches.state_dict().items()}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        parameters = {k: v for k, v in FEW.items() if k in registry.card("method", name).parameters}
        xaibench.attribute(branches, pictures[:2], classes[:2], name, cam_layer="right", **parameters)
    assert not any(m._forward_hooks or m._backward_hooks or m._forward_pre_hooks for m in branches.modules())
    assert branches.relu.inplace and type(branches.relu) is nn.ReLU and type(branches.pool) is nn.MaxPool2d
    assert all(torch.equal(v, weights[k]) for k, v in branches.state_dict().items())
    assert capfd.readouterr() == ("", "") and not [str(warning.message) for warning in said]


@pytest.mark.parametrize(
    ("name", "forwards", "backwards"),
    [
        ("guided-backprop", 1, 1),
        ("deconvolution", 1, 1),
        ("guided-grad-cam", 2, 2),
        ("feature-ablation", 50, 0),
        ("gradient-shap", 6, 6),
        ("kernel-shap", 6, 0),
        ("shapley-sampling", 1 + 6 * 49, 0),
        ("lime", 6, 0),
        ("eigen-cam", 1, 0),
        ("hires-cam", 1, 1),
        ("full-grad", 1, 1),
        ("finer-cam", 1, 1),
    ],
)
def test_passes_are_counted(name, forwards, backwards, plain, pictures, classes, evidence):
    for chunk in (3, 32):
        e = evidence(plain, pictures, classes, cam_layer=plain[3], chunk=chunk)
        maps(e, name)
        assert (e.runner.forwards - 8, e.runner.backwards) == (4 * forwards, 4 * backwards)
        maps(e, name)
        assert e.runner.forwards - 8 == 8 * forwards, "the copy is checked once"


def test_deeplift_runs_images_and_baselines_and_checks_the_baseline_once(plain, pictures, classes, evidence):
    e = evidence(plain, pictures, classes)
    maps(e, "deeplift")
    assert (e.runner.forwards - 8, e.runner.backwards) == (2 * 4 + 1, 2 * 4)


class Hungry(nn.Module):
    """Runs out of memory with more than two inputs."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.net(x)


@pytest.mark.parametrize("name", ["guided-backprop", "deeplift", "feature-ablation", "kernel-shap", "score-cam"])
def test_running_out_of_memory_halves_the_chunk(name, plain, pictures, classes, evidence):
    expected = maps(evidence(plain, pictures, classes, cam_layer=plain[3]), name)
    e = evidence(Hungry(plain), pictures, classes, cam_layer=plain[3], chunk=8)
    e.runner.chunk = 2
    e.logits()
    e.runner.chunk = 8
    assert torch.allclose(maps(e, name), expected, rtol=0, atol=1e-6 * float(expected.abs().max()))
    assert e.runner.chunk == 2


@pytest.mark.parametrize("name", ["deeplift", "guided-grad-cam", "occlusion", "lime", "score-cam", "finer-cam"])
def test_several_targets_of_an_image_are_explained_as_one_by_one(name, plain, pictures, evidence):
    targets, owner = torch.tensor([2, 0, 1, 4, 4]), torch.tensor([3, 0, 3, 0, 1])
    e = evidence(plain, pictures, torch.zeros(4, dtype=torch.long), chunk=3, cam_layer=plain[3])
    together = maps(e.explaining(targets, owner), name)
    for pair, (target, image) in enumerate(zip(targets, owner, strict=True)):
        alone = evidence(plain, pictures[image][None], [target], [f"photo {image}"], cam_layer=plain[3])
        expected = maps(alone, name)[0]
        assert torch.allclose(together[pair], expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


# What is refused -------------------------------------------------------------------------------------------------


class Soft(nn.Sequential):
    """A network of any activation functions."""

    def __init__(self, *activations):
        layers = [layer for a in activations for layer in (nn.Conv2d(3, 3, 3), a)]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5))


def model_of(net, layer: str) -> Model:
    encoding = Encoding((0.5,) * 3, (0.2,) * 3)
    return Model(name="net", net=net, encoding=encoding, cam_layer=layer, cam_grid=(2, 2), classes=5)


@pytest.mark.parametrize(
    ("name", "activations", "message"),
    [
        ("deeplift", [nn.GELU()], "add up to the difference of the logits.* here they miss it by"),
        ("deeplift", [nn.ReLU(), nn.Hardtanh(-0.1, 0.1)], "add up to the difference of the logits"),
        ("guided-backprop", [nn.SiLU(), nn.SiLU()], "activation functions are ReLUs; this one has silu"),
        ("guided-backprop", [nn.ReLU(), nn.ReLU6()], "activation functions are ReLUs; this one has hardtanh"),
        ("deconvolution", [nn.Identity()], "needs a network whose activation functions are ReLUs$"),
        ("guided-grad-cam", [nn.GELU()], "activation functions are ReLUs"),
    ],
)
def test_networks_that_a_method_is_not_defined_for(name, activations, message, pictures, classes):
    torch.manual_seed(0)
    net = Soft(*activations).eval()
    net[0].weight.data *= 4
    images = pictures.float()
    with pytest.raises(XaibenchError, match=message):
        xaibench.attribute(net, images, classes, name, cam_layer="0")
    assert not any(m._forward_hooks for m in net.modules())
    model = model_of(net, "0")
    cards, skipped = choose_methods(["all"], "soft", "cnn", True, trial_of(model, 16))
    assert name in skipped and name not in {c.name for c in cards} and "occlusion" not in skipped
    with pytest.raises(
        XaibenchError, match=rf"method {name} needs .*; soft is of the family cnn; leave it out of --methods"
    ):
        choose_methods([name], "soft", "cnn", True, trial_of(model, 16))
    assert not any(m._forward_hooks for m in net.modules())


@pytest.mark.process
def test_networks_that_fit_are_not_skipped(resnet):
    model = model_of(resnet, "layer4")
    names = ["deeplift", "guided-backprop", "deconvolution", "guided-grad-cam", "ig"]
    cards, skipped = choose_methods(names, "resnet", "cnn", True, trial_of(model, 64))
    assert [c.name for c in cards] == names and not skipped
    for outputs in (["probability"], ["logit", "probability"]):
        skipped = choose_methods(["all"], "resnet", "cnn", True, trial_of(model, 64, outputs))[1]
        assert skipped["deeplift"].startswith("explains logits, not probabilities") and "guided-backprop" not in skipped


def test_deeplift_explains_logits_only(plain, pictures, classes, evidence):
    with pytest.raises(XaibenchError, match="explains logits"):
        maps(evidence(plain, pictures, classes, output="probability"), "deeplift")


def test_the_probability_is_explained_where_asked(plain, pictures, classes, evidence, deviation):
    e = evidence(plain, pictures, classes, output="probability")
    expected = e.gradient().abs().sum(1)
    assert deviation(maps(e, "captum.attr:Saliency"), expected) < 1e-10


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("captum.attr:NeuronGradient", "NeuronGradient does not explain the score of a class"),
        ("captum.attr:Attribution", "Attribution does not explain the score of a class"),
        ("captum.attr:FeaturePermutation", "permutes images of a batch"),
        ("captum.attr:NoiseTunnel", "wraps another method"),
        ("captum.attr:Count", "neither a function of evidence, nor an attribution class of captum"),
        ("pytorch_grad_cam:DeepFeatureFactorization", "nor a CAM class of pytorch-grad-cam"),
        ("pathlib:Path", "method mine: Path is neither"),
        ("captum.attr:Nothing", "cannot be imported"),
    ],
)
def test_classes_that_are_no_methods(target, message):
    with pytest.raises(XaibenchError, match=message):
        check_parameters(card(target), {})


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("captum.attr:Occlusion", "window, stride, baselines"),
        ("captum.attr:FeatureAblation", "cells, baselines"),
        ("captum.attr:Lime", "cells, ridge, kernel_width, baselines, n_samples"),
        ("captum.attr:IntegratedGradients", "multiply_by_inputs, baselines, n_steps, method"),
        ("captum.attr:GuidedBackprop", "none"),
        ("pytorch_grad_cam:ScoreCAM", "eigen_smooth, aug_smooth"),
        ("pytorch_grad_cam:AblationCAM", "ratio_channels_to_ablate, eigen_smooth, aug_smooth"),
    ],
)
def test_parameters_are_those_of_the_signatures(target, names):
    with pytest.raises(XaibenchError, match=rf"method mine has no parameter 'stepz'; it has {names}$"):
        check_parameters(card(target), {"stepz": 1})


def test_a_users_own_subclass_is_a_method_too(plain, pictures, classes, evidence, monkeypatch):
    class Doubled(captum.attr.Saliency):
        """Twice the saliency."""

        def attribute(self, inputs, target=None, factor=2.0):
            return factor * super().attribute(inputs, target=target)

    monkeypatch.setattr(captum.attr, "Doubled", Doubled, raising=False)
    e = evidence(plain, pictures, classes)
    check_parameters(card("captum.attr:Doubled"), {"factor": 3.0})
    found = method_maps(card("captum.attr:Doubled"), e, {"factor": 3.0})
    assert torch.allclose(found, 3 * maps(e, "captum.attr:Saliency"))


def test_what_a_library_raises_is_one_line_and_leaves_nothing_behind(small, pictures, classes, monkeypatch):
    def fails(self, *args, **kwargs):
        raise ValueError("a\nlong story")

    monkeypatch.setattr("pytorch_grad_cam.AblationCAM.assemble_ablation_scores", fails)
    with ModelRunner(small) as runner:
        from xaibench.attribution.api import evidence_of
        from xaibench.models.base import ModelView

        e = evidence_of(runner, pictures, classes, view=ModelView(small.body))
        hires = maps(e, "hires-cam")
        with pytest.raises(XaibenchError, match=r"AblationCAM cannot explain this network: ValueError: a long story$"):
            maps(e, "ablation-cam")
        assert torch.equal(maps(e, "hires-cam"), hires), "the copy that it had changed is not used again"
    assert not any(m._forward_hooks for m in small.modules())


def test_methods_of_a_layer_need_one(plain, pictures, classes, evidence):
    with pytest.raises(XaibenchError, match="no layer with a spatial map"):
        maps(evidence(plain, pictures, classes, cam_layer=None), "captum.attr:LayerGradCam")


def test_occlusion_says_what_it_needs(plain, pictures, classes, evidence):
    with pytest.raises(XaibenchError, match="needs the parameters window and stride"):
        maps(evidence(plain, pictures, classes), "captum.attr:Occlusion")
