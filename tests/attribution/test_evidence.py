"""Evidence: what is computed once, pairs of images and targets, and independence of batches, chunks and order."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import pytest
import torch
from torch import Tensor, nn

import xaibench
from xaibench import registry
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.methods import merge_parameters, method_maps
from xaibench.attribution.runner import ModelRunner
from xaibench.errors import XaibenchError
from xaibench.models.base import ModelView

FEW = {"steps": 3, "masks": 6, "samples": 2}


def maps_of(e: Evidence, *names: str) -> dict[str, Tensor]:
    cards = {name: registry.card("method", name) for name in names}
    return {name: method_maps(card, e, merge_parameters(card, FEW)) for name, card in cards.items()}


@pytest.mark.parametrize(
    ("names", "forwards", "backwards"),
    [
        (("ixg", "ixg-abs", "saliency", "saliency-l1"), 1, 1),
        (("grad-cam", "grad-cam++", "grad-cam++-torchcam", "xgrad-cam", "layer-cam"), 1, 1),
        (("sg-cam++", "sg-cam++-torchcam"), 3, 3),
        (("sg-cam++", "grad-cam", "layer-cam"), 3, 3),
        (("ig", "ig-abs"), 3, 3),
        (("ig-u", "ig-u-abs"), 3, 3),
        (("ig-sg", "ig-sg-abs", "ig-sg-sq"), 6, 6),
        (("ixg-sg", "ixg-sg-abs"), 2, 2),
        (("rise",), 6, 0),
        (("random", "constant", "centre", "edges"), 0, 0),
    ],
)
def test_methods_share_their_passes(names, forwards, backwards, small, pictures, classes, evidence):
    e = evidence(small, pictures, classes)
    maps_of(e, *names, *names)
    assert (e.runner.forwards, e.runner.backwards) == (4 * forwards, 4 * backwards)
    assert e.runner.forward_equivalents == 4 * (forwards + 2 * backwards)


def test_other_targets_share_what_no_target_changes(small, pictures, classes, evidence):
    e = evidence(small, pictures, classes)
    e.logits(), maps_of(e, "rise")
    other = e.explaining(classes.flip(0), output="probability")
    before = e.runner.forwards
    other.logits(), maps_of(other, "rise")
    assert e.runner.forwards == before == 4 * (1 + 6)
    assert other.noise(1) is e.noise(1)
    assert not torch.equal(other.gradient(), e.gradient())
    assert e.explaining(classes).output == "logit" and other.targets.tolist() == classes.flip(0).tolist()


METHODS = [
    "ixg",
    "ixg-sg",
    "ig-u",
    "ig-sg-sq",
    "saliency",
    "rise",
    "rise-u",
    "grad-cam++",
    "sg-cam++",
    "random",
    "edges",
]


@pytest.mark.parametrize("name", METHODS)
def test_several_targets_of_an_image_are_explained_as_one_by_one(name, small, pictures, evidence, deviation):
    targets, owner = torch.tensor([2, 0, 1, 4, 4]), torch.tensor([3, 0, 3, 0, 1])
    together = evidence(small, pictures, torch.zeros(4, dtype=torch.long), chunk=3).explaining(targets, owner)
    maps = maps_of(together, name)[name]
    assert together.pair_ids == ["photo 3", "photo 0", "photo 3", "photo 0", "photo 1"]
    assert torch.equal(together.inputs, pictures[owner])
    for pair, (target, image) in enumerate(zip(targets, owner, strict=True)):
        alone = evidence(small, pictures[image][None], [target], [f"photo {image}"])
        assert deviation(maps[pair][None], maps_of(alone, name)[name]) < 1e-9


@pytest.mark.parametrize(("probability", "squash"), [("softmax", nn.Softmax(1)), ("sigmoid", nn.Sigmoid())])
def test_scores_are_logits_or_the_models_kind_of_probability(probability, squash, small, pictures, classes, evidence):
    e = evidence(small, pictures, classes, probability=probability)
    logits = small(pictures)
    assert torch.allclose(e.logits(), logits, rtol=1e-12)
    assert torch.allclose(e.scores(e.logits()), logits.gather(1, classes[:, None])[:, 0], rtol=1e-12)
    probabilities = squash(logits).gather(1, classes[:, None])[:, 0]
    assert torch.allclose(e.scores(e.logits(), "probability"), probabilities, rtol=1e-10)
    assert torch.allclose(e.explaining(classes, output="probability").scores(e.logits()), probabilities, rtol=1e-10)
    several = torch.stack([e.logits(), e.logits() + torch.arange(5)], 1)
    assert torch.allclose(e.scores(several, "probability")[:, 0], probabilities, rtol=1e-10)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("ixg-sg", [{"samples": 3}, {"sigma": 0.1}]),
        ("ig-sg", [{"samples": 3}, {"sigma": 0.1}, {"steps": 4}, {"baseline": "uniform"}]),
        ("rise", [{"masks": 7}, {"keep": 0.4}, {"cells": 4}, {"baseline": "uniform"}]),
        ("sg-cam++", [{"samples": 3}, {"sigma": 0.1}]),
    ],
)
def test_what_is_remembered_is_not_taken_for_other_parameters(name, changes, small, pictures, classes, evidence):
    card, shared = registry.card("method", name), evidence(small, pictures, classes)
    given = merge_parameters(card, FEW)
    method_maps(card, shared, given)
    for change in changes:
        fresh = method_maps(card, evidence(small, pictures, classes), given | change)
        assert torch.equal(method_maps(card, shared, given | change), fresh)


def test_logits_under_edits_are_those_of_the_edited_images(small, pictures, classes, evidence):
    e = evidence(small, pictures, classes, chunk=5)
    scales = torch.tensor([0.5, -1.0, 2.0])
    edit = lambda image, number: pictures[image] * scales[number][:, None, None, None]  # noqa: E731
    logits = e.logits_under(("scaled",), 3, edit)
    assert e.logits_under(("scaled",), 3, edit) is logits and e.runner.forwards == 12
    assert logits.shape == (4, 3, 5)
    for number, scale in enumerate(scales):
        assert torch.allclose(logits[:, number], small(pictures * scale), rtol=1e-10)


def test_noise_is_bound_to_seed_sample_and_image(small, pictures, classes, evidence):
    ids = ["a", "b", "c", "d"]
    e = evidence(small, pictures, classes, ids)
    reordered = evidence(small, pictures.flip(0), classes.flip(0), ids[::-1])
    assert torch.equal(e.noise(0), reordered.noise(0).flip(0))
    assert torch.equal(e.noise(2)[1:2], evidence(small, pictures[:1], classes[:1], ["b"]).noise(2))
    others = [e.noise(1), evidence(small, pictures, classes, ids, seed=1).noise(0), e.noise(0).roll(1, 0)]
    assert all(abs(float((e.noise(0) * other).mean())) < 0.1 for other in others)
    assert float(e.noise(0).std()) == pytest.approx(1, abs=0.05)


def test_the_noisy_input_is_the_input_plus_scaled_noise(small, pictures, classes, evidence):
    e = evidence(small, pictures, classes)
    assert torch.equal(e.noisy(None, 1.0), pictures)
    assert torch.allclose(e.noisy(3, 0.25), pictures + 0.25 * e.noise(3), rtol=1e-12)


CARDS = [card for name in registry.names("method") if (card := registry.card("method", name)).role != "oracle"]
# the others: test_adapters.py, and the tests of methods of one family
ALL = [c.name for c in CARDS if c.target.startswith("xaibench.") and "cnn" in (c.families or ("cnn",))]
TARGETS = torch.tensor([3, 4, 0, 1, 2, 3, 0, 2])


def _in_batches(
    net: nn.Module, images: Tensor, layer: nn.Module, order: Sequence[int], size: int, chunk: int
) -> dict[str, Tensor]:
    """Maps of every method by batches of some size in some order, put back into the images' own order."""
    parts: dict[str, list[Tensor]] = {name: [] for name in ALL}
    with ModelRunner(net, chunk=chunk) as runner:
        for start in range(0, len(order), size):
            index = list(order[start : start + size])
            ids = [f"photo {i}" for i in index]
            e = Evidence(runner, images[index], TARGETS[index], ids, view=ModelView(layer))
            for name, maps in maps_of(e, *ALL).items():
                parts[name].append(maps)
    back = torch.tensor(list(order)).argsort()
    return {name: torch.cat(maps)[back] for name, maps in parts.items()}


LAYOUTS = {
    "single images": (range(8), 1, 32),
    "batches of 7": (range(8), 7, 32),
    "chunks of 5": (range(8), 32, 5),
    "another order": ((5, 2, 7, 0, 3, 6, 1, 4), 3, 32),
}


def _all_layouts(net: nn.Module, images: Tensor, layer: nn.Module) -> dict[str, dict[str, Tensor]]:
    layouts = {"batches of 32": (range(8), 32, 32), **LAYOUTS}
    return {name: _in_batches(net, images, layer, *layout) for name, layout in layouts.items()}


@pytest.fixture(scope="module")
def exact_layouts(exact_small, photos64) -> dict[str, dict[str, Tensor]]:
    return _all_layouts(exact_small, photos64[:, :, ::4, ::4].double(), exact_small.body)


@pytest.fixture(scope="module")
def resnet_layouts(resnet, photos64) -> dict[str, dict[str, Tensor]]:
    return _all_layouts(resnet, photos64[:, :, ::2, ::2], resnet.layer3)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ALL)
def test_maps_do_not_depend_on_batches_chunks_and_order(name, layout, exact_layouts, deviation):
    assert deviation(exact_layouts[layout][name], exact_layouts["batches of 32"][name]) < 1e-9


@pytest.mark.process
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ALL)
def test_float32_maps_do_not_depend_on_batches_chunks_and_order(name, layout, resnet_layouts, deviation):
    """In float32 the gate of a ReLU may hang on rounding, in few images; torchcam's denominator does in many."""
    maps, reference = resnet_layouts[layout][name], resnet_layouts["batches of 32"][name]
    nonzero = [i for i in range(8) if reference[i].any()]
    deviations = [deviation(maps[i : i + 1], reference[i : i + 1]) for i in nonzero]
    assert median(deviations) < (1e-3 if name == "sg-cam++-torchcam" else 1e-5)
    assert max(deviations) < 2e-2


def test_all_methods_of_the_paper_for_cnns_are_among_those_tested():
    assert len(ALL) >= 19 + 4 + 3 and {"ig-sg-sq", "sg-cam++", "rise-u", "saliency-l1"} <= set(ALL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ids": ["a"]}, "4 images but 1 image ids"),
        ({"output": "loss"}, "logit or probability"),
        ({"owner": torch.tensor([0, 1])}, "4 targets but 2 owners"),
    ],
)
def test_what_does_not_match_is_refused(arguments, message, small, pictures, classes, evidence):
    with pytest.raises(XaibenchError, match=message):
        evidence(small, pictures, classes, **arguments)


def test_unknown_baselines_are_refused(small, pictures, classes):
    with pytest.raises(XaibenchError, match="zero or uniform"):
        xaibench.attribute(small, pictures, classes, "ig", baseline="black")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": torch.tensor([1, 2])}, "4 class indices"),
        ({"targets": torch.rand(4)}, "4 class indices"),
        ({"inputs": torch.zeros(4, 16, 16)}, r"floating point \(B, C, H, W\)"),
        ({"inputs": torch.zeros(4, 3, 16, 16, dtype=torch.uint8)}, r"floating point \(B, C, H, W\)"),
        ({"image_ids": ["a", "b"]}, "4 images but 2 image ids"),
        ({"method": "gradcam"}, "did you mean grad-cam"),
        ({"method": "rollout"}, "a vision transformer"),
        ({"method": "oracle"}, "belongs to a protocol"),
        ({"method": "ixg", "steps": 3}, "no parameter 'steps'"),
    ],
)
def test_attribute_says_what_is_wrong(change, message, small, pictures, classes):
    arguments = {"inputs": pictures, "targets": classes, "method": "ixg"} | change
    with pytest.raises(XaibenchError, match=message):
        xaibench.attribute(small, **arguments)


def test_a_network_in_training_mode_is_refused(small, pictures, classes):
    with pytest.raises(XaibenchError, match=r"model\.eval\(\)"):
        xaibench.attribute(small.train(), pictures, classes, "ixg")


@pytest.mark.parametrize("name", ["ixg", "ig", "grad-cam", "rise"])
def test_attribute_takes_parameters_that_want_gradients_and_leaves_no_trace(name, small, pictures, classes):
    frozen = xaibench.attribute(small, pictures, classes, name, **({"masks": 9} if name == "rise" else {}))
    small.requires_grad_(True)
    inputs = pictures.clone().requires_grad_()
    maps = xaibench.attribute(small, inputs, classes, name, **({"masks": 9} if name == "rise" else {}))
    assert torch.equal(maps, frozen) and not maps.requires_grad
    assert inputs.grad is None and all(p.grad is None for p in small.parameters())
    with torch.no_grad():
        again = xaibench.attribute(small, pictures, classes, name, **({"masks": 9} if name == "rise" else {}))
    assert torch.equal(again, frozen)


def test_names_of_before_still_work_and_warn(evidence):
    e = evidence(nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), torch.zeros(1, 3, 8, 8), [0])
    for old, new in (("passes", "runner"), ("scenes", "annotations")):
        with pytest.warns(DeprecationWarning, match=f"Evidence.{old} is now Evidence.{new}"):
            assert getattr(e, old) is getattr(e, new)
    with pytest.warns(DeprecationWarning, match="activations_and_gradients"):
        assert e.stage == e.activations_and_gradients
