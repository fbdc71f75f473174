"""Attributions at a stage of the model, against captum on the part of the network behind it, and `--layer`."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients, Saliency
from torch import Tensor, nn
from torch.nn.functional import interpolate

import xaibench
from xaibench import registry
from xaibench.attribution.methods import method_maps
from xaibench.attribution.stages import LayerEvidence, at_stage
from xaibench.errors import XaibenchError

STAGES = {"Mid1": "layer1", "Mid3": "layer3", "Final": "layer4"}
TARGETS = torch.tensor([3, 8])
pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")


def maps(net: nn.Module, images: Tensor, evidence, method: str, layer: str | None, **settings) -> Tensor:
    card = registry.card("method", method)
    changes = ({"layer": layer} if layer else {}) | ({"steps": 7} if "steps" in card.parameters else {})
    settings = {"cam_layer": getattr(net, "layer4", None), "stages": STAGES} | settings
    return method_maps(card, evidence(net, images, TARGETS, **settings), card.parameters | changes)


def cut(net: nn.Module, stage: str) -> tuple[nn.Module, nn.Module]:
    """The network up to a stage, and what follows it."""
    parts = [net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4]
    place = parts.index(getattr(net, STAGES[stage])) + 1
    return nn.Sequential(*parts[:place]), nn.Sequential(*parts[place:], net.avgpool, nn.Flatten(), net.fc)


@pytest.fixture(scope="module")
def images(photos64) -> Tensor:
    return photos64[:2].double()


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", ["ixg", "ixg-abs", "saliency", "saliency-l1", "ig"])
def test_maps_at_a_stage_are_those_of_the_part_behind_it(name, stage, exact_resnet, images, evidence, deviation):
    before, behind = cut(exact_resnet, stage)
    features = before(images)
    if name.startswith("ig"):
        method, options = IntegratedGradients(behind), {"n_steps": 7, "method": "gausslegendre", "baselines": 0.0}
    elif name.startswith("ixg"):
        method, options = InputXGradient(behind), {}
    else:
        method, options = Saliency(behind), {"abs": name == "saliency-l1"}
    summed = method.attribute(features.clone(), target=TARGETS, **options).sum(1, keepdim=True)
    summed = summed.abs() if name in ("ixg-abs", "saliency") else summed
    expected = interpolate(summed, (64, 64), mode="bilinear", align_corners=False)
    allowed = 1e-6 if name.startswith("ig") else 1e-9  # captum's nodes are single precision
    assert deviation(maps(exact_resnet, images, evidence, name, stage), expected) < allowed


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grad-cam", "layer-cam", "sg-cam++", "xgrad-cam", "eigen-cam"])
def test_class_activation_maps_at_a_stage_are_those_of_that_layer(name, exact_resnet, images, evidence, deviation):
    pytest.importorskip("pytorch_grad_cam")
    net = exact_resnet
    expected = maps(net, images, evidence, name, None, cam_layer=net.layer2, stages={})
    found = maps(net, images, evidence, name, "Mid2", stages={"Mid2": "layer2"})
    assert deviation(found, expected) < 1e-9
    assert deviation(maps(net, images, evidence, name, None), expected) > 1e-3


def test_probabilities_and_parts_of_a_batch(exact_resnet, images, evidence, deviation):
    before, behind = cut(exact_resnet, "Mid3")
    squashed = nn.Sequential(behind, nn.Softmax(1))
    expected = InputXGradient(squashed).attribute(before(images), target=TARGETS).sum(1, keepdim=True)
    expected = interpolate(expected, (64, 64), mode="bilinear", align_corners=False)
    assert deviation(maps(exact_resnet, images, evidence, "ixg", "Mid3", output="probability"), expected) < 1e-9
    whole, cut_up = (maps(exact_resnet, images, evidence, "ig", "Mid3", chunk=chunk) for chunk in (32, 3))
    assert deviation(cut_up, whole) < 1e-9


def test_methods_share_the_pass_and_count_it(exact_resnet, images, evidence):
    e = evidence(exact_resnet, images, TARGETS, stages=STAGES)
    for name in ("ixg", "saliency", "grad-cam", "layer-cam"):
        method_maps(registry.card("method", name), e, {"layer": "Mid3"})
    assert (e.runner.forwards, e.runner.backwards) == (2, 2)
    method_maps(registry.card("method", "ig"), e, {"layer": "Mid3", "steps": 5})
    assert (e.runner.forwards, e.runner.backwards) == (12, 12)
    ixg = registry.card("method", "ixg")
    fresh = evidence(exact_resnet, images, TARGETS, stages=STAGES)
    assert torch.equal(method_maps(ixg, e, {"layer": "Final"}), method_maps(ixg, fresh, {"layer": "Final"}))
    assert not torch.equal(method_maps(ixg, e, {"layer": "Final"}), method_maps(ixg, e, {"layer": "Mid3"}))


@pytest.mark.process
def test_layers_behind_which_a_network_works_in_place(evidence, deviation):
    """torchvision's DenseNet applies a ReLU in place to what `features` gives."""
    from torchvision.models import densenet121

    torch.manual_seed(0)
    net, image = densenet121(num_classes=10).double().eval().requires_grad_(False), torch.randn(2, 3, 64, 64).double()
    behind = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), net.classifier)
    features = net.features(image)
    assert (features < 0).any()
    for name, method in (("ixg", InputXGradient(behind)), ("ig", IntegratedGradients(behind))):
        options = {"n_steps": 7, "method": "gausslegendre"} if name == "ig" else {}
        expected = interpolate(
            method.attribute(features.clone(), target=TARGETS, **options).sum(1, keepdim=True), (64, 64),
            mode="bilinear", align_corners=False,
        )  # fmt: skip
        found = maps(net, image, evidence, name, "Final", stages={"Final": "features"})
        assert deviation(found, expected) < 1e-6


def test_of_another_network_the_stage_of_the_same_path_is_taken(exact_resnet, images, evidence, deviation):
    other = deepcopy(exact_resnet)
    other.fc.weight.mul_(-2)
    e = evidence(exact_resnet, images, TARGETS, stages=STAGES)
    through = e.with_model(evidence(other, images, TARGETS).runner, None)
    card = registry.card("method", "ixg")
    expected = -2 * method_maps(card, e, {"layer": "Final"})
    assert deviation(method_maps(card, through, {"layer": "Final"}), expected) < 1e-9


def test_what_is_drawn_for_images_is_refused_at_a_stage(exact_resnet, images, evidence):
    e = evidence(exact_resnet, images, TARGETS, stages=STAGES)
    behind = at_stage(e, "Final", registry.card("method", "ixg"))
    assert isinstance(behind, LayerEvidence) and behind.inputs.shape == (2, 512, 2, 2)
    with pytest.raises(XaibenchError, match="the uniform baseline is one of images"):
        behind.baseline("uniform")
    with pytest.raises(XaibenchError, match="noise is added to images"):
        behind.noisy(0, 1.0)
    with pytest.raises(XaibenchError, match="the network that is explained here has no stage Mid2"):
        maps(exact_resnet, images, evidence, "ixg", "Mid2")
    with pytest.raises(XaibenchError, match="has no stage Final"):
        maps(exact_resnet, images, evidence, "ixg", "Final", stages={"Final": "layer9"})


@pytest.fixture
def staged(home, tmp_path):
    """The folder of cards with `staged`, the tiny network with two stages."""
    folder = tmp_path / "staged"
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "staged.toml").write_text(
        'title = "Tiny, with stages"\ntarget = "xaibench_test_network:build"\ncam_layer = "4"\n'
        'stages = { Mid1 = "1", Final = "4" }\n'
    )
    return folder


def run(folder, **changes):
    arguments = {"model": "staged", "dataset": "mini", "images": 4, "out": "r", "quiet": True, "cards": [folder]}
    return xaibench.run("sds", **arguments | changes)


@pytest.mark.slow
@pytest.mark.process
def test_runs_at_several_stages_stand_on_one_board(staged):
    plain = run(staged, methods="ixg,grad-cam,random")
    final = run(staged, methods="ixg,grad-cam,random", layer="Final")
    assert final.computed == 4 and run(staged, methods="ixg,random", layer="Mid1").computed == 4
    assert run(staged, methods="ixg", layer="Input").computed == 0, "the input is where maps are taken anyway"
    assert plain.boards == final.boards and len(set(plain.cells) & set(final.cells)) == 1, "the control is the same"
    board = final.leaderboard().table
    assert set(board["method"]) == {"ixg", "ixg@Final", "ixg@Mid1", "grad-cam", "grad-cam@Final", "random"}
    scores = board.set_index("method")["mean"]
    assert scores["grad-cam"] == scores["grad-cam@Final"] and scores["ixg"] != scores["ixg@Final"]


def test_by_default_what_is_not_defined_there_is_left_out(staged):
    results = run(staged, layer="Final")
    assert results.manifest.skipped["rise"] == "is not defined at a stage of the model (--layer)"
    ran = set(results.rows["method"])
    assert {"ixg", "ixg-abs", "ig", "ig-abs", "saliency", "grad-cam", "layer-cam", "random", "oracle"} <= ran
    assert not {"ig-u", "ixg-sg", "rise", "ig-sg"} & ran


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": "final"}, "model staged has no stage 'final'; did you mean Final? it has Input, Mid1, Final"),
        ({"layer": "Mid2"}, "model staged has no stage 'Mid2'; it has Input, Mid1, Final"),
        ({"model": "tiny", "layer": "Final"}, "the card of model tiny names no stages; leave --layer out"),
        ({"methods": "ixg,rise", "layer": "Final"}, "method rise is not defined at a stage of the model"),
    ],
)
def test_mistakes_are_one_line(changes, message, staged):
    with pytest.raises(XaibenchError) as caught:
        run(staged, **changes)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.slow
def test_galleries_make_maps_at_stages_again(staged, command):
    run(staged, methods="ixg,random")
    run(staged, methods="ixg", layer="Final")
    words = ("show", "run", "r", "--methods", "ixg,ixg@Final,random", "--images", 1, "--cards", staged, "--quiet")
    status, printed, error = command(*words)
    assert status == 0 and "made again with the same weights and settings" in printed, error


def test_explanations_at_a_stage_say_so(staged):
    run(staged, methods="ixg")
    (image,) = xaibench.run("sds", model="staged", dataset="mini", images=1, out="r", methods="ixg", quiet=True).images
    seen = {
        layer: xaibench.explain(
            image, model="staged", dataset="mini", methods="ixg,random", layer=layer, cards=[staged]
        )[0].maps
        for layer in (None, "Final")
    }
    assert set(seen[None]) == {"ixg", "random"} and set(seen["Final"]) == {"ixg@Final", "random"}
    assert torch.equal(seen[None]["random"], seen["Final"]["random"])
    assert not torch.equal(seen[None]["ixg"], seen["Final"]["ixg@Final"])
