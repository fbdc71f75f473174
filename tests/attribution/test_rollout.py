"""Attention Rollout and Grad-CAM of attention: by hand, by loops in NumPy, and what holds for every attention."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import xaibench
from xaibench.attribution.attention import attentions
from xaibench.attribution.rollout import flow, rollout, rollout_matrix, vit_grad_cam
from xaibench.errors import XaibenchError


def random_attention(blocks: int, tokens: int, seed: int = 0, count: int = 2) -> torch.Tensor:
    logits = torch.randn(count, blocks, tokens, tokens, generator=torch.Generator().manual_seed(seed))
    return (3 * logits.double()).softmax(-1)


def test_two_tokens_by_hand():
    """(A + I) / 2 of both blocks is [[.75, .25], [.5, .5]] and [[.5, .5], [.25, .75]]; the later one is on the left."""
    attention = torch.tensor([[[[0.5, 0.5], [1.0, 0.0]], [[0.0, 1.0], [0.5, 0.5]]]])
    assert rollout_matrix(attention).tolist() == [[[0.625, 0.375], [0.5625, 0.4375]]]
    assert rollout_matrix(attention, first=2).tolist() == [[[0.5, 0.5], [0.25, 0.75]]]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 99))
def test_rows_sum_to_one_and_nothing_is_negative(blocks, tokens, seed):
    for first in range(1, blocks + 1):
        mixed = rollout_matrix(random_attention(blocks, tokens, seed), first)
        assert torch.allclose(mixed.sum(-1), torch.ones(2, tokens).double(), atol=1e-12, rtol=0) and (mixed >= 0).all()


def test_rows_are_scaled_where_attention_does_not_sum_to_one():
    mixed = rollout_matrix(5 * random_attention(3, 4))
    assert torch.allclose(mixed.sum(-1), torch.ones(2, 4).double())


@pytest.mark.parametrize("first", [1, 2, 4])
def test_the_product_is_that_of_a_plain_loop(first):
    attention = random_attention(4, 5).numpy()
    for number, one in enumerate(attention):
        expected = np.eye(5)
        for block in range(first - 1, 4):
            mixed = one[block] + np.eye(5)
            for row in mixed:
                row /= row.sum()
            expected = mixed @ expected
        np.testing.assert_allclose(rollout_matrix(torch.from_numpy(attention), first)[number], expected, atol=1e-12)


@pytest.mark.parametrize("first", [0, 5, 1.5, "2"])
def test_the_product_begins_with_a_block_that_exists(first):
    with pytest.raises(XaibenchError, match=rf"first is the block, from 1 to 4, .*not {first}"):
        flow(random_attention(4, 3), first)


def three_tokens(depth: int) -> nn.Module:
    """A class token at (1, -1) and two patches at (v, -v), v the pixels' mean; only attention has weights."""
    from timm.models.vision_transformer import VisionTransformer

    net = VisionTransformer((8, 16), 8, 3, 2, embed_dim=2, depth=depth, num_heads=1).double().eval()
    for parameter in net.parameters():
        parameter.data.zero_()
    net.cls_token.data[0, 0] = torch.tensor([1.0, -1.0])
    net.patch_embed.proj.weight.data[0], net.patch_embed.proj.weight.data[1] = 1 / 192, -1 / 192
    for block in net.blocks:
        block.norm1.weight.data[:] = 1
        block.attn.qkv.weight.data[:4] = torch.eye(2).repeat(2, 1).double()
    return net


def test_a_network_whose_attention_is_known_by_hand(evidence):
    """Normalised tokens are (1, -1), (1, -1) and (-1, 1): equal ones attend with exp(sqrt 2), others exp(-sqrt 2)."""
    net, image = three_tokens(3), torch.ones(1, 3, 8, 16).double()
    image[..., 8:] = -1
    same, other = math.exp(math.sqrt(2)), math.exp(-math.sqrt(2))
    near, far = same / (2 * same + other), other / (2 * same + other)
    ours, apart = same / (same + 2 * other), other / (same + 2 * other)
    attention = np.array([[near, near, far], [near, near, far], [apart, apart, ours]])
    e = evidence(net, image, [0])
    np.testing.assert_allclose(attentions(e)[0], np.stack([attention] * 3), atol=1e-5)
    mixed = (attention + np.eye(3)) / 2
    np.testing.assert_allclose(rollout(e)[0, 0], (mixed @ mixed)[:1, 1:], atol=1e-5)
    np.testing.assert_allclose(rollout(e, first=3)[0, 0], mixed[:1, 1:], atol=1e-5)


# Small transformers with random weights -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["class token", "pooled", "registers", "all tokens pooled", "norms"])
def test_the_map_is_what_the_head_reads(kind, vit, vit_photos, vit_classes, evidence):
    net = vit(kind)
    e = evidence(net, vit_photos, vit_classes)
    attention = attentions(e).numpy()
    prefix = {"class token": 1, "pooled": 0, "registers": 5, "all tokens pooled": 3, "norms": 1}[kind]
    rows = {"pooled": range(6), "all tokens pooled": range(9)}.get(kind, [0])
    for number, one in enumerate(attention):
        product = np.eye(prefix + 6)
        for matrix in one[1:]:
            product = (matrix + np.eye(prefix + 6)) / 2 @ product
        expected = np.mean([product[row, prefix:] for row in rows], axis=0).reshape(2, 3)
        np.testing.assert_allclose(rollout(e)[number, 0], expected, atol=1e-12)


def test_the_map_is_the_same_for_every_class_and_computed_once(vit, vit_photos, evidence):
    e = evidence(vit(), vit_photos, [0, 1, 2, 0, 1])
    one = rollout(e)
    pairs = e.explaining(torch.tensor([2, 1, 1]), torch.tensor([0, 4, 4]))
    assert torch.equal(rollout(pairs), one[[0, 4, 4]]) and (e.runner.forwards, e.runner.backwards) == (5, 0)


def test_enlarged_maps_are_even_blocks(vit, vit_photos, vit_classes, evidence):
    maps = xaibench.attribute(vit(), vit_photos, vit_classes, "rollout")
    raw = rollout(evidence(vit(), vit_photos, vit_classes))
    assert torch.equal(maps, raw.repeat_interleave(8, 2).repeat_interleave(8, 3))


@pytest.mark.parametrize("kind", ["class token", "pooled", "registers"])
def test_vit_grad_cam_is_that_of_a_plain_loop(kind, vit, vit_photos, vit_classes, evidence, attention_by_hand):
    """Heads of the last block as channels, their gradient by central differences of the network's score."""
    net = vit(kind)
    prefix, ours = net.num_prefix_tokens, vit_grad_cam(evidence(net, vit_photos, vit_classes))
    rows = [0] if net.cls_token is not None else range(6)
    for number in range(2):
        maps, gradients = attention_by_hand(net, vit_photos[number], int(vit_classes[number]))
        expected = np.zeros(6)
        for head_map, head_gradient in zip(maps, gradients, strict=True):
            weight = np.mean([head_gradient[row, prefix:] for row in rows])
            expected += weight * np.mean([head_map[row, prefix:] for row in rows], axis=0) / len(maps)
        np.testing.assert_allclose(ours[number, 0].flatten(), np.maximum(expected, 0), atol=1e-9)
    assert (ours > 0).any()


@pytest.mark.parametrize("name", ["rollout", "vit-grad-cam", "chefer-lrp"])
def test_a_batch_is_its_images(name, vit, vit_photos, vit_classes):
    net = vit("registers")
    together = xaibench.attribute(net, vit_photos, vit_classes, name)
    assert together.shape == (5, 1, 16, 24) and together.std() > 0
    for chunk in (1, 2):
        assert torch.allclose(xaibench.attribute(net, vit_photos, vit_classes, name, chunk=chunk), together, rtol=1e-9)
    alone = [xaibench.attribute(net, vit_photos[i, None], vit_classes[i, None], name) for i in range(5)]
    assert torch.allclose(torch.cat(alone), together, rtol=1e-9)
