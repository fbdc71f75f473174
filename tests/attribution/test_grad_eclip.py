"""Grad-ECLIP against its formula, written out on a pass in NumPy and on one of torch alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import xaibench
from xaibench.attribution.grad_eclip import grad_eclip
from xaibench.errors import XaibenchError


def slopes_of_mixed(seen, target: int) -> np.ndarray:
    """Gradient (D,) of a logit on what the last attention gives the class token, before norm and projection: that of a
    value that only the class token sees, by central differences."""
    block, last, step = seen.net.blocks[-1], seen.blocks[-1], 1e-5
    mixed = np.concatenate([m @ v for m, v in zip(last["map"], last["v"], strict=True)], 1)
    found = np.zeros(mixed.shape[1])
    for place in range(mixed.shape[1]):
        for sign in (1, -1):
            changed = torch.from_numpy(mixed.copy())[None]
            changed[0, 0, place] += sign * step
            attended = block.ls1(block.attn.proj(block.attn.norm(changed)))
            x = torch.from_numpy(last["x"])[None] + attended
            x = x + block.ls2(block.mlp(block.norm2(x)))
            found[place] += sign * float(seen.net.forward_head(seen.net.norm(x))[0, target]) / (2 * step)
    return found


@pytest.mark.parametrize("kind", ["class token", "registers", "norms"])
def test_maps_are_those_of_the_formula(kind, vit, vit_photos, evidence, by_hand):
    net = vit(kind) if kind != "registers" else class_token_and_registers(vit)
    seen, prefix = by_hand(net, vit_photos[0]), net.num_prefix_tokens
    last = seen.blocks[-1]
    q, k, v = (last[name].transpose(1, 0, 2).reshape(len(last["x"]), -1) for name in ("q", "k", "v"))
    cosines = k[prefix:] @ q[0] / np.linalg.norm(k[prefix:], axis=1) / np.linalg.norm(q[0])
    similarity = (cosines - cosines.min()) / (cosines.max() - cosines.min())
    largest = 0.0
    for target in range(3):
        expected = np.clip((v[prefix:] * slopes_of_mixed(seen, target)).sum(1) * similarity, 0, None)
        found = grad_eclip(evidence(net, vit_photos[:1], [target]))[0, 0]
        np.testing.assert_allclose(found.flatten(), expected, atol=1e-7 * max(1, expected.max()))
        largest = max(largest, expected.max())
    assert largest > 1e-2


def class_token_and_registers(vit) -> nn.Module:
    net = vit("registers")
    assert net.global_pool == "token" and net.num_prefix_tokens == 5
    return net


def test_the_authors_form_has_one_head_and_projected_keys(vit, vit_photos, vit_classes, evidence):
    """The last block once more in plain torch, one head wide."""
    net = vit()
    x = net.norm_pre(net.patch_drop(net._pos_embed(net.patch_embed(vit_photos))))
    for block in net.blocks[:-1]:
        x = block(x)
    block = net.blocks[-1]
    q, k, v = block.attn.qkv(block.norm1(x)).chunk(3, -1)
    mixed = ((q @ k.mT / np.sqrt(12)).softmax(-1) @ v).detach().requires_grad_()
    y = x + block.attn.proj(mixed)
    logits = net.forward_head(net.norm(y + block.mlp(block.norm2(y))))
    (gradient,) = torch.autograd.grad(logits.gather(1, vit_classes[:, None]).sum(), mixed)
    q, k = block.attn.proj(q), block.attn.proj(k)
    cosines = torch.cosine_similarity(q[:, :1], k[:, 1:], dim=-1)
    cosines = cosines - cosines.amin(1, keepdim=True)
    similarity = cosines / cosines.amax(1, keepdim=True)
    expected = ((gradient[:, :1] * v[:, 1:]).sum(-1) * similarity).relu().unflatten(1, (2, 3))
    e = evidence(net, vit_photos, vit_classes)
    assert torch.allclose(grad_eclip(e, one_head=True)[:, 0], expected, atol=1e-10) and expected.any()
    assert not torch.allclose(grad_eclip(e)[:, 0], expected, rtol=0.1, atol=1e-4)
    assert all((b.attn.num_heads, b.attn.head_dim) == (2, 6) for b in net.blocks)


def test_cost_and_chunks(vit, vit_photos, vit_classes, evidence):
    e, alone = (evidence(vit(), vit_photos, vit_classes, chunk=c) for c in (5, 1))
    maps = grad_eclip(e)
    assert (e.runner.forwards, e.runner.backwards) == (5, 5)
    assert torch.allclose(grad_eclip(alone), maps, atol=1e-12)


def beit() -> nn.Module:
    from timm.models.beit import Beit

    torch.manual_seed(0)
    net = Beit(16, 8, num_classes=3, embed_dim=12, depth=2, num_heads=2, global_pool="token").eval()
    return net


def test_other_heads_are_refused(vit, vit_photos, vit_classes):
    with pytest.raises(XaibenchError, match="needs a head that reads the class token"):
        xaibench.attribute(vit("pooled"), vit_photos, vit_classes, "grad-eclip")
    with pytest.raises(XaibenchError, match=r"Attention of timm's ViT, not timm\.models\.beit\.Attention"):
        xaibench.attribute(beit(), torch.zeros(1, 3, 16, 16), [1], "grad-eclip")
    with pytest.raises(XaibenchError, match="with one head only where queries and keys"):
        xaibench.attribute(vit("norms"), vit_photos, vit_classes, "grad-eclip-code")
