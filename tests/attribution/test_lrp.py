"""AttnLRP and CP-LRP: relevance written out rule by rule in NumPy, the package lxt, and what their rules promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import xaibench
from xaibench.attribution.lrp import ATTN_LRP, CP_LRP, attn_lrp, cp_lrp, propagating
from xaibench.errors import XaibenchError

KINDS = ["class token", "pooled", "registers", "all tokens pooled", "norms", "norms after"]
BOTH = {"attn-lrp": ATTN_LRP, "cp-lrp-lxt": CP_LRP}


# Rules of relevance (not of gradients), written once more in NumPy ----------------------------------------------------


def of_linear(relevance, x, weight, bias, gamma=0.0):
    """(T, I) from (T, O): shares of x w, those of the output's sign 1 + gamma times; the bias keeps its share."""
    bias = np.zeros(len(weight)) if bias is None else bias.numpy()
    parts = x[:, None, :] * weight.numpy()[None]
    sign = np.sign(parts.sum(-1) + bias)
    enlarged = parts * (1 + gamma * (np.sign(parts) == sign[..., None]))
    whole = enlarged.sum(-1) + bias * (1 + gamma * (np.sign(bias)[None] == sign))
    return (enlarged / whole[..., None] * relevance[..., None]).sum(1)


def of_norm(relevance, x, norm):
    """Of (x - mean) w / std + b, std a constant, by the shares of each x in each output."""
    if not isinstance(norm, nn.LayerNorm):
        return relevance
    width, weight, bias = x.shape[-1], norm.weight.numpy(), norm.bias.numpy()
    std = np.sqrt(((x - x.mean(-1, keepdims=True)) ** 2).mean(-1, keepdims=True) + norm.eps)
    given = (x - x.mean(-1, keepdims=True)) / std * weight + bias
    slopes = weight[:, None] * (np.eye(width) - 1 / width)  # [output, input], without std
    return x * ((relevance / given) @ slopes) / std


def of_sum(relevance, one, other):
    return relevance * one / (one + other), relevance * other / (one + other)


def of_attention(relevance, seen, attn, shares):
    """Relevance of what q, k and v are made of, from that of the mixed values (T, D): half for each factor."""
    tokens = len(seen["x"])
    relevance = relevance.reshape(tokens, 2, 6).transpose(1, 0, 2)
    raw = (seen["qkv_in"] @ attn.qkv.weight.numpy().T + attn.qkv.bias.numpy()).reshape(tokens, 3, 2, 6)
    found = np.zeros_like(raw)
    for head in range(2):
        q, k, v, weights = (seen[name][head] for name in ("q", "k", "v", "map"))
        part = relevance[head] / (weights @ v)
        if shares == CP_LRP:
            found[:, 2, head] = v * (weights.T @ part)
            continue
        found[:, 2, head] = v * (weights.T @ part) / 2
        of_weights = weights * (part @ v.T) / 2
        scores = q @ k.T / np.sqrt(6)
        of_scores = scores * (of_weights - weights * of_weights.sum(1, keepdims=True))
        of_q = q * ((of_scores / (q @ k.T)) @ k) / 2
        of_k = k * ((of_scores / (q @ k.T)).T @ q) / 2
        found[:, 0, head] = of_norm(of_q, raw[:, 0, head], attn.q_norm)
        found[:, 1, head] = of_norm(of_k, raw[:, 1, head], attn.k_norm)
    return of_linear(found.reshape(tokens, -1), seen["qkv_in"], attn.qkv.weight, attn.qkv.bias)


def of_branch(relevance, block, which, made):
    """Before the norm of a post-norm block; scales pass relevance on."""
    after = type(block).__name__ == "ResPostBlock"
    return of_norm(relevance, made, getattr(block, f"norm{which}")) if after else relevance


def of_block(relevance, block, seen, gamma, shares):
    after = type(block).__name__ == "ResPostBlock"
    mlp, attn = block.mlp, block.attn
    middle = seen["x"] + seen["attended"]
    rest, told = of_sum(relevance, middle, seen["told"])
    told = of_branch(told, block, 2, seen["fc2_in"] @ mlp.fc2.weight.numpy().T + mlp.fc2.bias.numpy())
    told = of_linear(told, seen["fc2_in"], mlp.fc2.weight, mlp.fc2.bias, gamma)
    hidden = seen["fc1_in"] @ mlp.fc1.weight.numpy().T + mlp.fc1.bias.numpy()
    erf = torch.special.erf(torch.from_numpy(hidden / np.sqrt(2))).numpy()
    told = of_norm(told, hidden * (1 + erf) / 2, mlp.norm)  # then the identity rule of GELU
    told = of_linear(told, seen["fc1_in"], mlp.fc1.weight, mlp.fc1.bias, gamma)
    relevance = rest + (told if after else of_norm(told, middle, block.norm2))
    rest, attended = of_sum(relevance, seen["x"], seen["attended"])
    attended = of_branch(attended, block, 1, seen["proj_in"] @ attn.proj.weight.numpy().T + attn.proj.bias.numpy())
    attended = of_linear(attended, seen["proj_in"], attn.proj.weight, attn.proj.bias)
    mixed = np.concatenate([m @ v for m, v in zip(seen["map"], seen["v"], strict=True)], 1)
    attended = of_attention(of_norm(attended, mixed, attn.norm), seen, attn, shares)
    return rest + (attended if after else of_norm(attended, seen["x"], block.norm1))


def relevance_by_hand(net, image, target, gamma_patches, gamma_linear, shares, by_hand):
    """(C, H, W): relevance of an image's pixels."""
    seen = by_hand(net, image)
    start = np.zeros((1, len(seen.logits)))
    start[0, target] = seen.logits[target]
    read = of_linear(start, seen.read[None], net.head.weight, net.head.bias, gamma_linear)[0]
    pooled = of_norm(read[None], seen.pooled[None], net.fc_norm)[0]
    relevance = np.zeros_like(seen.tokens)
    if net.global_pool == "token":
        relevance[0] = pooled
    else:
        first = 0 if net.pool_include_prefix else net.num_prefix_tokens
        relevance[first:] = pooled * seen.tokens[first:] / seen.tokens[first:].sum(0)
    last = seen.blocks[-1]
    relevance = of_norm(relevance, last["x"] + last["attended"] + last["told"], net.norm)
    for block, made in zip(reversed(net.blocks), reversed(seen.blocks), strict=True):
        relevance = of_block(relevance, block, made, gamma_linear, shares)
    prefix, conv = net.num_prefix_tokens, net.patch_embed.proj
    flat, bias = conv.weight.flatten(1), None if conv.bias is None else conv.bias
    rows = [image[:, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8].flatten().numpy() for r in range(2) for c in range(3)]
    patches = np.array(rows)
    embedded = patches @ flat.numpy().T + (0 if bias is None else bias.numpy())
    position = net.pos_embed.numpy()[0][-len(patches) :]
    relevance = of_norm(relevance[prefix:], embedded + position, net.norm_pre)
    relevance, _ = of_sum(relevance, embedded, position)
    relevance = of_linear(relevance, patches, flat, bias, gamma_patches)
    found = np.zeros(tuple(image.shape))
    for number, part in enumerate(relevance):
        r, c = divmod(number, 3)
        found[:, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8] = part.reshape(3, 8, 8)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", [attn_lrp, cp_lrp])
def test_relevance_is_that_of_the_rules_by_hand(kind, method, vit, vit_photos, vit_classes, evidence, by_hand):
    net, gammas = vit(kind), (0.25, 0.05) if kind != "pooled" else (3.0, 0.7)
    found = method(evidence(net, vit_photos[:2], vit_classes[:2]), *gammas)
    shares = ATTN_LRP if method is attn_lrp else CP_LRP
    for image, target, maps in zip(vit_photos, vit_classes.tolist(), found, strict=False):
        expected = relevance_by_hand(net, image, target, *gammas, shares, by_hand)
        np.testing.assert_allclose(maps.numpy(), expected, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("gammas", ["plain", "paper", "large"])
def test_cp_lrp_is_that_of_the_package_lxt(gammas, oracles, deviation):
    patches, linear = oracles.GAMMAS[gammas]
    maps = xaibench.attribute(
        oracles.torchvision_vit(), oracles.images(), oracles.TARGETS, "cp-lrp-lxt", gamma_patches=patches,
        gamma_linear=linear,
    )  # fmt: skip
    assert deviation(maps, oracles.recorded()[f"cp-lrp, {gammas} gammas"]) < 1e-6


# What the rules promise ----------------------------------------------------------------------------------------------


def bias_free(vit, kind: str = "pooled") -> nn.Module:
    """A transformer whose logits are the sum of what its patches contribute: no biases, class token and positions."""
    net = vit(kind)
    for name, parameter in net.named_parameters():
        if "bias" in name or name in ("pos_embed", "cls_token"):
            parameter.data.zero_()
    return net


@pytest.mark.parametrize("gammas", [(0.0, 0.0), (0.25, 0.05), (100.0, 1.0)])
def test_without_biases_cp_lrp_adds_up_to_the_logit(gammas, vit, vit_photos, vit_classes, evidence):
    e = evidence(bias_free(vit), vit_photos, vit_classes)
    logits = e.logits().gather(1, vit_classes[:, None])[:, 0]
    sums = cp_lrp(e, *gammas).sum((1, 2, 3))
    assert torch.allclose(sums, logits, rtol=1e-3, atol=1e-4) and logits.abs().min() > 0.05
    assert not torch.allclose(attn_lrp(e, *gammas).sum((1, 2, 3)), logits, rtol=0.05)  # the softmax keeps a part


@pytest.mark.parametrize("method", [attn_lrp, cp_lrp])
def test_on_a_linear_network_gamma_0_is_input_times_gradient(method, pictures, evidence):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Identity(), nn.Flatten(), nn.Linear(16, 5)).double().eval()
    e = evidence(net, pictures, torch.tensor([0, 1, 2, 3]))
    assert torch.allclose(method(e, 0.0, 0.0), e.inputs * e.gradient(), atol=1e-14)
    assert not torch.allclose(method(e, 0.25, 0.05), e.inputs * e.gradient(), atol=1e-3)


@pytest.mark.parametrize("method", sorted(BOTH))
def test_fused_attention_and_torchs_own_make_no_difference(method, oracles, deviation):
    """One network three times: torchvision's, timm's with fused attention, and timm's step by step."""
    other, images = oracles.torchvision_vit(), oracles.images()
    net = as_timm(other)
    assert torch.allclose(net(images), other(images), atol=1e-12)
    expected = xaibench.attribute(other, images, oracles.TARGETS, method)
    for fused in (True, False):
        for block in net.blocks:
            block.attn.fused_attn = fused
        assert deviation(xaibench.attribute(net, images, oracles.TARGETS, method), expected) < 1e-9


def as_timm(other: nn.Module) -> nn.Module:
    """torchvision's transformer of `oracles.py` with the parts of timm's."""
    from timm.models.vision_transformer import VisionTransformer

    net = VisionTransformer(16, 8, num_classes=3, embed_dim=8, depth=2, num_heads=2, mlp_ratio=1.5).double().eval()
    state = {
        "cls_token": other.class_token, "pos_embed": other.encoder.pos_embedding,
        "patch_embed.proj.weight": other.conv_proj.weight, "patch_embed.proj.bias": other.conv_proj.bias,
        "norm.weight": other.encoder.ln.weight, "norm.bias": other.encoder.ln.bias,
        "head.weight": other.heads.head.weight, "head.bias": other.heads.head.bias,
    }  # fmt: skip
    pairs = {
        "norm1": "ln_1", "norm2": "ln_2", "attn.proj": "self_attention.out_proj", "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.3"
    }  # fmt: skip
    for number, block in enumerate(other.encoder.layers):
        for kind in ("weight", "bias"):
            state[f"blocks.{number}.attn.qkv.{kind}"] = getattr(block.self_attention, f"in_proj_{kind}")
            for ours, theirs in pairs.items():
                state[f"blocks.{number}.{ours}.{kind}"] = getattr(block.get_submodule(theirs), kind)
    net.load_state_dict(state)
    return net.requires_grad_(False)


@pytest.mark.parametrize("shares", BOTH.values(), ids=BOTH)
def test_logits_are_those_of_the_network_and_the_network_is_left_as_it_was(shares, vit, vit_photos):
    net = vit("norms")
    before = net(vit_photos)
    with propagating(net, 0.25, 0.05, shares):
        assert torch.equal(net(vit_photos), before)
    with pytest.raises(ZeroDivisionError), propagating(net, 0.25, 0.05, shares):
        raise ZeroDivisionError
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_one_forward_and_one_backward_pass_whatever_the_chunk(vit, vit_photos, vit_classes, evidence):
    e, alone = (evidence(vit(), vit_photos, vit_classes, chunk=c) for c in (5, 1))
    maps = attn_lrp(e)
    assert (e.runner.forwards, e.runner.backwards) == (5, 5)
    assert torch.allclose(attn_lrp(alone), maps, atol=1e-10)


# Refused -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", sorted(BOTH))
def test_parts_without_rules_are_refused(method):
    import timm.layers
    from timm.models.vision_transformer import VisionTransformer

    def refused(net: nn.Module, what: str) -> None:
        with pytest.raises(XaibenchError, match=what):
            xaibench.attribute(net.eval(), torch.zeros(1, 3, 16, 16), torch.tensor([1]), method, family="vit")
        assert not any(m._forward_hooks for m in net.modules())

    def small(**changes) -> nn.Module:
        return VisionTransformer((16, 16), 8, num_classes=3, embed_dim=12, depth=2, num_heads=2, **changes)

    refused(small(mlp_layer=timm.layers.SwiGLU), "plain vision transformers .*, not for SwiGLU")
    refused(small(class_token=False, global_pool="map"), "not for AttentionPoolLatent")
    gated = small()
    gated.blocks[1].attn.gate = nn.Linear(12, 12)
    refused(gated, "has no rule for gated attention")
    placed = small()
    placed.blocks[0].mlp.act = nn.SiLU(inplace=True)
    refused(placed, "no rule for SiLU, which works in place")
    channels = timm.layers.LayerNorm2d(4)  # a LayerNorm, but over other axes
    refused(nn.Sequential(nn.Conv2d(3, 4, 8, 8), channels, nn.Flatten()), "not for LayerNorm2d")
    refused(nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.BatchNorm2d(4), nn.Flatten()), "not for BatchNorm2d")


@pytest.mark.parametrize("gamma", [-0.1, float("inf"), float("nan")])
def test_a_gamma_is_a_number_from_0(gamma, vit, vit_photos, vit_classes):
    for name in ("gamma_patches", "gamma_linear"):
        with pytest.raises(XaibenchError, match=f"{name} is a number from 0"):
            xaibench.attribute(vit(), vit_photos, vit_classes, "attn-lrp", **{name: gamma})
