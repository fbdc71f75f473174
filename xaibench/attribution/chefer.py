"""CheferLRP: relevance of attention times its gradient, followed through a vision transformer's blocks.

Chefer, Gur & Wolf, CVPR 2021 (Transformer Interpretability Beyond Attention Visualization).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xaibench.attribution.attention import Kept, Transformer, maps_of, recorded, transformer_of
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.relevance import through_linear, through_pool, through_product, through_sum
from xaibench.attribution.rollout import flow
from xaibench.errors import XaibenchError
from xaibench.models.clip import UnitLength
from xaibench.models.outputs import two_sided


def chefer_lrp(e: Evidence, first: int = 2) -> Tensor:
    """Per block the mean over heads of the positive part of gradient x relevance of attention, plus the identity.

    Rows are not normalised. The product begins with the block number `first`; the map are its rows that the head reads,
    minus the identity, which for pooled tokens would add the same to all patches, far more than the rest. One forward
    and one backward pass; relevance is propagated in double precision, which takes the time of about eight forward
    passes more and is not counted.
    """
    vit, inputs = transformer_of(e), e.inputs
    check_rules(vit)
    modules = [*vit.attention, *modules_of_rules(vit)]

    def step(index: Tensor) -> Tensor:
        with torch.enable_grad(), recorded(vit, modules) as kept:
            logits = e.runner.call(inputs[index].detach().requires_grad_())
            maps = maps_of(vit, kept, len(index))
            gradients = torch.autograd.grad(e.objective(logits, index).sum(), maps)
        with torch.no_grad():  # the recording is over: the head's modules run once more
            vit.check_head(vit.of_own(kept[vit.blocks[-1]][1]), logits)
            start = F.one_hot(e.targets[index], logits.shape[1]).double()
            own = {module: (vit.of_own(taken), vit.of_own(given)) for module, (taken, given) in kept.items()}
            slopes = [vit.of_own(gradient).double() for gradient in gradients]
            relevances = attention_relevances(vit, own, start)
            weighted = [(g * r).clamp(min=0).mean(1) for g, r in zip(slopes, relevances, strict=True)]
            matrices = torch.stack(weighted, 1)
            same = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
            return vit.patches_read(flow(matrices + same, first) - same)

    rows = torch.cat([part for _, part in e.runner.stream(len(inputs), step, inputs.device)])
    return vit.placed(rows[:, None].to(inputs.dtype))


def check_rules(vit: Transformer) -> None:
    """Raises XaibenchError for transformers with parts that there are no rules for."""
    from timm.layers import Mlp
    from timm.models.vision_transformer import Attention, Block, ResPostBlock

    if vit.of_torchvision:
        raise XaibenchError("has rules for the vision transformers of timm, not for torchvision's")
    head = getattr(vit.net, "head", None)
    if not _linear_layers(head):
        raise XaibenchError(f"has rules for a linear head of the transformer, not for {type(head).__name__}")
    for block in vit.blocks:
        for part, known in ((block, (Block, ResPostBlock)), (block.attn, (Attention,)), (block.mlp, (Mlp,))):
            if type(part) not in known:
                names = " and ".join(kind.__name__ for kind in known)
                raise XaibenchError(f"has rules for timm's {names}, not for {type(part).__name__}")
        if getattr(block.attn, "gate", None) is not None:
            raise XaibenchError("has no rule for gated attention")


def modules_of_rules(vit: Transformer) -> list[nn.Module]:
    """The modules whose inputs or outputs `attention_relevances` needs."""
    found = [vit.net.norm, *_linear_layers(vit.net.head)]
    for block in vit.blocks:
        attn, mlp = block.attn, block.mlp
        found += [block, block.drop_path1, block.drop_path2, mlp.fc1, mlp.fc2]
        found += [attn.qkv, attn.q_norm, attn.k_norm, attn.attn_drop, attn.proj]
    return found


def _linear_layers(head: nn.Module | None) -> list[nn.Linear]:
    """The linear layers of a head, the first first: itself, or those of CLIP's, which brings vectors to unit length in
    between; none for other heads."""
    parts = list(head) if type(head) is nn.Sequential else [head]
    linear = [part for part in parts if type(part) is nn.Linear]
    return linear if all(type(part) in (nn.Linear, UnitLength) for part in parts) else []


def attention_relevances(vit: Transformer, kept: Kept, start: Tensor) -> list[Tensor]:
    """Relevance (N, heads, T, T), double, of the attention map of every block, the first block first.

    kept are the recorded modules of a pass, start (N, K) is the relevance of the logits; its sum reaches each block.
    """
    last, *before = reversed(_linear_layers(vit.net.head))
    relevance = through_linear(start, _taken(kept, last), two_sided(last.weight, 0).double())
    for layer in before:
        relevance = through_linear(relevance, _taken(kept, layer), layer.weight.double())
    relevance = through_pool(relevance, _given(kept, vit.net.norm), vit.net.pool)
    found: list[Tensor] = []
    for block in reversed(vit.blocks):
        relevance, attention = through_block(relevance, block, kept)
        found.insert(0, attention)
    return found


def through_block(relevance: Tensor, block: nn.Module, kept: Kept) -> tuple[Tensor, Tensor]:
    """Relevance of a block's input (N, T, D) and of its attention map (N, heads, T, T) from that of its output."""
    attended, rest = _given(kept, block.drop_path1), _taken(kept, block)
    skipped, branch = through_sum(relevance, rest + attended, _given(kept, block.drop_path2))
    branch = through_linear(branch, _taken(kept, block.mlp.fc2), block.mlp.fc2.weight.double())
    relevance = skipped + through_linear(branch, _taken(kept, block.mlp.fc1), block.mlp.fc1.weight.double())
    skipped, branch = through_sum(relevance, rest, attended)
    branch, attention = through_attention(branch, block.attn, kept)
    return skipped + branch, attention


def through_attention(relevance: Tensor, attn: nn.Module, kept: Kept) -> tuple[Tensor, Tensor]:
    """Relevance of what attention took (N, T, D) and of its map (N, heads, T, T) from that of what it gave."""
    heads = attn.num_heads
    q, k, attention = (_given(kept, module) for module in (attn.q_norm, attn.k_norm, attn.attn_drop))
    v = _given(kept, attn.qkv).unflatten(2, (3, heads, -1))[:, :, 2].transpose(1, 2)
    mixed = through_linear(relevance, _taken(kept, attn.proj), attn.proj.weight.double())
    mixed = mixed.unflatten(2, (heads, -1)).transpose(1, 2)
    of_map, of_v = through_product(mixed, attention, v)
    of_q, of_k = through_product(of_map, q, k.mT)
    joined = torch.stack([of_q, of_k.mT, of_v], 1).permute(0, 3, 1, 2, 4).flatten(2)
    return through_linear(joined, _taken(kept, attn.qkv), attn.qkv.weight.double()), of_map


def _taken(kept: Kept, module: nn.Module) -> Tensor:
    return kept[module][0].detach().double()


def _given(kept: Kept, module: nn.Module) -> Tensor:
    return kept[module][1].detach().double()
