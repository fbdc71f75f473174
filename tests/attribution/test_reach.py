"""Networks part of which runs without autograd: what is defined there, and what is refused instead of zeros."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import xaibench
from xaibench.attribution.methods import choose_methods
from xaibench.attribution.trial import trial_of
from xaibench.errors import XaibenchError
from xaibench.evaluation.objects import named
from xaibench.models.base import Encoding, Model

TARGETS = torch.tensor([1, 4])
CAMS = ["grad-cam", "grad-cam++", "layer-cam", "xgrad-cam", "hires-cam", "eigen-grad-cam", "sg-cam++"]
AT_INPUT = [
    "ixg",
    "saliency",
    "ig",
    "ig-sg",
    "gradient-shap",
    "guided-backprop",
    "deconvolution",
    "deeplift",
    "full-grad",
]


class Net(nn.Module):
    """A stem, a body whose output is the CAM layer's, and a head; `way` says how the stem, or more, is passed."""

    def __init__(self, way: str = "whole"):
        super().__init__()
        self.way = way
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(6, 8, 3, 1, 1), nn.ReLU())
        self.head = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(getattr(self, self.way)(x))

    def whole(self, x: Tensor) -> Tensor:
        return self.body(self.stem(x))

    def stem_without(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.stem(x)
        return self.body(x)

    def body_without(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.body(self.stem(x))

    def body_inference(self, x: Tensor) -> Tensor:
        with torch.inference_mode():
            x = self.body(self.stem(x))
        return x.clone()

    def stem_detached(self, x: Tensor) -> Tensor:
        return self.body(self.stem(x).detach())

    def stem_numpy(self, x: Tensor) -> Tensor:
        return self.body(torch.from_numpy(self.stem(x).detach().numpy()))

    def stem_rounded(self, x: Tensor) -> Tensor:
        return self.body((self.stem(x) * 4096).round() / 4096)

    def behind_detached(self, x: Tensor) -> Tensor:
        return self.body(self.stem(x)).detach()

    def behind_rounded(self, x: Tensor) -> Tensor:
        return (self.body(self.stem(x)) * 64).round() / 64


BEFORE = ["stem_without", "body_without", "body_inference", "stem_detached", "stem_numpy", "stem_rounded"]
BEHIND = ["behind_detached", "behind_rounded"]


def network(way: str) -> Net:
    torch.manual_seed(0)
    net = Net(way).eval().requires_grad_(False)
    net.head[-1].weight *= 20
    return net


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("method", CAMS)
@pytest.mark.parametrize("way", BEFORE)
def test_maps_of_a_layer_behind_it_are_those_of_the_same_network_with_autograd(way, method, images):
    net = network(way)
    ours = xaibench.attribute(net, images, TARGETS, method, cam_layer="body")
    expected = xaibench.attribute(network("whole"), images, TARGETS, method, cam_layer="body")
    size = float(expected.abs().max())
    assert size > 0 and torch.allclose(ours, expected, atol=(0.02 if "rounded" in way else 1e-5) * size)
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_a_frozen_stem_is_no_obstacle(images):
    net = network("whole")
    net.head.requires_grad_(True)
    expected = xaibench.attribute(network("whole"), images, TARGETS, "grad-cam", cam_layer="body")
    assert torch.equal(xaibench.attribute(net, images, TARGETS, "grad-cam", cam_layer="body"), expected)
    assert xaibench.attribute(net, images, TARGETS, "ixg").any()


@pytest.mark.parametrize("method", ["ixg", "ig"])
def test_methods_at_a_layer_behind_it(method, images):
    steps = {"steps": 4} if method == "ig" else {}
    expected = xaibench.attribute(network("whole"), images, TARGETS, method, layer="body", **steps)
    for way in ("stem_without", "body_without", "stem_detached"):
        ours = xaibench.attribute(network(way), images, TARGETS, method, layer="body", **steps)
        assert torch.allclose(ours, expected, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("method", AT_INPUT)
@pytest.mark.parametrize("way", [*BEFORE, *BEHIND])
def test_gradients_of_the_input_are_refused_and_never_zeros(way, method, images):
    # deeplift's own check comes first where gradients are zero
    wanted = "the input has no gradient: |add up" if method == "deeplift" else "the input has no gradient: "
    with pytest.raises(XaibenchError, match=wanted) as caught:
        xaibench.attribute(network(way), images, TARGETS, method)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", CAMS)
@pytest.mark.parametrize("way", BEHIND)
def test_maps_of_a_layer_before_it_are_refused_and_never_zeros(way, method, images):
    with pytest.raises(XaibenchError, match="has no gradient: ") as caught:
        xaibench.attribute(network(way), images, TARGETS, method, cam_layer="body")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["rise", "occlusion", "eigen-cam", "score-cam"])
@pytest.mark.parametrize("way", ["stem_without", "stem_numpy", "behind_rounded"])
def test_methods_without_gradients_are_as_ever(way, method, images):
    few = {"masks": 8} if method == "rise" else {}
    assert xaibench.attribute(network(way), images, TARGETS, method, **few).std() > 0


def test_zeros_where_the_network_has_a_slope_elsewhere_stay_zeros(images):
    """The head's ReLU is dead for these images, but not for others."""
    net = network("whole")
    net.stem[0].bias -= 1e3
    assert not xaibench.attribute(net, images, TARGETS, "ixg").any()


class Twice(Net):
    def whole(self, x: Tensor) -> Tensor:
        return self.relu(self.body(self.relu(self.stem(x))))

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()


class Both(nn.Module):
    """Gives a tuple."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.body(x), x


class Tupled(Net):
    def __init__(self):
        super().__init__()
        self.both = Both()

    def whole(self, x: Tensor) -> Tensor:
        return self.both(x)[0]


@pytest.mark.parametrize("method", ["grad-cam", "hires-cam"])
@pytest.mark.parametrize(("kind", "layer"), [(Twice, "relu"), (Tupled, "both")])
def test_layers_that_run_twice_or_give_a_tuple_are_refused_in_one_line(kind, layer, method, images):
    with pytest.raises(XaibenchError, match="the CAM layer must run once in a pass and give a map") as caught:
        xaibench.attribute(kind().eval(), images, TARGETS, method, cam_layer=layer)
    assert "\n" not in str(caught.value)


class Photos:
    """Four images of noise in five classes."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: int):
        noise = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(number))
        return noise, number


def test_a_default_list_leaves_out_what_has_no_gradient_with_the_reason():
    def choice(way: str, layer: str | None = None):
        encoding = Encoding((0.0,) * 3, (1.0,) * 3)
        model = Model(way, network(way), encoding, "body", (8, 8), 5, stages={"Final": "body"})
        chosen, left_out = choose_methods(None, way, "cnn", True, trial_of(model, 16, layer=layer), layer)
        return {card.name for card in chosen}, left_out

    cams, slopes = {"grad-cam", "grad-cam++", "layer-cam"}, {"ixg", "ig", "saliency", "ig-sg"}
    chosen, left_out = choice("stem_without")
    assert cams | {"rise", "random"} <= chosen and slopes <= set(left_out)
    reason = left_out["ixg"]
    assert reason.startswith("cannot explain this network: the input has no gradient: ") and "\n" not in reason
    chosen, left_out = choice("behind_rounded")
    assert {"rise", "random"} <= chosen and cams | slopes <= set(left_out)
    assert "the CAM layer has no gradient" in left_out["grad-cam"]
    chosen, left_out = choice("stem_without", "Final")
    assert cams | {"ixg", "ig", "saliency"} <= chosen
    chosen, _ = choice("whole")
    assert cams | slopes <= chosen


@pytest.mark.process
def test_a_run_takes_maps_of_the_layer_and_refuses_what_has_no_gradient_by_its_name(tmp_path):
    def run(way: str, methods=None):
        return xaibench.run(
            "sds", model=named(network(way), "mine"), dataset=named(Photos(), "noise"), methods=methods,
            classes=list("abcde"), out=tmp_path / way, quiet=True,
        )  # fmt: skip

    results = run("stem_without", ["grad-cam", "layer-cam"])
    assert set(results.leaderboard().table["method"]) == {"grad-cam", "layer-cam"}
    with pytest.raises(XaibenchError, match="method ixg cannot explain this network: the input has no gradient: "):
        run("stem_without", ["grad-cam", "ixg"])
