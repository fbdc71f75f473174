"""How what a layer gives is a map: channels last, tokens, and what is none, against pytorch-grad-cam's
`reshape_transform` with the layout that the network was written with."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import xaibench
from xaibench.errors import XaibenchError
from xaibench.models.layouts import AxisOrder, MapFinder
from xaibench.models.probe import default_cam_layer, map_size

SIZE, TARGETS = (16, 24), torch.tensor([3, 0])
METHODS = ["grad-cam", "layer-cam", "xgrad-cam", "hires-cam", "eigen-grad-cam"]


class Block(nn.Module):
    """Norm and linear layers on the last axis, beside a skip connection."""

    def __init__(self, width: int):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


class Last(nn.Module):
    """Channels last behind the stem, in the order (N, h, w, K), or (N, w, h, K); may refuse images of another size."""

    def __init__(self, width: int = 10, order: str = "hwk", fixed: bool = False, stride: tuple[int, int] = (4, 4)):
        super().__init__()
        self.order, self.fixed = order, fixed
        self.stem = nn.Conv2d(3, width, (5, 7), stride, (2, 3))
        self.blocks, self.norm = nn.Sequential(Block(width), Block(width)), nn.LayerNorm(width)
        self.pool, self.head = nn.Identity(), nn.Sequential(nn.Linear(width, 12), nn.Softplus(), nn.Linear(12, 5))

    def forward(self, x: Tensor) -> Tensor:
        if self.fixed and tuple(x.shape[2:]) != SIZE:
            raise ValueError(f"takes images of {SIZE}")
        x = self.stem(x).permute(0, *((2, 3) if self.order == "hwk" else (3, 2)), 1)
        return self.head(self.pool(self.norm(self.blocks(x)).mean((1, 2), keepdim=True)).flatten(1))


class Mixer(nn.Module):
    """Tokens that are mixed by a linear layer over them, without attention; columns first with `turned`."""

    def __init__(self, width: int = 10, turned: bool = False, shuffled: bool = False):
        super().__init__()
        self.turned, self.shuffled = turned, shuffled
        self.stem, self.mix = nn.Conv2d(3, width, 4, 4), nn.Linear(24, 24)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = (x.mT if self.turned else x).flatten(2).mT
        if self.shuffled:
            x = x[:, torch.randperm(24, generator=torch.Generator().manual_seed(1))]
        x = x + 0.3 * self.mix(x.mT).mT
        return self.head(self.norm(x).square().mean(1))


def drawn(net: nn.Module) -> nn.Module:
    random = torch.Generator().manual_seed(2)
    for parameter in net.parameters():
        parameter.data = parameter.data + 0.2 * torch.randn(parameter.shape, generator=random)
    return net.double().eval().requires_grad_(False)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(4)).double()


def close(ours: Tensor, expected: Tensor) -> bool:
    return float(expected.amax()) > 0 and torch.allclose(ours, expected, rtol=1e-6, atol=1e-7 * float(expected.amax()))


NETS = {
    "channels last": {},
    "as many channels as rows": {"width": 4},
    "as many channels as columns": {"width": 6},
    "one size only": {"fixed": True},
    "one size, as many channels as columns": {"fixed": True, "width": 6},
    "rows shrink more": {"stride": (8, 4), "width": 6},
    "columns first": {"order": "whk"},
    "columns first, one size": {"order": "whk", "fixed": True, "width": 4},
}


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("layer", [None, "blocks.0", "blocks.1.norm", "blocks.1.up"])
def test_channels_that_are_last_are_found(kind, layer, images, peer_cam):
    net = drawn(Last(**NETS[kind]))
    turned = NETS[kind].get("order") == "whk"
    assert default_cam_layer(net, images[:1]) == "norm"
    expected = peer_cam(
        net, layer or "norm", images, TARGETS, lambda x: x.permute(0, 3, *((2, 1) if turned else (1, 2)))
    )
    assert close(xaibench.attribute(net, images, TARGETS, "grad-cam", cam_layer=layer), expected)
    assert map_size(net, layer or "norm", images) == ((2 if "stride" in NETS[kind] else 4), 6)


@pytest.mark.parametrize("kind", ["channels last", "one size, as many channels as columns"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_sees_the_map(kind, method, images):
    """The same network with its norm's output as (N, K, h, w) in a layer of its own."""

    class First(Last):
        def __init__(self, **changes):
            super().__init__(**changes)
            self.map = nn.Identity()

        def forward(self, x):
            x = self.norm(self.blocks(self.stem(x).permute(0, 2, 3, 1)))
            return self.head(self.map(x.permute(0, 3, 1, 2)).mean((2, 3)))

    net, other = drawn(Last(**NETS[kind])), drawn(First(**NETS[kind] | {"fixed": False}))
    other.load_state_dict(net.state_dict())
    ours = xaibench.attribute(net, images, TARGETS, method, cam_layer="norm")
    assert close(ours, xaibench.attribute(other, images, TARGETS, method, cam_layer="map"))


@pytest.mark.parametrize("method", ["ixg", "saliency", "ig"])
def test_methods_at_a_layer_with_channels_last(method, images):
    net = drawn(Last())
    behind = nn.Sequential(net.blocks[1], net.norm)

    class Behind(nn.Module):
        def forward(self, x):
            return net.head(behind(x.permute(0, 2, 3, 1)).mean((1, 2)))

    steps = {"steps": 5} if method == "ig" else {}
    maps = net.blocks[0](net.stem(images).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    expected = xaibench.attribute(Behind().eval(), maps, TARGETS, method, **steps)
    expected = nn.functional.interpolate(expected, SIZE, mode="bilinear", align_corners=False)
    ours = xaibench.attribute(net, images, TARGETS, method, layer="blocks.0", **steps)
    assert method == "saliency" or close(ours.abs(), expected.abs())
    assert method != "saliency" or torch.corrcoef(torch.stack([ours.flatten(), expected.flatten()]))[0, 1] > 0.9


@pytest.mark.parametrize("layer", [None, "norm"])
def test_tokens_without_attention_are_a_grid_of_patches(layer, images, peer_cam):
    net = drawn(Mixer())
    expected = peer_cam(net, "norm", images, TARGETS, lambda x: x.mT.unflatten(2, (4, 6)))
    assert close(xaibench.attribute(net, images, TARGETS, "grad-cam", cam_layer=layer), expected)


@pytest.mark.parametrize("changes", [{"turned": True}, {"shuffled": True}])
def test_tokens_in_another_order_are_refused_and_never_the_stem_instead(changes, images):
    net = drawn(Mixer(**changes))
    with pytest.raises(XaibenchError, match=r"gives shape \(2, 24, 10\) for 2 inputs, in which no map") as caught:
        xaibench.attribute(net, images, TARGETS, "grad-cam", cam_layer="norm")
    assert "\n" not in str(caught.value)


class Classed(nn.Module):
    """Tokens of patches and one that is their mean, first or last; or (T, N, K), those of all images in one axis."""

    def __init__(self, order: str):
        super().__init__()
        self.order = order
        self.stem, self.norm, self.head = nn.Conv2d(3, 10, 2, 2), nn.LayerNorm(10), nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).mT
        parts = [x.mean(1, keepdim=True), x]
        x = torch.cat(parts if self.order == "first" else parts[::-1], 1)
        x = self.norm(x.transpose(0, 1) if self.order == "sequence" else x).square()
        return self.head(x.mean(0 if self.order == "sequence" else 1))


def test_a_class_token_that_is_first_is_left_out(images, peer_cam):
    net = drawn(Classed("first"))
    expected = peer_cam(net, "norm", images, TARGETS, lambda x: x[:, 1:].mT.unflatten(2, (8, 12)))
    assert close(xaibench.attribute(net, images, TARGETS, "grad-cam"), expected)


@pytest.mark.parametrize("order", ["last", "sequence"])
def test_tokens_of_another_arrangement_are_refused_and_never_shifted(order, images):
    net = drawn(Classed(order))
    assert default_cam_layer(net, images[:1]) == ""
    with pytest.raises(XaibenchError, match="in which no map of channels, rows and columns can be found"):
        xaibench.attribute(net, images, TARGETS, "grad-cam", cam_layer="norm")


class Heads(nn.Module):
    """A layer that gives (N, heads, T, T), and one that gives windows as if they were images."""

    def __init__(self):
        super().__init__()
        self.stem, self.scores, self.windows, self.head = (
            nn.Conv2d(3, 8, 4, 4),
            nn.Identity(),
            nn.Identity(),
            nn.Linear(8, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        tokens = x.flatten(2).mT.unflatten(2, (2, 4)).transpose(1, 2)
        mixed = self.scores((tokens @ tokens.mT).softmax(-1)) @ tokens
        x = x + mixed.transpose(1, 2).flatten(2).mT.unflatten(2, x.shape[2:])
        parts = self.windows(x.unflatten(2, (2, -1)).permute(0, 2, 1, 3, 4).flatten(0, 1))
        return self.head(parts.unflatten(0, (-1, 2)).mean((1, 3, 4)))


@pytest.mark.parametrize("layer", ["scores", "windows"])
def test_outputs_with_four_axes_that_are_no_maps_are_refused(layer, images):
    net = drawn(Heads())
    with pytest.raises(XaibenchError, match="no map of channels, rows and columns can be found"):
        xaibench.attribute(net, images, TARGETS, "grad-cam", cam_layer=layer)
    with pytest.raises(XaibenchError, match="no map of channels, rows and columns can be found"):
        xaibench.attribute(net, images, TARGETS, "hires-cam", cam_layer=layer)


def test_a_probe_leaves_modes_and_generators_alone(images):
    net = drawn(Last())
    net.blocks[0].train()
    state = torch.get_rng_state()
    assert MapFinder(net, images).layout_at("norm") == AxisOrder((3, 1, 2))
    assert net.blocks[0].training and not net.blocks[1].training and torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks for module in net.modules())


# Vision transformers of torchvision and transformers -----------------------------------------------------------------


@pytest.fixture
def torchvision_vit() -> nn.Module:
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    return drawn(VisionTransformer(32, 8, 3, 2, 12, 24, num_classes=5))


def test_torchvisions_transformer_has_tokens(torchvision_vit, peer_cam):
    images, layer = torch.randn(2, 3, 32, 32).double(), "encoder.layers.encoder_layer_2.ln_1"
    assert default_cam_layer(torchvision_vit, images) == layer and map_size(torchvision_vit, layer, images) == (4, 4)
    expected = peer_cam(torchvision_vit, layer, images, TARGETS, lambda x: x[:, 1:].mT.unflatten(2, (4, 4)))
    assert close(xaibench.attribute(torchvision_vit, images, TARGETS, "grad-cam"), expected)


def test_a_head_of_zeros_gives_maps_of_zeros(torchvision_vit):
    """torchvision's heads begin with zeros: the network is constant, and nothing is wrong with its slopes."""
    for parameter in torchvision_vit.heads.parameters():
        parameter.data.zero_()
    images = torch.randn(5, 3, 32, 32).double()
    for layer in (None, "encoder.layers.encoder_layer_1"):
        for method in ("grad-cam", "hires-cam", "ixg"):
            place = {"layer": layer} if method == "ixg" else {"cam_layer": layer}
            assert not xaibench.attribute(torchvision_vit, images, torch.tensor([0, 1, 2, 3, 4]), method, **place).any()


def test_what_has_no_rules_for_torchvisions_transformer_says_so(torchvision_vit):
    with pytest.raises(XaibenchError, match="not for torchvision's") as caught:
        xaibench.attribute(torchvision_vit, torch.randn(2, 3, 32, 32).double(), TARGETS, "chefer-lrp")
    assert "CNN" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["ViT", "DeiT", "Dinov2"])
def test_transformers_of_the_package_transformers(name, peer_cam):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(
        image_size=32, patch_size=8, hidden_size=12, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24,
        num_labels=5,
    )  # fmt: skip
    net = drawn(getattr(transformers, f"{name}ForImageClassification")(config))

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x).logits

    images, prefix = torch.randn(2, 3, 32, 32).double(), 2 if name == "DeiT" else 1
    layer = default_cam_layer(net, images, lambda raw: raw.logits)
    assert "norm" in layer and ("2" in layer.split(".") or name == "Dinov2")
    expected = peer_cam(Logits(), f"net.{layer}", images, TARGETS, lambda x: x[:, prefix:].mT.unflatten(2, (4, 4)))
    ours = xaibench.attribute(net, images, TARGETS, "grad-cam", output=lambda raw: raw.logits)
    assert close(ours, expected)
    with pytest.raises(XaibenchError, match="needs a vision transformer with the parts of timm's"):
        xaibench.attribute(net, images, TARGETS, "rollout", output=lambda raw: raw.logits)


def test_a_network_with_other_attention_is_named_by_its_kind():
    from torchvision.models.swin_transformer import SwinTransformer

    torch.manual_seed(0)
    net = SwinTransformer([4, 4], 12, [2, 2], [2, 2], [4, 4], num_classes=5).eval()
    with pytest.raises(XaibenchError, match=r"this model is SwinTransformer, whose attention \(.*\) is not that of"):
        xaibench.attribute(net, torch.randn(2, 3, 32, 32), TARGETS, "rollout")


def test_torchvisions_swin_has_channels_last(peer_cam):
    from torchvision.models.swin_transformer import SwinTransformer

    torch.manual_seed(0)
    net = drawn(SwinTransformer([4, 4], 12, [2, 2], [2, 2], [4, 4], num_classes=5))
    images = torch.randn(2, 3, *SIZE).double()
    for layer in ("norm", "features.1", "features.3.1.norm2"):
        expected = peer_cam(net, layer, images, TARGETS, lambda x: x.permute(0, 3, 1, 2))
        assert close(xaibench.attribute(net, images, TARGETS, "grad-cam", cam_layer=layer), expected)


class Branched(nn.Module):
    """Convolutional blocks for images of one size, whose branches begin as zero and so tell nothing of places."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 10, 4, 4), nn.Linear(10, 5)
        self.blocks = nn.Sequential(*(self.Block() for _ in range(2)))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.branch = nn.Sequential(nn.Conv2d(10, 10, 1), nn.BatchNorm2d(10))
            nn.init.zeros_(self.branch[1].weight)

        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3), keepdim=True) + self.branch(x)

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[2:]) != SIZE:
            raise ValueError(f"takes images of {SIZE}")
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def test_the_last_map_is_that_of_the_block_and_not_of_its_branch(images):
    assert default_cam_layer(Branched().double().eval(), images[:1]) == "blocks"


def passes(net: nn.Module, call) -> list[tuple[int, ...]]:
    """The shapes of the inputs of each pass during a call."""
    shapes = []
    handle = net.register_forward_pre_hook(lambda module, args: shapes.append(tuple(args[0].shape)))
    call()
    handle.remove()
    return shapes


def test_finding_a_map_costs_few_passes():
    convolutional = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.ReLU()), Pooled(4)).eval()
    image = torch.randn(1, 3, 64, 96)
    assert passes(convolutional, lambda: default_cam_layer(convolutional, image)) == [(1, 3, 64, 96)]
    blocks = nn.Sequential(nn.Conv2d(3, 10, 8, 8), Branched.Block(), Pooled(10)).eval()
    assert passes(blocks, lambda: default_cam_layer(blocks, image)) == [(1, 3, 64, 96), (1, 3, 32, 24)]
    deep = drawn(Last(fixed=True)).float()
    deep.blocks = nn.Sequential(*(Block(10) for _ in range(20)))
    finder = MapFinder(deep, torch.zeros(1, 3, *SIZE))
    asked = passes(deep, lambda: [finder.layout_at(f"blocks.{k}") for k in range(19, -1, -1)])
    assert asked.count((4, 3, *SIZE)) == 3  # nine changed parts of the image, three in a pass, once for all modules


def test_a_gradient_method_costs_no_pass_to_see_its_classes(images):
    net = drawn(Last())
    xaibench.attribute(net, images, TARGETS, "saliency")  # warns once
    assert passes(net, lambda: xaibench.attribute(net, images, TARGETS, "saliency")) == [tuple(images.shape)]


class Pooled(nn.Module):
    """The mean over positions, and a head."""

    def __init__(self, width: int):
        super().__init__()
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.mean((2, 3)))
