"""CheferLRP: every rule and the whole method against loops in NumPy, and the sum of relevance on its way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import xaibench
from xaibench.attribution.attention import recorded, transformer_of
from xaibench.attribution.chefer import attention_relevances, chefer_lrp, modules_of_rules, through_block
from xaibench.attribution.relevance import through_linear, through_pool, through_product, through_sum
from xaibench.errors import XaibenchError

KINDS = [
    "class token", "pooled", "registers", "all tokens pooled", "largest pooled", "mean and largest pooled", "norms",
    "norms after",
]  # fmt: skip


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Rules, written once more as loops -----------------------------------------------------------------------------------


def loop_linear(relevance: np.ndarray, inputs: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(T, I) from (T, O): each output's relevance in the shares of x w where that is positive."""
    found = np.zeros_like(inputs)
    for t, o in np.ndindex(*relevance.shape):
        parts = np.array([max(x * w, 0) for x, w in zip(inputs[t], weight[o], strict=True)])
        if parts.sum():
            found[t] += relevance[t, o] * parts / parts.sum()
    return found


def loop_product(relevance: np.ndarray, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both factors of (I, J) @ (J, K): each term l r of an entry has l r / entry of its relevance, half for each."""
    of_left, of_right, whole = np.zeros_like(left), np.zeros_like(right), left @ right
    for i, j, k in np.ndindex(*left.shape, right.shape[1]):
        part = relevance[i, k] * left[i, j] * right[j, k] / whole[i, k] / 2
        of_left[i, j] += part
        of_right[j, k] += part
    return of_left, of_right


def loop_sum(relevance: np.ndarray, one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = relevance * one / (one + other), relevance * other / (one + other)
    size = abs(a.sum()) + abs(b.sum())
    return tuple(p * (abs(p.sum()) / size * relevance.sum() / p.sum()) for p in (a, b))


def test_the_rule_of_linear_layers_by_hand():
    """Output 1 takes 2 of 1*2 + (-1)*(-3), output 2 only the first input's: the second contributes -1."""
    relevance, inputs = torch.tensor([[10.0, 4.0]]), torch.tensor([[1.0, -1.0]])
    weight = torch.tensor([[2.0, -3.0], [5.0, 1.0]])
    assert through_linear(relevance, inputs, weight).tolist() == [[10 * 2 / 5 + 4, 10 * 3 / 5]]


def test_the_rule_of_products_by_hand():
    """1*3 + 2*(-1) = 1: the terms have 3 and -2 of the relevance, half for each factor."""
    left, right = through_product(torch.tensor([[4.0]]), torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [-1.0]]))
    assert left.tolist() == [[6.0, -4.0]] and right.tolist() == [[6.0], [-4.0]]


def test_the_rule_of_skip_connections_by_hand():
    """Shares are (4, 2) and (-1, 4), which sum to 6 and 3 of 9: nothing to scale. With (4, -10) and (-1, 16) the sums
    are -6 and 15 for a relevance of 9: the sizes 6/21 and 15/21 of it are left."""
    relevance, one = torch.tensor([[3.0, 6.0]]), torch.tensor([[4.0, 1.0]])
    first, second = through_sum(relevance, one, torch.tensor([[-1.0, 2.0]]))
    assert torch.allclose(first, torch.tensor([[4.0, 2.0]])) and torch.allclose(second, torch.tensor([[-1.0, 4.0]]))
    first, second = through_sum(relevance, torch.tensor([[4.0, -5.0]]), torch.tensor([[-1.0, 8.0]]))
    assert torch.allclose(first, torch.tensor([[-4.0, 10.0]]) * 9 / 21)
    assert torch.allclose(second, torch.tensor([[-1.0, 16.0]]) * 9 / 21)


def test_rules_agree_with_loops():
    relevance, inputs, weight = drawn(4, 3), drawn(4, 5, seed=1), drawn(3, 5, seed=2)
    ours = through_linear(relevance, inputs, weight)
    np.testing.assert_allclose(ours, loop_linear(relevance.numpy(), inputs.numpy(), weight.numpy()), atol=1e-12)
    relevance, left, right = drawn(2, 4, 3), drawn(2, 4, 5, seed=1), drawn(2, 5, 3, seed=2)
    for n in range(2):
        ours = [part[n] for part in through_product(relevance, left, right)]
        loop = loop_product(relevance[n].numpy(), left[n].numpy(), right[n].numpy())
        for mine, theirs in zip(ours, loop, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-10)
    relevance, one, other = drawn(2, 4, 3), drawn(2, 4, 3, seed=1), drawn(2, 4, 3, seed=2)
    for n in range(2):
        ours = [part[n] for part in through_sum(relevance, one, other)]
        for mine, theirs in zip(ours, loop_sum(*(x[n].numpy() for x in (relevance, one, other))), strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_every_rule_keeps_the_sum_of_every_sample(seed):
    relevance = drawn(3, 4, 6, seed=seed)
    sums = relevance.sum((1, 2))
    assert torch.allclose(through_linear(relevance, drawn(3, 4, 9, seed=7), drawn(6, 9, seed=8)).sum((1, 2)), sums)
    parts = through_product(relevance, drawn(3, 4, 5, seed=7), drawn(3, 5, 6, seed=8))
    for part in parts:
        assert torch.allclose(part.sum((1, 2)), sums / 2, atol=1e-8)
    parts = through_sum(relevance, drawn(3, 4, 6, seed=7), drawn(3, 4, 6, seed=8))
    assert torch.allclose(sum(part.sum((1, 2)) for part in parts), sums, atol=1e-8)
    tokens = drawn(3, 4, 6, seed=7)
    for pool in (lambda x: x[:, 0], lambda x: x.mean(1), lambda x: x.amax(1), lambda x: (x.amax(1) + x.mean(1)) / 2):
        pooled = through_pool(relevance[:, 0], tokens, pool)
        assert torch.allclose(pooled.sum((1, 2)), relevance[:, 0].sum(1), atol=1e-8)


def test_a_vanishing_denominator_loses_its_part_and_spoils_nothing():
    """The first output has no positive contribution, as the rule says: its relevance goes nowhere."""
    relevance, inputs = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 1.0]])
    assert through_linear(relevance, inputs, torch.tensor([[-1.0, -2.0], [1.0, 1.0]])).tolist() == [[1.0, 1.0]]
    assert through_sum(torch.ones(1, 2), torch.tensor([[1.0, 1.0]]), torch.tensor([[-1.0, 1.0]]))[0].isfinite().all()


# The whole method ----------------------------------------------------------------------------------------------------


def loop_relevances(seen, target: int) -> list[np.ndarray]:
    """Relevance (heads, T, T) of every block's attention map, from the arrays of a pass by hand."""
    net, found = seen.net, []
    start = np.eye(len(seen.logits))[target][None]
    of_pooled = loop_linear(start, seen.read[None], net.head.weight.numpy())[0]
    relevance = np.zeros_like(seen.tokens)
    first = 0 if net.global_pool == "token" or net.pool_include_prefix else net.num_prefix_tokens
    pooled = seen.tokens[first:]
    for d, value in enumerate(seen.pooled):
        share = np.zeros(len(pooled))
        if net.global_pool == "token":
            share[0] = 1
        if net.global_pool in ("avg", "avgmax"):
            share += pooled[:, d] / len(pooled) / value * (0.5 if net.global_pool == "avgmax" else 1)
        if net.global_pool in ("max", "avgmax"):
            top = pooled[:, d].argmax()
            share[top] += pooled[top, d] / value * (0.5 if net.global_pool == "avgmax" else 1)
        relevance[first:, d] = share * of_pooled[d]
    for block, s in zip(reversed(net.blocks), reversed(seen.blocks), strict=True):
        skipped, branch = loop_sum(relevance, s["x"] + s["attended"], s["told"])
        branch = loop_linear(branch, s["fc2_in"], block.mlp.fc2.weight.numpy())
        relevance = skipped + loop_linear(branch, s["fc1_in"], block.mlp.fc1.weight.numpy())
        skipped, branch = loop_sum(relevance, s["x"], s["attended"])
        mixed = loop_linear(branch, s["proj_in"], block.attn.proj.weight.numpy())
        heads, joined = [], np.zeros((len(mixed), 3, 2, 6))
        for h in range(2):
            of_map, joined[:, 2, h] = loop_product(mixed[:, 6 * h : 6 * h + 6], s["map"][h], s["v"][h])
            joined[:, 0, h], of_keys = loop_product(of_map, s["q"][h], s["k"][h].T)
            joined[:, 1, h] = of_keys.T
            heads.append(of_map)
        found.insert(0, np.stack(heads))
        relevance = skipped + loop_linear(joined.reshape(len(mixed), -1), s["qkv_in"], block.attn.qkv.weight.numpy())
    return found


def relevances(net: nn.Module, images: torch.Tensor, targets: torch.Tensor, e) -> list[torch.Tensor]:
    vit = transformer_of(e)
    with torch.no_grad(), recorded(vit, modules_of_rules(vit)) as kept:
        net(images)
    return attention_relevances(vit, kept, torch.eye(3).double()[targets])


@pytest.mark.parametrize("kind", KINDS)
def test_relevances_of_attention_are_those_of_loops(kind, vit, vit_photos, vit_classes, evidence, by_hand):
    net = vit(kind)
    ours = relevances(net, vit_photos, vit_classes, evidence(net, vit_photos, vit_classes))
    for number in range(2):
        expected = loop_relevances(by_hand(net, vit_photos[number]), int(vit_classes[number]))
        for block in range(3):
            size = np.abs(expected[block]).max()
            np.testing.assert_allclose(ours[block][number], expected[block], atol=1e-7 * size)


@pytest.mark.parametrize("kind", ["class token", "pooled", "norms"])
def test_the_map_is_that_of_loops(kind, vit, vit_photos, vit_classes, evidence, by_hand, deviation):
    net = vit(kind)
    prefix, rows = net.num_prefix_tokens, range(6) if kind == "pooled" else [0]
    expected = []
    for image, target in zip(vit_photos[:2], vit_classes[:2].tolist(), strict=True):
        seen = by_hand(net, image)
        product = np.eye(prefix + 6)
        for block in (1, 2):
            weighted = seen.gradient(block, target) * loop_relevances(seen, target)[block]
            product = (np.maximum(weighted, 0).mean(0) + np.eye(prefix + 6)) @ product
        product -= np.eye(prefix + 6)
        expected.append(np.mean([product[row, prefix:] for row in rows], axis=0))
    ours = chefer_lrp(evidence(net, vit_photos[:2], vit_classes[:2]))
    assert ours.shape == (2, 1, 2, 3) and (ours >= 0).all()
    assert deviation(ours, np.stack(expected)) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_the_sum_of_relevance_reaches_the_first_block(kind, vit, vit_photos, vit_classes, evidence):
    """One per image into every block; no unit of so many inputs is without any positive contribution."""
    net = vit(kind, 48)
    found = transformer_of(evidence(net, vit_photos, vit_classes))
    with torch.no_grad(), recorded(found, modules_of_rules(found)) as kept:
        net(vit_photos)
    relevance = through_linear(torch.eye(3).double()[vit_classes], kept[net.head][0], net.head.weight)
    assert torch.allclose(relevance.sum(1), torch.ones(5).double(), atol=1e-8)
    relevance = through_pool(relevance, kept[net.norm][1], net.pool)
    for block in reversed(found.blocks):
        assert torch.allclose(relevance.sum((1, 2)), torch.ones(5).double(), atol=1e-8)
        relevance, attention = through_block(relevance, block, kept)
        assert attention.shape == (5, 2, found.layout.count, found.layout.count)
    assert torch.allclose(relevance.sum((1, 2)), torch.ones(5).double(), atol=1e-8)


def test_costs_are_counted_and_precision_is_that_of_the_rules(vit, vit_photos, vit_classes, evidence, deviation):
    e = evidence(vit(), vit_photos, vit_classes)
    exact = chefer_lrp(e)
    assert (e.runner.forwards, e.runner.backwards) == (5, 5) and exact.dtype == torch.float64
    single = chefer_lrp(evidence(vit().float(), vit_photos.float(), vit_classes))
    assert single.dtype == torch.float32 and deviation(single, exact) < 1e-2


def test_later_blocks_alone_and_other_classes(vit, vit_photos, vit_classes, evidence):
    net = vit()
    e = evidence(net, vit_photos, vit_classes)
    maps = [chefer_lrp(e, first=first) for first in (1, 2, 3)]
    assert not torch.equal(maps[0], maps[1]) and not torch.equal(maps[1], maps[2])
    assert not torch.equal(chefer_lrp(e.explaining((vit_classes + 1) % 3)), maps[1])
    with pytest.raises(XaibenchError, match="first is the block, from 1 to 3"):
        chefer_lrp(e, first=4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mlp_layer": "SwiGLU"}, "has rules for timm's Mlp, not for SwiGLU"),
        ({"gated": True}, "has no rule for gated attention"),
    ],
)
def test_parts_without_rules_are_refused(changes, message):
    import timm.layers
    from timm.models.vision_transformer import VisionTransformer

    if "mlp_layer" in changes:
        changes = {"mlp_layer": getattr(timm.layers, changes["mlp_layer"])}
    gated = changes.pop("gated", False)
    net = VisionTransformer((16, 16), 8, num_classes=3, embed_dim=12, depth=2, num_heads=2, **changes).eval()
    if gated:
        net.blocks[1].attn.gate = nn.Linear(12, 12)
    with pytest.raises(XaibenchError, match=message):
        xaibench.attribute(net, torch.zeros(1, 3, 16, 16), torch.tensor([1]), "chefer-lrp")
    assert xaibench.attribute(net, torch.zeros(1, 3, 16, 16), torch.tensor([1]), "rollout").shape == (1, 1, 16, 16)
