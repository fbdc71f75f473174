"""B-cos contributions: a network by hand, the package's own explanation, what they add up to, finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import xaibench
from xaibench import registry
from xaibench.attribution import controls
from xaibench.attribution.bcos import contributions, held, true_contributions
from xaibench.attribution.methods import method_maps
from xaibench.errors import XaibenchError

pytest.importorskip("bcos")
pytest.importorskip("einops")
NETWORKS = (
    "resnet18",
    pytest.param("resnet50", marks=pytest.mark.process),
    pytest.param("densenet121", marks=pytest.mark.process),
    "simple_vit_s_patch16_224",
)


def settled(net: nn.Module, inputs: Tensor) -> nn.Module:
    """In double precision and evaluation mode, with statistics of these images and scales that differ by channel."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all passes
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)):
            module.weight.data.uniform_(0.5, 1.5)
    net.double().train()
    with torch.no_grad():
        for _ in range(3):
            net(inputs)
    return net.eval()


@pytest.fixture(scope="module")
def seen() -> Tensor:
    """Two images of six channels, 64 x 64 pixels, smooth, in double precision."""
    coarse = torch.rand(2, 3, 10, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    colours = nn.functional.interpolate(coarse, (64, 64), mode="bilinear")
    return torch.cat([colours, 1 - colours], 1)


TARGETS = torch.tensor([3, 0])


@pytest.fixture(scope="module")
def network(seen):
    """network(builder): a B-cos network for five classes."""
    from xaibench.models.bcos_nets import build

    made = {}

    def make(builder: str) -> nn.Module:
        if builder not in made:
            torch.manual_seed(3)
            made[builder] = settled(build(5, builder), seen)
        return made[builder]

    return make


@pytest.fixture
def tiny() -> nn.Module:
    """Every kind of module with dynamic weights, a few hundred of them, for images (N, 4, 8, 8)."""
    from bcos.models.vit import Attention
    from bcos.modules import BcosConv2d, BcosLinear, LogitLayer, norms

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            norm = norms.NoBias(norms.DetachableLayerNorm)
            self.attention = Attention(6, 2, 3, BcosLinear, norm)
            self.head = nn.Sequential(norm(6), BcosLinear(6, 3, b=1.5), LogitLayer(logit_bias=-0.7))

        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(2).mT
            return self.head((x + self.attention(x)).mean(1))

    torch.manual_seed(4)
    net = nn.Sequential(
        BcosConv2d(4, 5, 3, padding=1), norms.NoBias(norms.BatchNormUncentered2d)(5),
        BcosConv2d(5, 6, 2, stride=2, max_out=2), norms.NoBias(norms.DetachableGNLayerNorm2d)(6),
        BcosConv2d(6, 6, 3, b=2.5), norms.NoBias(norms.DetachablePositionNorm2d)(6), Tokens(),
    )  # fmt: skip
    return settled(net, torch.rand(3, 4, 8, 8, dtype=torch.float64))


# The map -------------------------------------------------------------------------------------------------------------


def test_two_layers_by_hand(evidence):
    from bcos.modules import BcosConv2d, LogitLayer

    net = nn.Sequential(BcosConv2d(2, 2), BcosConv2d(2, 1), nn.Flatten(), LogitLayer(logit_bias=-2.0)).double().eval()
    net[0].linear.weight.data = torch.tensor([[7.0, 0.0], [0.0, 0.5]]).double()[:, :, None, None]  # used at unit length
    net[1].linear.weight.data = torch.tensor([[0.6, 0.8]]).double()[:, :, None, None]
    # x = (3, 4) has length 5: the first layer gives (3 * 3 / 5, 4 * 4 / 5); of it the second (0.6, 0.8) times a cosine
    product = 0.6 * 1.8 + 0.8 * 3.2
    cosine = product / np.hypot(1.8, 3.2)
    e = evidence(net, torch.tensor([3.0, 4.0]).double().view(1, 2, 1, 1), [1])
    np.testing.assert_allclose(contributions(e).flatten(), [cosine * 0.6 * 1.8, cosine * 0.8 * 3.2], rtol=1e-6)
    one = cosine * product - 2  # the one output, of class 1 against class 0
    np.testing.assert_allclose(e.logits(), [[-one, one]], rtol=1e-6)


def test_patches_of_a_4x4_image_by_loops(evidence):
    from bcos.modules import BcosConv2d, LogitLayer

    torch.manual_seed(5)
    parts = BcosConv2d(2, 3, 2, stride=2), BcosConv2d(3, 4, 2)
    net = nn.Sequential(*parts, nn.Flatten(), LogitLayer(logit_bias=-1.0)).double().eval()
    x = torch.rand(1, 2, 4, 4, dtype=torch.float64)

    def dynamic(layer: nn.Module, patch: np.ndarray) -> np.ndarray:
        """The matrix (outputs, inputs) by which a layer multiplies a patch."""
        rows = layer.linear.weight.detach().numpy().reshape(len(layer.linear.weight), -1)
        rows = rows / np.sqrt((rows**2).sum(1, keepdims=True))
        return rows * np.abs(rows @ patch)[:, None] / np.sqrt(patch @ patch + 1e-6)

    corners = [(0, 0), (0, 2), (2, 0), (2, 2)]
    patches = [x[0, :, r : r + 2, c : c + 2].numpy().ravel() for r, c in corners]
    first = [dynamic(parts[0], patch) for patch in patches]
    hidden = np.stack([matrix @ patch for matrix, patch in zip(first, patches, strict=True)], 1)  # channel, corner
    row = dynamic(parts[1], hidden.ravel())[2].reshape(3, 4)  # of target 2
    expected = np.zeros((2, 4, 4))
    for number, (r, c) in enumerate(corners):
        expected[:, r : r + 2, c : c + 2] = ((row[:, number] @ first[number]) * patches[number]).reshape(2, 2, 2)
    np.testing.assert_allclose(contributions(evidence(net, x, [2]))[0], expected, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("builder", NETWORKS)
def test_contributions_and_biases_add_up_to_the_logit(builder, network, seen, evidence):
    net = network(builder)
    e = evidence(net, seen, TARGETS)
    bias, rest = -np.log(4), 0.0
    if builder.startswith("simple_vit"):  # its position embedding is added, as a bias of every token
        rest = embedded(net, seen)
        assert abs(rest).max() > 1e-3
    logits = e.logits()[torch.arange(2), TARGETS]
    assert (logits - bias).abs().min() > 1e-4
    torch.testing.assert_close(contributions(e).sum((1, 2, 3)) + rest + bias, logits, rtol=0, atol=1e-8)


def embedded(net: nn.Module, inputs: Tensor) -> Tensor:
    """What the position embedding (T, D) contributes to each target's logit, (N,)."""
    found = []
    for image, target in zip(inputs, TARGETS, strict=True):
        kept = []
        hook = net[0].positional_embedding.register_forward_hook(
            lambda module, args, output: kept.append(output.detach().requires_grad_()) or kept[0]  # noqa: B023
        )
        with net.explanation_mode():
            net(image[None])[0, target].backward(inputs=(kept or [None]))
        hook.remove()
        found.append((kept[0] * kept[0].grad).sum().detach())
    return torch.stack(found)


@pytest.mark.parametrize("builder", ["resnet18", "simple_vit_s_patch16_224"])
def test_one_image_is_explained_as_by_the_package(builder, network, seen, evidence):
    net = network(builder)
    raw = contributions(evidence(net, seen, TARGETS))
    for number, target in enumerate(TARGETS.tolist()):
        reference = net.explain(seen[number : number + 1].clone().requires_grad_(), idx=target)
        torch.testing.assert_close(raw[number].sum(0), reference["contribution_map"][0].detach(), rtol=1e-9, atol=1e-15)


def test_batches_pairs_and_cost(tiny, evidence):
    x = torch.rand(5, 4, 8, 8, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    targets = torch.tensor([2, 0, 1, 1, 2])
    whole = evidence(tiny, x, targets, chunk=2)
    together = contributions(whole)
    assert (whole.runner.forwards, whole.runner.backwards) == (5, 5)
    alone = [contributions(evidence(tiny, x[i : i + 1], targets[i : i + 1])) for i in range(5)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-14)
    pairs = contributions(evidence(tiny, x, [2, 1, 0], owner=torch.tensor([4, 2, 4])))
    torch.testing.assert_close(pairs[:2], together[[4, 2]], rtol=1e-9, atol=1e-14)
    assert (pairs[2] - pairs[0]).abs().max() > 1e-3


@pytest.mark.parametrize(("stage", "step"), [("layer2", 8), ("layer4", 32)])
def test_stage_adds_up_too(stage, step, network, seen, evidence):
    e = evidence(network("resnet18"), seen, TARGETS, stages={"Mid2": stage})
    card = registry.card("method", "b-cos").model_copy(update={"resize": "nearest"})  # which keeps the sum
    maps = method_maps(card, e, {"layer": "Mid2"})
    logits = e.logits()[torch.arange(2), TARGETS] + np.log(4)
    torch.testing.assert_close(maps.sum((1, 2, 3)) / step**2, logits, rtol=1e-9, atol=0)


def test_network_is_as_before(network, seen, evidence):
    net = network("resnet18")
    detachable = [m for m in net.modules() if hasattr(m, "set_explanation_mode")]
    contributions(evidence(net, seen[:1], [0]))
    assert not any(m.is_in_explanation_mode for m in detachable)
    with pytest.raises(ZeroDivisionError), held(net):
        assert all(m.is_in_explanation_mode for m in detachable)
        raise ZeroDivisionError
    assert not any(m.is_in_explanation_mode for m in detachable)


def test_mistakes_are_named(small, pictures, classes, evidence, network, seen):
    with pytest.raises(XaibenchError, match="needs a B-cos network"):
        contributions(evidence(small, pictures, classes))
    with pytest.raises(XaibenchError, match="needs a B-cos network"):
        true_contributions(small, pictures, classes)
    with pytest.raises(XaibenchError, match="explains logits, not probabilities"):
        contributions(evidence(network("resnet18"), seen, TARGETS, output="probability"))


# The map to train by -------------------------------------------------------------------------------------------------


def detached(net: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """The map with a graph that the dynamic weights are not in: what `explanation_mode` alone gives."""
    at = inputs.clone().requires_grad_()
    with held(net):
        score = net(at).gather(1, targets[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, at, create_graph=True)
    return inputs * gradient


@pytest.mark.slow
@pytest.mark.parametrize(
    "builder", ["resnet18", pytest.param("densenet121", marks=pytest.mark.process), "simple_vit_s_patch16_224"]
)
def test_form_to_train_by_is_the_same_map(builder, network, seen, evidence):
    net = network(builder)
    ours = true_contributions(net, seen, TARGETS)
    assert ours.requires_grad
    torch.testing.assert_close(ours.detach(), contributions(evidence(net, seen, TARGETS)), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    "builder", ["tiny", *(pytest.param(n, marks=pytest.mark.slow) for n in ("resnet18", "simple_vit_s_patch16_224"))]
)
def test_gradient_of_the_map_by_finite_differences(builder, network, tiny, seen):
    """Along a random direction of each parameter; a step so short that few of the absolute values pass through 0."""
    random, step = torch.Generator().manual_seed(6), 1e-8
    net, inputs, targets = network(builder) if builder != "tiny" else tiny, seen, TARGETS
    if builder == "tiny":
        inputs = torch.rand(2, 4, 8, 8, generator=random, dtype=torch.float64)
        targets = torch.tensor([2, 0])
    weights = torch.randn(inputs.shape, generator=random, dtype=torch.float64)
    parameters = list(net.parameters())
    chosen = parameters if builder == "tiny" else [parameters[i] for i in (0, len(parameters) // 2, -1)]

    def gradients(form) -> list[Tensor]:
        found = torch.autograd.grad((form(net, inputs, targets) * weights).sum(), chosen, allow_unused=True)
        return [torch.zeros_like(p) if g is None else g for p, g in zip(chosen, found, strict=True)]

    true, wrong, misses = gradients(true_contributions), gradients(detached), 0
    for parameter, gradient, other in zip(chosen, true, wrong, strict=True):
        direction = torch.randn(parameter.shape, generator=random, dtype=torch.float64)
        values, before = [], parameter.detach().clone()
        for sign in (1, -1):
            parameter.data = before + sign * step * direction
            values.append(float((detached(net, inputs, targets).detach() * weights).sum()))
        parameter.data = before
        expected = (values[0] - values[1]) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-4, abs=1e-7)
        misses += abs(float((other * direction).sum()) - expected) > 0.02 * abs(expected)
    assert misses > len(chosen) / 2, "the wrong form would pass as well"


def test_training_mode_and_statistics_stay(tiny):
    tiny.train()
    tiny[2].eval()
    before = {name: tensor.clone() for name, tensor in tiny.state_dict().items()}
    x, targets = torch.rand(2, 4, 8, 8, dtype=torch.float64), torch.tensor([1, 1])
    ours = true_contributions(tiny, x, targets)
    assert tiny.training and tiny[1].training and not tiny[2].training
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny.state_dict().items())
    assert not any(tensor.requires_grad for tensor in tiny.buffers())
    torch.testing.assert_close(ours.detach(), detached(tiny.eval(), x, targets).detach(), rtol=1e-9, atol=1e-15)


def test_detach_means_what_it_did_afterwards(tiny):
    x = torch.rand(1, 4, 8, 8, dtype=torch.float64)
    true_contributions(tiny, x, torch.tensor([0]))
    parameter = next(tiny.parameters())
    assert not (parameter * 2).detach().requires_grad


def test_a_step_down_the_gradient_moves_the_map_off_a_region(tiny):
    x = torch.rand(2, 4, 8, 8, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    targets = torch.tensor([0, 1])

    def loss() -> Tensor:
        return true_contributions(tiny, x, targets)[..., :4].abs().sum()

    before = loss()
    steps = torch.autograd.grad(before, list(tiny.parameters()))
    for parameter, step in zip(tiny.parameters(), steps, strict=True):
        parameter.data -= 1e-3 * step
    assert loss() < before


# In a run ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.process
def test_methods_and_controls_run_on_six_channels(home, tmp_path, seen):
    from xaibench.datasets.critters import Critters
    from xaibench.models.bcos_nets import build
    from xaibench.models.state import save_state

    torch.manual_seed(9)
    net = settled(build(len(Critters("test", 1, 64).classes), "resnet18"), seen).float()
    save_state(net, tmp_path / "own.safetensors", {})
    names = "b-cos,ixg,ig,rise,grad-cam,random,edges,centre,constant,oracle"
    rows = xaibench.run(
        "sds", model="bcos_resnet18", dataset="mini", image_size=64, images=3, methods=names, out="r", quiet=True,
        weights=tmp_path / "own.safetensors",
    ).rows  # fmt: skip
    assert set(rows["method"]) == set(names.split(","))
    undefined = set(rows[rows["status"] != "ok"]["method"])
    assert undefined <= {"constant", "grad-cam"}, "a CAM's ReLU may leave nothing of a network that learnt nothing"


def test_edges_are_those_of_the_colours(seen, evidence, tiny):
    zero = torch.tensor([0.0, 0, 0, 1, 1, 1])
    six = controls.edges(evidence(tiny, seen, TARGETS, zero=zero))
    three = controls.edges(evidence(tiny, seen[:, :3], TARGETS))
    assert three.std() > 1e-3
    torch.testing.assert_close(six, three, rtol=0, atol=0)
    # grey and infrared, say, are two channels that are no complements
    two = seen[:, [0, 3]]
    assert controls.edges(evidence(tiny, two, TARGETS)).max() < 1e-12
