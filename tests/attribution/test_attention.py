"""Attention of vision transformers as evidence: a pass in NumPy as the oracle, what it costs, and what is refused."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import xaibench
from xaibench import registry
from xaibench.attribution.attention import attentions, last_attention, recorded, transformer_of
from xaibench.attribution.methods import method_function
from xaibench.errors import XaibenchError
from xaibench.models.disconnected import Disconnected, cut, joined
from xaibench.models.tokens import Layout, layout_of, token_layer, transformer_in

KINDS = [
    "class token", "pooled", "registers", "all tokens pooled", "largest pooled", "mean and largest pooled", "norms",
    "norms after",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_maps_are_those_of_a_pass_by_hand(kind, vit, vit_photos, vit_classes, evidence, by_hand):
    net = vit(kind)
    e = evidence(net, vit_photos, vit_classes, chunk=2)
    found = attentions(e)
    assert found.shape == (5, 3, *[6 + net.num_prefix_tokens] * 2)
    for image, maps, logits in zip(vit_photos, found, e.logits(), strict=True):
        seen = by_hand(net, image)
        np.testing.assert_allclose(seen.logits, logits, rtol=1e-9)
        np.testing.assert_allclose(maps, [block["map"].mean(0) for block in seen.blocks], atol=1e-12)


@pytest.mark.parametrize("output", ["logit", "probability"])
def test_gradients_are_central_differences(output, vit, vit_photos, vit_classes, evidence, by_hand):
    net, image, target = vit("registers"), vit_photos[:1], 2
    maps, gradients = last_attention(evidence(net, image, [target], output=output))
    seen = by_hand(net, image[0])
    np.testing.assert_allclose(maps[0], seen.blocks[-1]["map"], atol=1e-12)
    slopes = [seen.gradient(2, k) for k in range(3)]
    chances = np.exp(seen.logits) / np.exp(seen.logits).sum()
    mean = sum(p * s for p, s in zip(chances, slopes, strict=True))
    expected = slopes[target] if output == "logit" else chances[target] * (slopes[target] - mean)
    np.testing.assert_allclose(gradients[0], expected, atol=1e-8)
    assert np.abs(expected).max() > 1e-4


def test_costs_are_counted_and_shared(vit, vit_photos, vit_classes, evidence):
    e = evidence(vit(), vit_photos, vit_classes)
    attentions(e), attentions(e.explaining(torch.tensor([1]), torch.tensor([3])))
    assert (e.runner.forwards, e.runner.backwards) == (5, 0)
    last_attention(e), last_attention(e)
    assert (e.runner.forwards, e.runner.backwards) == (10, 5)


def test_the_network_is_left_as_it_was_also_after_an_error(vit, vit_photos, vit_classes, evidence):
    net = vit()
    fused = [block.attn.fused_attn for block in net.blocks]
    before = net(vit_photos)
    e = evidence(net, vit_photos, vit_classes)
    attentions(e)
    with pytest.raises(ZeroDivisionError), recorded(transformer_of(e), net.modules()):
        assert not any(block.attn.fused_attn for block in net.blocks)
        raise ZeroDivisionError
    assert fused == [block.attn.fused_attn for block in net.blocks] == [True] * 3
    assert not any(m._forward_hooks for m in net.modules() if m is not net) and len(net._forward_hooks) == 1
    assert torch.equal(net(vit_photos), before)


def test_reduced_precision_is_close(vit, vit_photos, vit_classes, evidence):
    exact = attentions(evidence(vit(), vit_photos, vit_classes))
    e = evidence(vit().float(), vit_photos.float(), vit_classes)
    e.runner.precision = "bfloat16"
    assert attentions(e).dtype == torch.float32 and torch.allclose(attentions(e).double(), exact, atol=0.05)


def test_a_wrapped_transformer_is_found(vit, vit_photos, vit_classes, evidence):
    net = nn.Sequential(nn.Identity(), vit()).eval()
    bare = xaibench.attribute(vit(), vit_photos, vit_classes, "rollout")
    assert torch.equal(xaibench.attribute(net, vit_photos, vit_classes, "rollout"), bare)
    assert token_layer(net) == "1.blocks.2.norm1" and transformer_in(net) is net[1]


# Tokens as maps ------------------------------------------------------------------------------------------------------


def test_tokens_lie_row_by_row_behind_the_prefix():
    layout, tokens = Layout(2, (2, 3)), torch.randn(4, 8, 5)
    found = layout.to_map(tokens)
    for n, d, row, column in np.ndindex(4, 5, 2, 3):
        assert found[n, d, row, column] == tokens[n, 2 + 3 * row + column, d]
    assert torch.equal(layout.with_map(tokens, found), tokens)
    changed = layout.with_map(tokens, found + 1)
    assert torch.equal(changed[:, :2], tokens[:, :2]) and torch.equal(layout.to_map(changed), found + 1)
    for wrong in (tokens[:, 1:], tokens[0], tokens[..., None]):
        with pytest.raises(XaibenchError, match=r"not 8 tokens \(2 and 2x3 patches\)"):
            layout.to_map(wrong)


def test_networks_of_any_image_size_say_how_their_tokens_lie():
    import timm

    net = timm.create_model("test_vit", num_classes=3, dynamic_img_size=True)
    assert layout_of(net, (96, 64)) == Layout(1, (6, 4)) and layout_of(nn.Conv2d(3, 3, 1), (8, 8)) is None
    maps = xaibench.attribute(net.eval(), torch.randn(2, 3, 96, 64), torch.tensor([0, 1]), "grad-cam")
    assert maps.shape == (2, 1, 96, 64)


# Refused -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("name", ["rollout", "vit-grad-cam", "chefer-lrp"])
@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("test_vit3", "this one pools by attention"),
        ("vit_small_patch16_18x2_224", "needs one attention in each block"),
        ("deit_tiny_distilled_patch16_224", "a distilled DeiT reads two by two heads"),
    ],
)
def test_heads_and_blocks_of_other_kinds_are_refused(name, architecture, message):
    import timm

    net = timm.create_model(architecture, num_classes=3).eval()
    side = net.patch_embed.img_size[0]
    with pytest.raises(XaibenchError, match=message):
        xaibench.attribute(net, torch.zeros(1, 3, side, side), torch.tensor([1]), name)


@pytest.mark.parametrize("name", ["rollout", "vit-grad-cam", "legrad", "grad-eclip"])
def test_attention_that_is_not_one_softmax_for_each_head_is_refused(name, vit, vit_photos, vit_classes):
    from timm.layers import DiffAttention

    net = vit()
    net.blocks[1].attn = DiffAttention(12, num_heads=2).double().eval()
    if name != "grad-eclip":  # which reads the last block only
        net.blocks[2].attn = DiffAttention(12, num_heads=2).double().eval()
    with pytest.raises(XaibenchError, match="needs attention with one map for each head"):
        xaibench.attribute(net, vit_photos, vit_classes, name)
    net = vit()
    net.blocks[1].attn.attn_drop = nn.Softsign()
    with pytest.raises(XaibenchError, match="rows sum to one"):
        xaibench.attribute(net, vit_photos, vit_classes, name)


class Around(nn.Module):
    """A transformer with other pooling, or with other logits, than its own."""

    def __init__(self, net: nn.Module, pool=None, after=None):
        super().__init__()
        self.net, self.pool, self.after = net, pool, after

    def forward(self, images):
        if self.pool is None:
            return self.after(self.net(images))
        return self.net.head(self.pool(self.net.forward_features(images)))


@pytest.mark.parametrize("name", ["rollout", "vit-grad-cam", "legrad", "grad-eclip", "chefer-lrp"])
@pytest.mark.parametrize("kind", ["class token", "registers", "pooled"])
def test_tokens_that_are_pooled_in_another_way_are_refused(name, kind, vit, vit_photos, vit_classes):
    pools = {"class token": lambda t: t[:, 1:].mean(1), "registers": lambda t: t.mean(1), "pooled": lambda t: t[:, 0]}
    with pytest.raises(XaibenchError, match=r"needs (logits that|a head that reads the class)"):
        xaibench.attribute(Around(vit(kind), pools[kind]).eval(), vit_photos, vit_classes, name)
    if kind == "class token":  # the same tokens in the same way
        xaibench.attribute(Around(vit(kind), lambda t: t[:, 0]).eval(), vit_photos, vit_classes, name)


@pytest.mark.parametrize("name", ["legrad", "chefer-lrp"])
def test_logits_that_are_not_the_heads_are_refused(name, vit, vit_photos, vit_classes):
    with pytest.raises(XaibenchError, match="needs logits that norm, pooling and classifier make"):
        xaibench.attribute(Around(vit(), after=lambda x: x.flip(1)).eval(), vit_photos, vit_classes, name)


@pytest.mark.parametrize(("name", "lacks"), [("legrad", "a norm and a head"), ("chefer-lrp", "a linear head")])
def test_a_transformer_without_a_head_of_its_own_is_refused(name, lacks, vit, vit_photos, vit_classes):
    net = vit("pooled")
    head, norm = net.head, net.norm
    net = Around(net, after=None)
    del net.net.head
    net.forward = lambda images: head(net.net.pool(net.net.forward_features(images)))
    with pytest.raises(XaibenchError, match=lacks):
        xaibench.attribute(net.eval(), vit_photos, vit_classes, name)
    assert norm is net.net.norm


def test_a_cnn_has_no_attention(small, pictures, classes, evidence):
    with pytest.raises(XaibenchError, match="method rollout needs a vision transformer"):
        xaibench.attribute(small, pictures, classes, "rollout")
    with pytest.raises(XaibenchError, match="needs a vision transformer with the parts of timm's"):
        attentions(evidence(small, pictures, classes))


def test_a_network_that_shows_its_transformer_parts_is_refused(vit, vit_photos, evidence):
    class Halves(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = vit()

        def forward(self, images):
            return sum(self.net(half) for half in images.chunk(2, 2)) + self.net(torch.cat(images.chunk(2, 2)))[::2]

    net, tall = Halves(), torch.cat([vit_photos[:2]] * 2, 2)
    with pytest.raises(XaibenchError, match="takes whole images; here it gets parts of them"):
        attentions(evidence(net, tall, [0, 1], cam_layer=None))
    assert not any(m._forward_hooks for m in net.net.modules())


@pytest.mark.parametrize("kind", ["class token", "registers", "pooled"])
@pytest.mark.parametrize("name", ["rollout", "vit-grad-cam", "chefer-lrp", "legrad", "attn-lrp", "grad-eclip"])
@pytest.mark.parametrize("own", [0, 3])
def test_of_disconnected_cells_only_the_own_one_is_explained(own, name, kind, vit, vit_photos, evidence):
    """The output does not depend on the others; the own one has the map of the network that sees it alone."""
    if (kind, name) == ("pooled", "grad-eclip"):
        pytest.skip("grad-eclip needs a class token")
    parts = torch.cat([vit_photos[:4], vit_photos.flip(3)[:4]])
    card, targets = registry.card("method", name), [2, 0]
    explain = partial(method_function(card), **card.parameters)
    for layer in ("blocks.2.norm1", ""):
        e = evidence(Disconnected(vit(kind), layer, 2, own), joined(parts, 2), targets, cam_layer=None, chunk=1)
        found = cut(explain(e), 2).unflatten(0, (2, 4))
        alone = explain(evidence(vit(kind), parts[own::4], targets, cam_layer=None))
        assert torch.allclose(found[:, own], alone, rtol=1e-9, atol=1e-15) and float(alone.std()) > 0
        assert float(found[:, [cell for cell in range(4) if cell != own]].abs().max()) == 0
