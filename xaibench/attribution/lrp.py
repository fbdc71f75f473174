"""Layer-wise relevance propagation through vision transformers, as a changed gradient times the input.

AttnLRP: Achtibat et al., ICML 2024. CP-LRP: Ali et al., ICML 2022, in the form that the package lxt 2.1 gives it. With
relevance written as value x gradient, every rule is a change of the backward pass alone, so the rules are hooks that
hand on what a module gave with another gradient, and logits stay those of the network. Attention is never formed:
fused and unfused attention have the same maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from xaibench.attribution.evidence import Evidence
from xaibench.attribution.relevance import quotient
from xaibench.errors import XaibenchError
from xaibench.models.clip import UnitLength
from xaibench.models.disconnected import Disconnected
from xaibench.models.layouts import Maps

Shares = tuple[float, float, float]
ATTN_LRP: Shares = (0.25, 0.25, 0.5)  # of the gradient: a product gives each factor half, attention is one of q and k
CP_LRP: Shares = (0.0, 0.0, 1.0)  # attention weights are constants


def attn_lrp(e: Evidence, gamma_patches: float = 0.25, gamma_linear: float = 0.05) -> Tensor:
    """(P, C, H, W): relevance of the input by AttnLRP, in one forward and one backward pass.

    gamma_patches is the gamma of the embedding of patches, gamma_linear that of the linear layers outside attention;
    projections inside attention have gamma 0. Raises XaibenchError for networks with parts that there are no rules for.
    """
    return _relevance(e, gamma_patches, gamma_linear, ATTN_LRP)


def cp_lrp(e: Evidence, gamma_patches: float = 0.25, gamma_linear: float = 0.05) -> Tensor:
    """(P, C, H, W): as `attn_lrp`, but no relevance goes through the attention weights, only through the values."""
    return _relevance(e, gamma_patches, gamma_linear, CP_LRP)


def _relevance(e: Evidence, gamma_patches: float, gamma_linear: float, shares: Shares) -> Tensor:
    for name, gamma in (("gamma_patches", gamma_patches), ("gamma_linear", gamma_linear)):
        if not 0 <= gamma < float("inf"):
            raise XaibenchError(f"{name} is a number from 0, not {gamma}")
    with propagating(e.runner.net, gamma_patches, gamma_linear, shares):
        return e.inputs * e.gradient_at(e.inputs)


@contextmanager
def propagating(net: nn.Module, gamma_patches: float, gamma_linear: float, shares: Shares) -> Iterator[None]:
    """While active, gradients of the network are relevance divided by value; raises XaibenchError for a module that
    there is no rule for, before any hook is set."""
    rules = list(_rules(net, gamma_patches, gamma_linear, shares))
    handles = [register() for register in rules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _rules(net: nn.Module, gamma_patches: float, gamma_linear: float, shares: Shares) -> Iterator[Callable[[], Any]]:
    """What sets the hook of each module that has a rule of its own."""
    plain, norms, activations = _kinds()
    left = [net]
    while left:
        module = left.pop()
        kind = type(module)
        if getattr(module, "inplace", False):
            raise XaibenchError(f"has no rule for {kind.__name__}, which works in place")
        if isinstance(module, nn.MultiheadAttention):
            yield partial(module.register_forward_pre_hook, partial(_shared, shares), with_kwargs=True)
        elif kind is nn.Linear:
            yield partial(module.register_forward_hook, partial(_gamma, gamma_linear))
        elif kind is nn.Conv2d:
            yield partial(module.register_forward_hook, partial(_gamma, gamma_patches))
        elif kind in norms:
            yield partial(module.register_forward_hook, _norm)
        elif kind is UnitLength:
            yield partial(module.register_forward_hook, _unit_length)
        elif kind in activations:
            yield partial(module.register_forward_hook, _activation)
        elif kind is _timm_attention():
            if module.gate is not None:
                raise XaibenchError("has no rule for gated attention")
            yield partial(module.qkv.register_forward_hook, partial(_divided, shares))
            left += [module.q_norm, module.k_norm, module.norm]
        elif kind in plain:
            left += module.children()
        else:
            raise XaibenchError(
                f"has rules for the parts of plain vision transformers of timm and torchvision, not for {kind.__name__}"
            )


def _timm_attention() -> type[nn.Module]:
    from timm.models.vision_transformer import Attention

    return Attention


def _kinds() -> tuple[frozenset[type], frozenset[type], frozenset[type]]:
    """Modules that only combine others, linearly; normalisations; activation functions."""
    from timm import layers
    from timm.models import vision_transformer as timm_vit
    from torchvision.models import vision_transformer as vit

    plain = {
        Disconnected, Maps, nn.Sequential, nn.ModuleDict, nn.Identity, nn.Dropout, nn.Flatten,
        timm_vit.VisionTransformer, timm_vit.Block, timm_vit.ResPostBlock, timm_vit.LayerScale,
        layers.PatchEmbed, layers.Mlp, layers.DropPath, layers.PatchDropout,
        vit.VisionTransformer, vit.Encoder, vit.EncoderBlock, vit.MLPBlock,
    }  # fmt: skip
    activations = {nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, layers.GELU, layers.GELUTanh, layers.QuickGELU}
    norms = {nn.LayerNorm, layers.LayerNorm, getattr(layers, "LayerNormFp32", nn.LayerNorm)}  # over the last axes
    return frozenset(plain), frozenset(norms), frozenset(activations)


def _with_gradient_of(surrogate: Tensor, output: Tensor) -> Tensor:
    """The output, exactly, with the gradient of a surrogate that has the same value."""
    return output.detach() + (surrogate - surrogate.detach())


def _gamma(gamma: float, module: nn.Module, args: tuple, output: Tensor) -> Tensor | None:
    """The gamma rule: an output's relevance goes to its inputs in the shares of their contributions x w, those of the
    output's own sign counted 1 + gamma times. The bias keeps its share. Gamma 0 is the plain gradient."""
    if not gamma:
        return None
    inputs, weight, bias = args[0], module.weight, module.bias

    def linear(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        return module._conv_forward(x, w, b) if isinstance(module, nn.Conv2d) else nn.functional.linear(x, w, b)

    def cut(tensor: Tensor | None, sign: int) -> Tensor | None:
        return None if tensor is None else tensor.clamp(min=0) if sign > 0 else tensor.clamp(max=0)

    def enlarged(sign: int) -> Tensor:
        """The output where contributions of a sign count 1 + gamma times, scaled to the value of the output."""
        of_sign = linear(cut(inputs, 1), cut(weight, sign), cut(bias, sign))
        of_sign = of_sign + linear(cut(inputs, -1), cut(weight, -sign), None)
        whole = output + gamma * of_sign
        return whole * quotient(output, whole).detach()

    return _with_gradient_of(torch.where(output > 0, enlarged(1), enlarged(-1)), output)


def _norm(module: nn.LayerNorm, args: tuple, output: Tensor) -> Tensor:
    """The standard deviation is a constant: all relevance goes to what it divides."""
    inputs, axes = args[0], tuple(range(-len(module.normalized_shape), 0))
    centred = inputs - inputs.mean(axes, keepdim=True)
    scaled = centred / (centred.square().mean(axes, keepdim=True) + module.eps).sqrt().detach()
    return _with_gradient_of(scaled if module.weight is None else scaled * module.weight, output)


def _unit_length(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
    """The length is a constant."""
    return _with_gradient_of(args[0] / args[0].norm(dim=-1, keepdim=True).clamp(min=1e-12).detach(), output)


def _activation(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
    """The identity rule: all relevance of f(x) goes to x, so the slope is f(x) / x."""
    return _with_gradient_of(args[0] * quotient(output, args[0]).detach(), output)


def _scaled(tensor: Tensor, share: float) -> Tensor:
    """The tensor, with this share of its gradient."""
    return tensor.detach() if not share else _with_gradient_of(share * tensor, tensor)


def _divided(shares: Shares, module: nn.Linear, args: tuple, output: Tensor) -> Tensor:
    """Queries, keys and values, side by side, with their shares of the gradient."""
    return torch.cat([_scaled(part, s) for part, s in zip(output.chunk(3, -1), shares, strict=True)], -1)


def _shared(shares: Shares, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """The inputs of torch's attention, with their shares of the gradient: what makes them q, k and v is linear."""
    names = ("query", "key", "value")
    given = dict(zip(names, args, strict=False)) | kwargs
    return tuple(_scaled(given[n], s) for n, s in zip(names, shares, strict=True)) + args[3:], {
        name: value for name, value in kwargs.items() if name not in names
    }
