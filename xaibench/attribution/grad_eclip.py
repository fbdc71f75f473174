"""Grad-ECLIP: the values of the last attention, weighted by the gradient at the class token and by similarity of keys.

Zhao et al., ICML 2024 (Gradient-based Visual Explanation for Transformer-based CLIP).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xaibench.attribution.attention import Kept, Transformer, maps_of, recorded, transformer_of
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.relevance import quotient
from xaibench.errors import XaibenchError


def grad_eclip(e: Evidence, one_head: bool = False) -> Tensor:
    """(P, 1, h, w): the positive part of the sum over channels of gradient x value x similarity, for every patch.

    The gradient is that of the score on what the last attention gives the class token, before its projection; the
    similarity is the cosine of the class token's query and a patch's key, over all heads, scaled to [0, 1] within the
    image. one_head computes the last attention with one head, and takes cosines of projected queries and keys, as the
    authors' code does. One forward and one backward pass. Raises XaibenchError for heads that read no class token.
    """
    from timm.models.vision_transformer import Attention

    vit, inputs = transformer_of(e), e.inputs
    if vit.read != slice(0, 1) or vit.layout.prefix < 1:
        raise XaibenchError("needs a head that reads the class token; this one pools the tokens of patches")
    if one_head and vit.of_torchvision:
        raise XaibenchError("computes the attention of timm's transformers with one head, not torchvision's")
    block, taps = vit.blocks[-1], vit.taps[-1]
    if not vit.of_torchvision and type(block.attn) is not Attention:
        kind = type(block.attn)
        raise XaibenchError(f"reads the parts of the Attention of timm's ViT, not {kind.__module__}.{kind.__name__}")
    modules = dict.fromkeys([*vit.attention, taps.qkv, taps.query, taps.key, taps.mixed])

    def step(index: Tensor) -> Tensor:
        changed = _with_one_head(block.attn) if one_head else nullcontext()
        with torch.enable_grad(), changed, recorded(vit, modules) as kept:
            logits = e.runner.call(inputs[index].detach().requires_grad_())
            maps_of(vit, kept, len(index))
            (gradient,) = torch.autograd.grad(e.objective(logits, index).sum(), kept[taps.mixed][0])
        values = vit.of_own(kept[taps.qkv][1].detach()).chunk(3, -1)[2]
        q, k = (_joined(vit, kept, tap, block.attn.proj if one_head else None) for tap in (taps.query, taps.key))
        patches = slice(vit.layout.prefix, None)
        similarity = F.cosine_similarity(q[:, :1], k[:, patches], dim=-1)
        low, high = similarity.amin(1, keepdim=True), similarity.amax(1, keepdim=True)
        products = (vit.of_own(gradient)[:, :1] * values[:, patches]).sum(-1)
        return (products * quotient(similarity - low, high - low)).clamp(min=0).to(inputs.dtype)

    found = torch.cat([part for _, part in e.runner.stream(len(inputs), step, inputs.device)])
    return vit.placed(found.unflatten(1, vit.layout.grid)[:, None])


def _joined(vit: Transformer, kept: Kept, tap: nn.Module, projection: nn.Module | None) -> Tensor:
    """Queries or keys (N, T, D), their heads side by side, projected as the values are where a projection is given."""
    joined = vit.of_own(kept[tap][1].detach()).transpose(1, 2).flatten(2)
    return joined if projection is None else projection(joined)


@contextmanager
def _with_one_head(attn: nn.Module) -> Iterator[None]:
    """While active, an attention of timm has one head of its whole width."""
    before = attn.num_heads, attn.head_dim, attn.scale
    width = attn.num_heads * attn.head_dim
    if any(not isinstance(norm, nn.Identity) for norm in (attn.q_norm, attn.k_norm)):
        raise XaibenchError("computes attention with one head only where queries and keys of heads are not normalised")
    try:
        attn.num_heads, attn.head_dim, attn.scale = 1, width, width**-0.5
        yield
    finally:
        attn.num_heads, attn.head_dim, attn.scale = before
