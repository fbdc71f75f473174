"""The attention of a vision transformer: its maps, their gradients, and the inputs of its modules.

Attention maps are (N, heads, T, T): the row of a token has its weights on all tokens, after the softmax, so rows sum to
one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from xaibench.attribution.evidence import Evidence
from xaibench.attribution.reach import uncounted
from xaibench.errors import XaibenchError
from xaibench.models.disconnected import Disconnected, joined
from xaibench.models.outputs import two_sided
from xaibench.models.tokens import (
    Layout,
    layout_of,
    plain_transformer_in,
    tokens_read,
    torchvision_transformer_in,
    transformer_in,
)
from xaibench.seeds import generator, normal

Kept = dict[nn.Module, tuple[Tensor, Tensor]]
"""Input and output of each recorded module."""
ROUNDING = 0.05  # relative; more than what reduced precision changes


@dataclass(frozen=True)
class Taps:
    """Modules that what attention computes passes through.

    qkv gives queries, keys and values side by side (N, T, 3 D), query and key give them by head (N, heads, T, D /
    heads), weights gives the maps (N, heads, T, T), and mixed takes the values mixed by them (N, T, D).
    """

    qkv: nn.Module
    query: nn.Module
    key: nn.Module
    weights: nn.Module
    mixed: nn.Module


@dataclass(frozen=True)
class Transformer:
    """A vision transformer of timm or torchvision whose attention can be read, with the layout of its tokens and those
    the head reads; blocks, the first first, with the taps of each one's attention.

    If its input is a grid whose cells are processed one by one (`Disconnected`), there are `cells` per side, and only
    the result for the cell number `own` is used.
    """

    net: nn.Module
    layout: Layout
    read: slice
    blocks: tuple[nn.Module, ...]
    taps: tuple[Taps, ...]
    cells: int = 1
    own: int = 0

    @property
    def attention(self) -> list[nn.Module]:
        """The module of each block that attention maps (N, heads, T, T) pass through."""
        return [tap.weights for tap in self.taps]

    @property
    def of_torchvision(self) -> bool:
        """Whether it is torchvision's, whose attention is that of torch."""
        return hasattr(self.net, "encoder")

    def head(self, tokens: Tensor, pooled: bool = True) -> Tensor:
        """Logits (N, K) of tokens (N, T, D) as the last block gives them: normalised, pooled, and classified.

        pooled=False takes the mean of all tokens in place of the network's own pooling, before the normalisation.
        """
        if not self.of_torchvision and not all(hasattr(self.net, part) for part in ("norm", "head", "forward_head")):
            raise XaibenchError(f"needs a transformer with a norm and a head of its own, not {type(self.net).__name__}")
        tokens = tokens if pooled else tokens.mean(1, keepdim=True)
        if self.of_torchvision:
            return two_sided(self.net.heads(self.net.encoder.ln(tokens)[:, 0]))
        normed = self.net.norm(tokens)
        logits = self.net.forward_head(normed) if pooled else self.net.head(self.net.fc_norm(normed[:, 0]))
        return two_sided(logits)

    def check_head(self, last: Tensor, logits: Tensor) -> None:
        """Raises XaibenchError where logits (N, K) are not what the head makes of the last block's tokens (N, T, D), as
        where a network sorts, scales or mixes them behind it; precision that is reduced may change them a little."""
        found = self.head(last)
        if found.shape != logits.shape or (found - logits).abs().max() > ROUNDING * logits.abs().max():
            raise XaibenchError("needs logits that norm, pooling and classifier make of the last block's tokens")

    def patches_read(self, matrices: Tensor) -> Tensor:
        """The patches' entries of matrices (N, ..., T, T) in the rows that the head reads, as maps (N, ..., h, w).

        That is the row of the class token, or the mean of the rows of the tokens that are pooled.
        """
        rows = matrices[..., self.read, self.layout.prefix :].mean(-2)
        return rows.unflatten(-1, self.layout.grid)

    def of_own(self, tensor: Tensor) -> Tensor:
        """The part of the own cell (N, ...) in the result of a pass of N inputs, (N * cells², ...)."""
        return tensor.unflatten(0, (-1, self.cells**2))[:, self.own]

    def placed(self, maps: Tensor) -> Tensor:
        """Maps of the own cell (N, K, h, w) in their grid (N, K, cells * h, cells * w); the other cells, which its
        output does not depend on, are 0."""
        grid = maps.new_zeros(len(maps), self.cells**2, *maps.shape[1:])
        grid[:, self.own] = maps
        return joined(grid.flatten(0, 1), self.cells)


def transformer_of(e: Evidence) -> Transformer:
    """The vision transformer that the evidence is about; raises XaibenchError for those whose attention is neither
    timm's nor torchvision's, or is read otherwise than by a class token or by pooling."""
    whole = e.runner.net
    cells, own = (whole.cells, whole.own) if isinstance(whole, Disconnected) else (1, 0)
    vit = transformer_in(whole)
    layout = layout_of(whole, tuple(length // cells for length in e.images.shape[2:]))
    if vit is None and (other := torchvision_transformer_in(whole)) is not None:
        blocks = tuple(other.encoder.layers)
        return Transformer(other, layout, slice(0, 1), blocks, tuple(_fresh_taps() for _ in blocks), cells, own)
    if vit is None or layout is None:
        raise XaibenchError(
            "needs a vision transformer with the parts of timm's (patch_embed, blocks, attn) or torchvision's, not "
            f"{plain_transformer_in(whole) or type(whole).__name__}"
        )
    if not all(hasattr(getattr(block, "attn", None), "attn_drop") for block in vit.blocks):
        raise XaibenchError("needs one attention in each block, as timm's Block has it")
    if getattr(vit, "attn_pool", None) is not None:
        raise XaibenchError("needs a head that reads the class token or pools tokens; this one pools by attention")
    if hasattr(vit, "head_dist"):
        raise XaibenchError("needs a head that reads one class token; a distilled DeiT reads two by two heads")
    blocks = tuple(vit.blocks)
    found = Transformer(vit, layout, tokens_read(vit), blocks, tuple(_taps(b.attn) for b in blocks), cells, own)
    _check_read(found, e)
    return found


def _check_read(vit: Transformer, e: Evidence) -> None:
    """Raises XaibenchError where logits depend on other tokens of the last block than those that the transformer says
    it reads, as where a network takes the tokens of a backbone and pools them itself; looked at once."""
    key = ("tokens read", vit.own)
    if key not in e.runner.memo:
        with uncounted(e.runner):
            e.runner.memo[key] = _reads_as_said(vit, e)
    if not e.runner.memo[key]:
        read = "its class token" if vit.read == slice(0, 1) else "the tokens that it pools"
        raise XaibenchError(
            f"needs logits that depend on {read}; here they depend on others of the last block's tokens"
        )


def _reads_as_said(vit: Transformer, e: Evidence) -> bool:
    """Whether the gradient of the logits is nowhere but at the tokens that are read, and at each of them unless their
    maximum is taken; True where there is no gradient, which tells nothing."""
    last = vit.blocks[-1]
    with torch.enable_grad(), recorded(vit, [last]) as kept:
        logits = e.runner.call(e.images[:1].detach().requires_grad_())
    if not logits.requires_grad or last not in kept:
        return True
    score = (logits * normal(generator(0, "tokens read"), *logits.shape).to(logits)).sum()
    (gradient,) = torch.autograd.grad(score, kept[last][1], allow_unused=True)
    reached = vit.of_own(gradient).any(-1)[0] if gradient is not None else torch.zeros(vit.layout.count)
    said = torch.zeros_like(reached)
    said[vit.read] = True
    if getattr(vit.net, "global_pool", "token") == "max":
        return bool((reached <= said).all())
    return not reached.any() or bool((reached == said).all())


def _taps(attn: nn.Module) -> Taps:
    """The parts of timm's attention; those that kinds of it lack are the attention itself, which never fits."""
    query, key = getattr(attn, "q_norm", attn), getattr(attn, "k_norm", attn)
    mixed = getattr(attn, "norm", None) or getattr(attn, "proj", attn)
    return Taps(getattr(attn, "qkv", attn), query, key, attn.attn_drop, mixed)


def _fresh_taps() -> Taps:
    """Taps for an attention of torch, which has no modules for what it computes: `recorded` uses them."""
    return Taps(*(nn.Identity() for _ in range(5)))


def _stepwise(attn: nn.MultiheadAttention, taps: Taps, query: Tensor, *rest: object, **options: object) -> tuple:
    """What attention of torch gives for tokens (N, T, D) that attend to each other, computed step by step."""
    if attn.in_proj_weight is None or not attn.batch_first or options.get("attn_mask") is not None:
        raise XaibenchError("needs attention of tokens to each other, without a mask, as torchvision's Encoder has it")
    projected = taps.qkv(nn.functional.linear(query, attn.in_proj_weight, attn.in_proj_bias))
    q, k, v = (part.unflatten(2, (attn.num_heads, -1)).transpose(1, 2) for part in projected.chunk(3, -1))
    q, k = taps.query(q), taps.key(k)
    weights = taps.weights((q * q.shape[-1] ** -0.5 @ k.mT).softmax(-1))
    return attn.out_proj(taps.mixed((weights @ v).transpose(1, 2).flatten(2))), None


def _attentions_of(vit: Transformer) -> list[nn.Module]:
    """The attention of each block."""
    return [block.self_attention if vit.of_torchvision else block.attn for block in vit.blocks]


@contextmanager
def recorded(vit: Transformer, modules: Iterable[nn.Module]) -> Iterator[Kept]:
    """While active, a pass records input and output of each of the modules, and attention is computed step by step.

    Fused attention never forms its maps, so it is off during this time; logits differ by rounding.
    """
    kept: Kept = {}

    def keep(module: nn.Module, args: tuple, output: Tensor) -> None:
        kept[module] = args[0], output

    torchs = {b.self_attention: t for b, t in zip(vit.blocks, vit.taps, strict=True)} if vit.of_torchvision else {}
    fused = {} if torchs else {block.attn: getattr(block.attn, "fused_attn", False) for block in vit.blocks}
    handles = [module.register_forward_hook(keep) for module in dict.fromkeys(modules)]
    try:
        for attention in fused:
            attention.fused_attn = False
        for attention, taps in torchs.items():
            attention.forward = partial(_stepwise, attention, taps)
        yield kept
    finally:
        for attention, was in fused.items():
            attention.fused_attn = was
        for attention in torchs:
            vars(attention).pop("forward", None)
        for handle in handles:
            handle.remove()


def maps_of(vit: Transformer, kept: Kept, inputs: int) -> list[Tensor]:
    """The attention map (N * cells², heads, T, T) of each block in a recorded pass of so many inputs.

    Raises XaibenchError where there is none, where it is not that of one softmax per head, or where the inputs of the
    transformer are not those of the network.
    """
    maps = [kept[module][1] for module in vit.attention if module in kept]
    count = vit.layout.count
    if len(maps) != len(vit.blocks) or any(m.ndim != 4 or m.shape[2:] != (count, count) for m in maps):
        raise XaibenchError(f"needs attention over all {count} tokens in every block, after a softmax of its own")
    heads = [
        getattr(attention, "num_heads", m.shape[1]) for attention, m in zip(_attentions_of(vit), maps, strict=True)
    ]
    if any(m.shape[1] != count for m, count in zip(maps, heads, strict=True)):
        raise XaibenchError("needs attention with one map for each head; here maps are subtracted from each other")
    off = torch.stack([(m.detach().sum(-1) - 1).abs().max() for m in maps])
    if (off > ROUNDING).any():
        raise XaibenchError("needs attention whose rows sum to one, as a softmax makes them")
    if any(len(m) != inputs * vit.cells**2 for m in maps):
        raise XaibenchError("needs a transformer that takes whole images; here it gets parts of them")
    return maps


def attentions(e: Evidence) -> Tensor:
    """(B, blocks, T, T): attention of every image (of disconnected cells, in the own one) in every block, the mean over
    its heads; one forward pass."""

    def compute() -> Tensor:
        vit = transformer_of(e)

        def step(index: Tensor) -> Tensor:
            with torch.no_grad(), recorded(vit, vit.attention) as kept:
                e.runner.call(e.images[index])
                means = [vit.of_own(attention).mean(1) for attention in maps_of(vit, kept, len(index))]
            return torch.stack(means, 1).to(e.images.dtype)

        return torch.cat([part for _, part in e.runner.stream(len(e.images), step, e.images.device)])

    return e.once(("attentions",), compute, per_image=True)


def last_attention(e: Evidence) -> tuple[Tensor, Tensor]:
    """Attention of the last block and the gradient of each pair's score on it, both (P, heads, T, T)."""

    def compute() -> tuple[Tensor, Tensor]:
        vit, inputs = transformer_of(e), e.inputs

        def step(index: Tensor) -> tuple[Tensor, Tensor]:
            with torch.enable_grad(), recorded(vit, vit.attention) as kept:
                logits = e.runner.call(inputs[index].detach().requires_grad_())
                last = maps_of(vit, kept, len(index))[-1]
                (gradient,) = torch.autograd.grad(e.objective(logits, index).sum(), last)
            return vit.of_own(last.detach()).to(inputs.dtype), vit.of_own(gradient).to(inputs.dtype)

        parts = [part for _, part in e.runner.stream(len(inputs), step, inputs.device)]
        return torch.cat([a for a, _ in parts]), torch.cat([g for _, g in parts])

    return e.once(("last attention",), compute)
