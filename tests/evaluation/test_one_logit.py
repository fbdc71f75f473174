"""A network with one output z, against the equivalent networks with two: logits (-z, z) and a sigmoid, or (-z, z) / 2
and a softmax, which have the same probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from torch import nn

import xaibench
from xaibench import registry
from xaibench.attribution.methods import incompatibility
from xaibench.errors import XaibenchError
from xaibench.models.state import save_state


class Sides(nn.Module):
    """Logits (-z, z) * factor of a network with one output."""

    def __init__(self, net: nn.Module, factor: float = 1.0):
        super().__init__()
        self.net, self.factor = net, factor

    def forward(self, x):
        z = self.net(x) * self.factor
        return torch.cat([-z, z], 1)


class Squeezed(nn.Module):
    """One output as (N,), and as a number for one image."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x).squeeze()


def one_output(gain: float = 40.0) -> nn.Sequential:
    """A network whose logit has both signs on the images, and probabilities far from one half."""
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1),
    ).eval()  # fmt: skip
    with torch.no_grad():
        net[-1].weight *= gain
        net[-1].bias -= net(images()).mean()
    return net


def images() -> torch.Tensor:
    return torch.stack([image for image, _ in photos()])


def photos() -> list[tuple[torch.Tensor, int]]:
    dice = torch.Generator().manual_seed(0)
    drawn = [torch.rand(3, 32, 32, generator=dice) * (0.3 + 0.1 * number) for number in range(8)]
    return [((image * 255).round() / 255, number % 2) for number, image in enumerate(drawn)]


def scores(protocol, net, methods=("ixg", "grad-cam", "occlusion", "random"), **changes):
    """The rows of a run by image, method and metric; and the run."""
    results = xaibench.run(
        protocol,
        model=net,
        weights="plain",
        dataset=photos(),
        methods=list(methods),
        out=f"{type(net).__name__}",
        quiet=True,
        **changes,
    )
    rows = results.rows.set_index(["image_id", "method", "metric"]).sort_index()
    return rows, results


def methods_for(family):
    cards = [registry.card("method", name).for_family(family) for name in registry.names("method")]
    return [card.name for card in cards if card.role != "oracle" and not incompatibility(card, family, True)]


LOGITS, PROBABILITIES = 1.0, 0.5
"""Factors of (-z, z): logits are those of the network with one output; or softmax gives its probabilities."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "settings", "factor"),
    [
        ("sds", {}, LOGITS), ("sds", {"drop_output": "probability"}, PROBABILITIES), ("insertion", {}, PROBABILITIES),
        ("deletion", {}, PROBABILITIES), ("deletion", {"output": "logit"}, LOGITS), ("ids", {}, PROBABILITIES),
        ("sensitivity-n", {}, LOGITS), ("ses", {}, LOGITS), ("infidelity", {}, LOGITS), ("srg", {}, PROBABILITIES),
        pytest.param("road", {}, PROBABILITIES, marks=pytest.mark.slow),
        pytest.param("max-sensitivity", {}, LOGITS, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_runs_equal_those_of_two_logits(home, protocol, settings, factor):
    found, results = scores(protocol, one_output(), settings=settings)
    same = Sides(one_output(), factor)
    wanted, other = scores(protocol, same, settings=settings)
    assert results.manifest.accuracy == other.manifest.accuracy
    assert 0 < results.manifest.accuracy["correct"] < results.manifest.accuracy["images"] == 8
    assert found["prediction"].tolist() == wanted["prediction"].tolist() and set(found["prediction"]) == {0, 1}
    assert found["status"].tolist() == wanted["status"].tolist() and (found["status"] == "ok").any()
    np.testing.assert_allclose(found["score"].astype(float), wanted["score"].astype(float), rtol=0, atol=2e-6)


def test_predicted_classes_are_those_above_one_half(home):
    found, _ = scores("ses", one_output(), settings={"target": "predictions"})
    z = one_output()(images())[:, 0]
    by_image = found.reset_index().groupby("image_id")["target"].unique()
    assert [classes.tolist() for classes in by_image] == [[int(value > 0)] for value in z]


def test_probability_protocols_are_not_constant(home):
    found, _ = scores("deletion", one_output())
    assert found.xs("deletion", level="metric")["score"].std() > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("output", ["logit", "probability"])
def test_maps_of_every_method_equal_those_of_two_logits(output):
    net, targets = one_output(), torch.tensor([0, 1, 1])
    e_inputs = images()[:3]
    for name in methods_for("cnn"):
        params = {k: v for k, v in {"steps": 3, "masks": 6, "samples": 3, "n_steps": 3, "n_samples": 4}.items()
                  if k in registry.card("method", name).for_family("cnn").parameters}  # fmt: skip
        given = [
            explained(model, e_inputs, targets, name, output, params) for model in (net, Squeezed(net), Sides(net))
        ]
        if isinstance(given[2], str):
            assert isinstance(given[0], str), name
            continue
        for maps in given[:2]:
            scale = given[2].abs().max()
            torch.testing.assert_close(maps, given[2], rtol=0, atol=1e-5 * float(scale) + 1e-12, msg=name)


def explained(net, inputs, targets, name, output, params):
    """Maps of a method, whose probabilities are sigmoids; or why there are none."""
    from xaibench.attribution.evidence import Evidence
    from xaibench.attribution.methods import method_maps
    from xaibench.attribution.runner import ModelRunner
    from xaibench.models.base import ModelView
    from xaibench.models.probe import default_cam_layer

    inner = net if isinstance(net, nn.Sequential) else net.net
    layer = inner.get_submodule(default_cam_layer(inner, inputs[:1]))
    view = ModelView(cam_layer=layer, probability="sigmoid" if isinstance(net, Sides) else "softmax")
    card = registry.card("method", name).for_family("cnn")
    with ModelRunner(net.eval()) as runner:
        e = Evidence(runner, inputs, targets, ["a", "b", "c"], view=view).explaining(targets, output=output)
        try:
            return method_maps(card, e, card.parameters | params)
        except XaibenchError as error:
            return str(error)


def test_what_is_explained_for_class_0_is_the_negated_logit():
    net, inputs = one_output().double(), images()[:2].double()
    captum = IntegratedGradients(net)
    wanted = captum.attribute(inputs, target=0, n_steps=20, method="gausslegendre").sum(1, keepdim=True)
    for target, sign in ((1, 1), (0, -1)):
        maps = xaibench.attribute(net, inputs, torch.full((2,), target), "ig", steps=20)
        torch.testing.assert_close(maps, sign * wanted, rtol=0, atol=1e-6 * float(wanted.abs().max()))


def test_score_takes_sigmoids():
    net, inputs, targets = one_output(), images(), torch.tensor([0, 1] * 4)
    maps = xaibench.attribute(net, inputs, targets, "ixg")
    for protocol in ("insertion", "road", "ids", "f-fidelity"):
        wanted = xaibench.score(protocol, Sides(net, 0.5).eval(), inputs, targets, maps)
        torch.testing.assert_close(xaibench.score(protocol, net, inputs, targets, maps), wanted, rtol=0, atol=1e-6)
        assert wanted.std() > 1e-3


def test_a_target_beyond_two_classes_is_none():
    with pytest.raises(XaibenchError, match="target 2 is no class of 2"):
        xaibench.attribute(one_output(), images()[:1], torch.tensor([2]), "ixg")


def test_keys_of_one_output_moved_and_those_of_two_did_not(home):
    (cell,) = scores("sds", one_output(), ["ixg"])[1].cells
    context = cell_of("Sequential", cell)
    assert context["model"]["outputs"] == "one logit"
    (cell,) = scores("sds", Sides(one_output()), ["ixg"])[1].cells
    assert "outputs" not in cell_of("Sides", cell)["model"]


def cell_of(out, key):
    from xaibench.results.store import Store

    return Store.open(out).cell(key).context


def test_other_numbers_of_classes_are_refused(home):
    three = [(image, number % 3) for number, (image, _) in enumerate(photos())]
    with pytest.raises(XaibenchError, match="are for 2 classes, list has 3"):
        xaibench.run("sds", model=one_output(), dataset=three, classes=["a", "b", "c"], methods="ixg", quiet=True)
    one = [(image, 0) for image, _ in photos()]
    with pytest.raises(XaibenchError, match="are for 2 classes, list has 1"):
        xaibench.run("sds", model=one_output(), dataset=one, classes=["cat"], methods="ixg", quiet=True)


@pytest.fixture
def binary(home, tmp_path):
    """A tiny network with one output, and its weights in a file."""
    from xaibench_test_network import build

    torch.manual_seed(0)
    net = build(1).eval()
    save_state(net, tmp_path / "one.safetensors", {})
    return net, tmp_path / "one.safetensors"


def test_weights_of_one_logit_fit_a_network_of_two_classes(binary, photos):
    net, path = binary
    both = {"model": "tiny", "weights": str(path), "dataset": "imagefolder", "data_root": photos}
    results = xaibench.run("deletion", **both, methods="ixg,random", images=2, out="one", quiet=True)
    assert results.manifest.accuracy["images"] == 2
    context = cell_of("one", results.cells[0])
    assert context["model"]["outputs"] == "one logit"
    for photo in (photos / "ape" / "3.png", photos / "bee" / "1.png"):
        (seen,) = xaibench.explain(photo, **both, methods="ixg", target="bee")
        from xaibench.models.base import Encoding

        z = net(Encoding((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(seen.image[None]))[0, 0]
        assert seen.target.probability == pytest.approx(z.sigmoid().item(), abs=1e-6)
        assert seen.prediction.name == ("bee" if z > 0 else "ape")
        assert sum(guess.probability for guess in seen.top) == pytest.approx(1)


def test_training_one_logit_is_refused(home, tmp_path):
    (tmp_path / "one.py").write_text(
        "from torch import nn\ndef make(num_classes):\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))\n"
    )
    with pytest.raises(XaibenchError, match="gives 1 logits where it was built for 10 classes"):
        xaibench.run("sds", model="one.py:make", dataset="mini", methods="ixg", images=1, quiet=True)


def test_a_bagnet_and_a_transformer_of_one_logit_equal_those_of_two():
    timm = pytest.importorskip("timm")
    from xaibench.models.bagnet import BagNet

    def doubled(net, head):
        two = type(head)(head.in_features, 2)
        two.weight.data, two.bias.data = (torch.cat([-part, part]).detach() for part in (head.weight, head.bias))
        return two

    torch.manual_seed(0)
    bag = BagNet(1, 9, 4, (1, 1, 1, 1)).eval()
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=1, depth=2, patch_size=8).eval()
    inputs, targets = images()[:2], torch.tensor([0, 1])
    for net, head, method in ((bag, "fc", "bagnet"), (vit, "head", "chefer-lrp"), (vit, "head", "rollout")):
        one = xaibench.attribute(net, inputs, targets, method)
        kept = getattr(net, head)
        setattr(net, head, doubled(net, kept))
        two = xaibench.attribute(net, inputs, targets, method)
        setattr(net, head, kept)
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5 * float(two.abs().max()), msg=method)
