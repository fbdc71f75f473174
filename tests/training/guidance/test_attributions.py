"""Maps to train by: as in an explanation, their gradients by finite differences, nothing left behind in the network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from xaibench import registry
from xaibench.attribution.methods import method_maps
from xaibench.errors import XaibenchError
from xaibench.models.base import Encoding, Model
from xaibench.training.guidance.attributions import ATTRIBUTIONS, check_attribution, guided_maps
from xaibench.training.guidance.localisation import find_loss

SIZE = (12, 12)
TARGETS = torch.tensor([2, 0, 1])
STAGES = {"Mid1": "1", "Final": "4"}


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


IMAGES = drawn(0, 3, 4, *SIZE)


def as_model(net: nn.Module, stages: dict[str, str] = STAGES) -> Model:
    encoding = Encoding((0.5,) * 3, (0.5,) * 3)
    return Model("tiny", net.double(), encoding, cam_layer="", cam_grid=(0, 0), classes=3, stages=dict(stages))


def settled(net: nn.Module) -> nn.Module:
    """In double precision, with statistics of batches, and scales and biases that matter."""
    for number, module in enumerate(net.double().modules()):
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data = 0.5 + drawn(number, module.num_features).abs()
            if module.bias is not None:
                module.bias.data = 0.2 * drawn(number + 50, module.num_features)
    net.train()
    with torch.no_grad():
        for seed in range(3):
            net(drawn(seed + 90, 8, 4, *SIZE))
    return net


@pytest.fixture
def vanilla() -> Model:
    """With all that could mislead: BatchNorm, dropout, ReLUs in place right behind the stages; in training mode."""
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(4, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(inplace=True),
        nn.MaxPool2d(2), nn.Conv2d(5, 6, 3, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(6),
        nn.Dropout(0.5), nn.Conv2d(6, 6, 3), nn.Softplus(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip
    return as_model(settled(net))


@pytest.fixture
def bias_free() -> Model:
    torch.manual_seed(2)
    net = nn.Sequential(
        nn.Conv2d(4, 5, 3, padding=1, bias=False), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Identity(),
        nn.Conv2d(5, 6, 3, bias=False), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 3, bias=False),
    )  # fmt: skip
    return as_model(net)


@pytest.fixture
def bcos() -> Model:
    pytest.importorskip("bcos")
    from bcos.modules import BcosConv2d, LogitLayer, norms

    torch.manual_seed(3)
    norm = norms.NoBias(norms.BatchNormUncentered2d)
    net = nn.Sequential(
        BcosConv2d(4, 5, 3, padding=1), norm(5), nn.AvgPool2d(2),
        BcosConv2d(5, 6, 3, max_out=2), norm(6), BcosConv2d(6, 3, 2, b=1.5), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        LogitLayer(logit_bias=-0.7),
    )  # fmt: skip
    return as_model(settled(net))


@pytest.fixture
def network(request):
    return request.getfixturevalue


def explained(model: Model, evidence, method: str, stage: str) -> Tensor:
    """What the method of a run gives, (N, H, W)."""
    layer = {} if stage == "Input" else {"layer": stage}
    return method_maps(
        registry.card("method", method), evidence(model.net, IMAGES, TARGETS, stages=model.stages), layer
    )[:, 0]


CASES = [
    ("vanilla", "ixg", "Input"), ("vanilla", "ixg", "Mid1"), ("vanilla", "ixg", "Final"),
    ("vanilla", "grad-cam", "Mid1"), ("vanilla", "grad-cam", "Final"),
    ("bias_free", "intgrad", "Input"), ("bias_free", "intgrad", "Mid1"), ("bias_free", "intgrad", "Final"),
    ("bcos", "b-cos", "Input"), ("bcos", "b-cos", "Mid1"), ("bcos", "b-cos", "Final"),
    ("bcos", "ixg", "Final"), ("bcos", "grad-cam", "Final"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "attribution", "stage"), CASES)
def test_maps_are_those_of_an_explanation(name, attribution, stage, network, evidence):
    model = network(name)
    maps, logits = guided_maps(model, IMAGES, TARGETS, attribution, stage, SIZE)
    model.net.eval()
    expected = explained(model, evidence, "ixg" if attribution == "intgrad" else attribution, stage)
    assert maps.shape == (3, *SIZE) and maps.requires_grad and expected.abs().max() > 1e-4
    torch.testing.assert_close(maps.detach(), expected, rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(logits, model.net(IMAGES), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("name", "attribution", "stage"), CASES)
def test_gradients_by_finite_differences(name, attribution, stage, network, evidence):
    """Of a weighted sum of the map, along a random direction of each parameter, from maps of a run."""
    model, weights, step = network(name), drawn(7, 3, *SIZE), 1e-7
    method = "ixg" if attribution == "intgrad" else attribution
    parameters = dict(model.net.named_parameters())
    maps, _ = guided_maps(model, IMAGES, TARGETS, attribution, stage, SIZE)
    gradients = torch.autograd.grad((maps * weights).sum(), list(parameters.values()), allow_unused=True)
    model.net.eval()
    for number, ((path, parameter), gradient) in enumerate(zip(parameters.items(), gradients, strict=True)):
        direction, before = drawn(number + 20, *parameter.shape), parameter.detach().clone()
        values = []
        for sign in (1, -1):
            parameter.data = before + sign * step * direction
            values.append(float((explained(model, evidence, method, stage).detach() * weights).sum()))
        parameter.data = before
        expected = (values[0] - values[1]) / (2 * step)
        found = 0.0 if gradient is None else float((gradient * direction).sum())
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6), path


@pytest.mark.parametrize("stage", ["Input", "Mid1", "Final"])
@pytest.mark.parametrize("loss", registry.names("loss"))
def test_every_parameter_of_a_b_cos_network_gets_a_gradient(loss, stage, bcos):
    maps, _ = guided_maps(bcos, IMAGES, TARGETS, "b-cos", stage, SIZE)
    find_loss(loss)(maps, drawn(8, 3, *SIZE) > 0).sum().backward()
    for path, parameter in bcos.net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), path


@pytest.mark.parametrize(("name", "attribution"), [("vanilla", "ixg"), ("vanilla", "grad-cam"), ("bcos", "b-cos")])
def test_descent_raises_the_share_in_the_mask(name, attribution, network):
    model, mask = network(name), torch.zeros(3, *SIZE)
    mask[:, :, :6] = 1
    steps, shares = torch.optim.Adam(model.net.parameters(), 0.01), []
    for _ in range(15):
        maps, _ = guided_maps(model, IMAGES, TARGETS, attribution, "Final", SIZE)
        loss = find_loss("energy")(maps, mask).mean()
        steps.zero_grad()
        loss.backward()
        steps.step()
        shares.append(-loss.item())
    assert shares[-1] > shares[0] + 0.05


def test_integrated_gradients_of_a_network_without_bias(bias_free, evidence):
    maps, _ = guided_maps(bias_free, IMAGES, TARGETS, "intgrad", "Input", SIZE)
    torch.testing.assert_close(maps.detach(), explained(bias_free, evidence, "ig", "Input"), rtol=1e-9, atol=1e-12)


def test_deeper_maps_are_resized_bilinearly(vanilla):
    small, _ = guided_maps(vanilla, IMAGES, TARGETS, "grad-cam", "Final", (6, 6))
    maps, _ = guided_maps(vanilla, IMAGES, TARGETS, "grad-cam", "Final", SIZE)
    resized = nn.functional.interpolate(small[:, None], SIZE, mode="bilinear", align_corners=False)
    torch.testing.assert_close(maps, resized[:, 0])


# The network ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "attribution"), [("vanilla", "ixg"), ("bcos", "b-cos")])
@pytest.mark.parametrize("stage", ["Input", "Final"])
def test_network_is_as_before(name, attribution, stage, network):
    model = network(name)
    model.net[3].eval()
    modes = [module.training for module in model.net.modules()]
    before = {path: tensor.clone() for path, tensor in model.net.state_dict().items()}
    guided_maps(model, IMAGES, TARGETS, attribution, stage, SIZE)[0].sum().backward()
    assert [module.training for module in model.net.modules()] == modes and 0 < modes.count(False) < 3
    assert all(torch.equal(tensor, before[path]) for path, tensor in model.net.state_dict().items())
    assert not any(module._forward_hooks for module in model.net.modules())
    assert not any(getattr(module, "is_in_explanation_mode", False) for module in model.net.modules())
    assert all(buffer.grad_fn is None and not buffer.requires_grad for buffer in model.net.buffers())
    parameter = next(model.net.parameters())
    assert not IMAGES.requires_grad
    assert not (parameter * 2).detach().requires_grad


@pytest.mark.parametrize(("name", "attribution"), [("vanilla", "ixg"), ("vanilla", "grad-cam"), ("bcos", "b-cos")])
def test_an_image_does_not_depend_on_the_others(name, attribution, network):
    model = network(name)
    together, _ = guided_maps(model, IMAGES, TARGETS, attribution, "Final", SIZE)
    for i in range(3):
        alone, _ = guided_maps(model, IMAGES[i : i + 1], TARGETS[i : i + 1], attribution, "Final", SIZE)
        torch.testing.assert_close(alone[0], together[i], rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("stage", ["Input", "Final"])
@pytest.mark.parametrize("name", ["vanilla", "bcos"])
def test_training_passes_before_and_after_change_nothing(name, stage, network):
    """They move the running statistics in place, which the backward pass of the maps still needs."""
    model = network(name)
    attribution = "b-cos" if name == "bcos" else "ixg"

    def gradients(between) -> list[Tensor]:
        maps, _ = guided_maps(model, IMAGES, TARGETS, attribution, stage, SIZE)
        between()
        found = torch.autograd.grad(maps.square().sum(), list(model.net.parameters()), allow_unused=True)
        return [g for g in found if g is not None]

    alone, followed = gradients(lambda: None), gradients(lambda: model.net(IMAGES))
    assert all(torch.equal(a, b) for a, b in zip(alone, followed, strict=True)) and len(alone) > 3


@pytest.mark.parametrize("name", ["vanilla", "bcos"])
def test_logits_have_the_gradient_of_a_pass(name, network):
    """Also where the dynamic weights were held for the map."""
    model = network(name)
    _, logits = guided_maps(model, IMAGES, TARGETS, "b-cos" if name == "bcos" else "ixg", "Final", SIZE)
    parameters = list(model.net.parameters())
    found = torch.autograd.grad(logits.square().sum(), parameters)
    expected = torch.autograd.grad(model.net.eval()(IMAGES).square().sum(), parameters)
    for ours, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-9, atol=1e-12)


def test_what_comes_before_the_stage_may_be_frozen(vanilla):
    for module in vanilla.net[:5]:
        module.requires_grad_(False)
    maps, _ = guided_maps(vanilla, IMAGES, TARGETS, "ixg", "Final", SIZE)
    maps.square().sum().backward()
    assert vanilla.net[8].weight.grad.any() and vanilla.net[0].weight.grad is None


def test_the_first_backward_pass_stops_at_the_stage(vanilla):
    seen = {"Input": 0, "Final": 0}
    for stage in seen:
        handle = vanilla.net[0].register_full_backward_hook(lambda *a, stage=stage: seen.update({stage: 1}))
        guided_maps(vanilla, IMAGES, TARGETS, "ixg", stage, SIZE)
        handle.remove()
    assert seen == {"Input": 1, "Final": 0}


def test_tokens_are_a_map_and_attention_has_a_second_derivative(evidence):
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(4)
    net = VisionTransformer(12, 4, 4, num_classes=3, embed_dim=8, depth=2, num_heads=2, mlp_ratio=2)
    model = as_model(net.eval(), {"Mid1": "blocks.0"})
    for stage in ("Input", "Mid1"):
        maps, _ = guided_maps(model, IMAGES, TARGETS, "ixg", stage, SIZE)
        torch.testing.assert_close(maps.detach(), explained(model, evidence, "ixg", stage), rtol=1e-9, atol=1e-14)
        weights, parameter = drawn(7, 3, *SIZE), net.blocks[1].attn.qkv.weight
        (gradient,) = torch.autograd.grad((maps * weights).sum(), parameter)
        direction, before, values = drawn(9, *parameter.shape), parameter.detach().clone(), []
        for sign in (1, -1):
            parameter.data = before + sign * 1e-6 * direction
            values.append(float((explained(model, evidence, "ixg", stage).detach() * weights).sum()))
        parameter.data = before
        assert float((gradient * direction).sum()) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)


def test_low_precision_gives_maps_in_float32(vanilla):
    vanilla.net.float()
    exact, _ = guided_maps(vanilla, IMAGES.float(), TARGETS, "ixg", "Final", SIZE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps, _ = guided_maps(vanilla, IMAGES.float(), TARGETS, "ixg", "Final", SIZE)
    assert maps.dtype == torch.float32 and 0 < (maps - exact).abs().max() < 0.1 * exact.abs().max()
    find_loss("energy")(maps, drawn(8, 3, *SIZE) > 0).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in vanilla.net.parameters())


# Mistakes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attribution", "stage", "message"),
    [
        ("gradcam", "Final", "'gradcam' is no attribution to guide by; take one of ixg, grad-cam, b-cos, intgrad"),
        ("ixg", "final", r"no stage 'final'; did you mean Final\? it has Input, Mid1, Final"),
        ("ixg", "input", r"did you mean Input\?"),
        ("ixg", "Mid7", "no stage 'Mid7'; it has Input"),
        ("grad-cam", "Input", "name one by --layer"),
        ("b-cos", "Final", "needs a B-cos network"),
        ("intgrad", "Input", "network without bias and normalisation, such as x_resnet50; model tiny has 0.bias"),
    ],
)
def test_mistakes_are_named(attribution, stage, message, vanilla):
    for check in (check_attribution, lambda *a: guided_maps(a[0], IMAGES, TARGETS, *a[1:], SIZE)):
        with pytest.raises(XaibenchError, match=message) as raised:
            check(vanilla, attribution, stage)
        assert "\n" not in str(raised.value)
    assert vanilla.net.training


def test_a_network_that_is_not_homogeneous_has_no_intgrad(bias_free):
    for attribution in ATTRIBUTIONS[::3]:
        guided_maps(bias_free, IMAGES, TARGETS, attribution, "Input", SIZE)
    bias_free.net[1] = nn.Softplus()
    check_attribution(bias_free, "intgrad", "Input")
    with pytest.raises(XaibenchError, match=r"f\(2 x\) = 2 f\(x\).*tiny is not"):
        guided_maps(bias_free, IMAGES, TARGETS, "intgrad", "Input", SIZE)


def test_a_layer_without_a_map_is_refused(vanilla):
    vanilla.stages["Final"] = "11"
    with pytest.raises(XaibenchError, match="layer 11 must run once in a pass and give a map"):
        guided_maps(vanilla, IMAGES, TARGETS, "ixg", "Final", SIZE)
    assert not vanilla.net[11]._forward_hooks
