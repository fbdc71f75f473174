"""LeGrad: central differences of a pass in NumPy, the package torchcam, and the definition of the authors' code."""

from __future__ import annotations

from copy import copy

import numpy as np
import pytest
import torch
from torch import nn

import xaibench
from xaibench.attribution.attention import attentions, recorded, transformer_of
from xaibench.attribution.legrad import legrad
from xaibench.attribution.maps import bilinear
from xaibench.errors import XaibenchError


def layer_slopes(seen, number: int, target: int) -> np.ndarray:
    """Gradient of a layer's own logit on its attention map (heads, T, T), by central differences."""
    weights, step = seen.blocks[number]["map"], 1e-5
    found = np.zeros_like(weights)
    for place in np.ndindex(*weights.shape):
        for sign in (1, -1):
            changed, other = weights.copy(), copy(seen)
            changed[place] += sign * step
            other._end(seen._block(seen.blocks[number]["x"], seen.net.blocks[number], changed)[0])
            found[place] += sign * other.logits[target] / (2 * step)
    return found


@pytest.mark.parametrize("kind", ["class token", "pooled", "registers", "largest pooled", "norms", "norms after"])
def test_maps_are_central_differences_of_each_layers_score(kind, vit, vit_photos, evidence, by_hand):
    net, image, target = vit(kind), vit_photos[:1], 2
    seen, prefix = by_hand(net, image[0]), net.num_prefix_tokens
    slopes = [layer_slopes(seen, number, target) for number in range(3)]
    parts = [np.clip(s, 0, None).mean((0, 1))[prefix:].reshape(2, 3) for s in slopes]
    for layers in (0, 1, 2):
        found = legrad(evidence(net, image, [target]), layers)[0, 0]
        expected = np.mean(parts[-layers:], 0)
        np.testing.assert_allclose(found, expected, atol=1e-7 * max(1, expected.max()))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("class token", {}), ("all tokens", {"pool": "mean"}), ("last layer", {"pool": "mean", "layers": 1})],
)
def test_maps_are_those_of_the_package_torchcam(name, parameters, oracles, deviation):
    maps = xaibench.attribute(oracles.torchvision_vit(), oracles.images(), oracles.TARGETS, "legrad", **parameters)
    expected = oracles.recorded()[f"legrad, {name}"]
    assert deviation(maps, bilinear(expected[:, None], (16, 16))) < 1e-6


def test_the_named_variant_is_the_mean_token_of_the_last_two_layers(vit, vit_photos, vit_classes):
    given = (vit("registers"), vit_photos, vit_classes)
    expected = xaibench.attribute(*given, "legrad", layers=2, pool="mean")
    assert torch.equal(xaibench.attribute(*given, "legrad-clip"), expected)
    assert not torch.allclose(xaibench.attribute(*given, "legrad", layers=2), expected, rtol=0.1)


def test_cost_and_chunks(vit, vit_photos, vit_classes, evidence):
    e, alone = (evidence(vit(), vit_photos, vit_classes, chunk=c) for c in (5, 1))
    maps = legrad(e)
    assert (e.runner.forwards, e.runner.backwards) == (5, 5)
    assert torch.allclose(legrad(alone), maps, atol=1e-12)


def test_reduced_precision_is_close(vit, vit_photos, vit_classes, evidence):
    exact = legrad(evidence(vit(), vit_photos, vit_classes))
    e = evidence(vit().float(), vit_photos.float(), vit_classes)
    e.runner.precision = "bfloat16"
    assert (legrad(e).double() - exact).abs().max() < 0.1 * exact.max()


@pytest.mark.parametrize("parameters", [{"layers": -1}, {"layers": 4}, {"layers": True}, {"pool": "class"}])
def test_other_layers_and_pools_are_refused(parameters, vit, vit_photos, vit_classes):
    with pytest.raises(XaibenchError, match=f"{next(iter(parameters))} is"):
        xaibench.attribute(vit(), vit_photos, vit_classes, "legrad", **parameters)


def test_another_head_is_refused(vit, vit_photos, vit_classes):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = vit()

        def forward(self, x):
            return 3 * self.net(x)

    with pytest.raises(XaibenchError, match="needs logits that norm, pooling and classifier make"):
        xaibench.attribute(Scaled().eval(), vit_photos, vit_classes, "legrad")


# The attention of torch, in torchvision's transformers ---------------------------------------------------------------


def by_torch(net, images, target: int, wrong: bool = False):
    """The attention maps of the blocks, and the gradient of a logit on the last one's, as torch itself gives them."""
    x = net._process_input(images)
    x = torch.cat([net.class_token.expand(len(x), -1, -1), x], 1) + net.encoder.pos_embedding
    maps = []
    for block in net.encoder.layers:
        y, attn = block.ln_1(x), block.self_attention
        _, weights = attn(y, y, y, need_weights=True, average_attn_weights=False)
        weights = weights.detach().requires_grad_()
        maps.append(weights)
        width = y.shape[-1]
        value = y @ attn.in_proj_weight[2 * width :].T + attn.in_proj_bias[2 * width :]
        value = value.unflatten(2, (attn.num_heads, -1)).transpose(1, 2)
        x = x + attn.out_proj((weights @ value).transpose(1, 2).flatten(2))
        x = x + block.mlp(block.ln_2(x))
    logit = net.heads(net.encoder.ln(x)[:, 0])[:, target].sum()
    return maps, torch.autograd.grad(logit, maps[-1])[0]


def test_torchvisions_attention_can_be_read(oracles, evidence):
    net, images = oracles.torchvision_vit(), oracles.images()
    maps, gradient = by_torch(net, images, 1)
    e = evidence(net, images, [1, 1])
    assert torch.allclose(attentions(e), torch.stack([m.mean(1) for m in maps], 1), atol=1e-12)
    weighted = (gradient[:, :, 0, 1:].mean(-1, keepdim=True) * maps[-1][:, :, 0, 1:]).mean(1).relu()
    found = xaibench.attribute(net, images, [1, 1], "vit-grad-cam")
    assert torch.allclose(found, bilinear(weighted.unflatten(1, (2, 2))[:, None], (16, 16)), atol=1e-12)
    mixed = torch.stack([m.mean(1) for m in maps], 1) + torch.eye(5)
    mixed = mixed / mixed.sum(-1, keepdim=True)
    flow = (mixed[:, 1] @ mixed[:, 0])[:, 0, 1:].unflatten(1, (2, 2))
    rollout = xaibench.attribute(net, images, [1, 1], "rollout", first=1)[:, 0]
    assert torch.allclose(rollout[:, ::8, ::8], flow, atol=1e-12) and flow.std() > 1e-3


def test_torchvisions_transformer_is_left_as_it_was(oracles, evidence):
    net, images = oracles.torchvision_vit(), oracles.images()
    before, e = net(images), evidence(net, images, [1, 1])
    vit = transformer_of(e)
    with pytest.raises(ZeroDivisionError), recorded(vit, vit.attention):
        assert torch.allclose(net(images), before, atol=1e-12)
        raise ZeroDivisionError
    assert not any("forward" in vars(module) for module in net.modules()) and torch.equal(net(images), before)


def test_chefers_rules_are_for_timms(oracles):
    with pytest.raises(XaibenchError, match="has rules for the vision transformers of timm, not for torchvision's"):
        xaibench.attribute(oracles.torchvision_vit(), oracles.images(), [1, 1], "chefer-lrp")
