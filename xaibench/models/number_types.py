"""Whether the numbers of a tensor of a file can stand for those that a network computes with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


def unfit_numbers(tensor: Tensor, expected: Tensor) -> str:
    """What the numbers of a tensor are where they are of another kind than those that a network expects; else "".

    Integers in place of floating point are quantised weights, which mean nothing without their scales.
    """
    if tensor.is_quantized:
        return "quantised"
    if tensor.is_meta:
        return "without values"
    if tensor.layout != torch.strided:
        return "sparse"
    return "" if _family(tensor) == _family(expected) else name_of(tensor.dtype)


def not_finite(tensor: Tensor, expected: Tensor) -> str:
    """How many numbers of a tensor are NaN or infinite once they are of the type that a network expects; "" for none.

    Those that the network itself has at the same places, as the infinities of masks of attention, are left out.
    """
    values = tensor.to(expected.dtype)
    if not (values.is_floating_point() or values.is_complex()) or bool(torch.isfinite(values).all()):
        return ""
    own = expected.to(values.device)
    wrong = ~torch.isfinite(values) & (values != own) & ~(torch.isnan(values) & torch.isnan(own))
    nan, count = int((torch.isnan(values) & wrong).sum()), int(wrong.sum())
    if not count:
        return ""
    return f"{count} of {values.numel()} numbers that are {'NaN' if nan == count else 'NaN or infinite'}"


def conversions(pairs: Iterable[tuple[Tensor, Tensor]]) -> Iterator[str]:
    """How floating point tensors become those that a network expects, each way once, as "float16, and taken exactly as
    float32"; pairs of a tensor and the one that is expected."""
    ways = {(t.dtype, e.dtype): None for t, e in pairs if t.dtype != e.dtype and _is_float(t) and _is_float(e)}
    for given, expected in ways:
        how = "taken exactly as" if torch.promote_types(given, expected) == expected else "rounded to"
        yield f"{name_of(given)}, and {how} {name_of(expected)}"


def name_of(dtype: torch.dtype) -> str:
    """The name of a type of numbers, such as float32."""
    return str(dtype).removeprefix("torch.")


def _family(tensor: Tensor) -> str:
    kinds = {"float": _is_float(tensor), "complex": tensor.is_complex(), "bool": tensor.dtype == torch.bool}
    return next((kind for kind, holds in kinds.items() if holds), "other")


def _is_float(tensor: Tensor) -> bool:
    """Whether numbers are floating point that stands for itself; that of eight bits needs scales."""
    return tensor.is_floating_point() and tensor.element_size() > 1
