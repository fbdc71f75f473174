"""From what a network returns to logits of classes, and from logits to probabilities and predictions.

A network with one output tells two classes apart: its logit z is that of class 1 against class 0. It is given the
logits (-z, z), whose probabilities are sigmoids: sigmoid(-z) and sigmoid(z), which add up to 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from xaibench.errors import XaibenchError


def as_matrix(output: object, count: int) -> Tensor | None:
    """The outputs (N, n) of a network for `count` inputs; None where what it returned is no such tensor.

    A network with one output may return (N,), or for one input a tensor without dimensions.
    """
    if not isinstance(output, Tensor) or not output.is_floating_point():
        return None
    if output.ndim < 2 and output.numel() == count:
        output = output.reshape(count, 1)
    return output if output.ndim == 2 and len(output) == count and output.shape[1] else None


def check_classifier(net: nn.Module) -> None:
    """Raises XaibenchError for a network of timm that was made without a classifier: its outputs are features."""
    if type(net).__module__.startswith("timm.") and getattr(net, "num_classes", None) == 0:
        raise XaibenchError(
            f"{type(net).__name__} of timm has no classifier (num_classes=0), so its outputs are features, not logits; "
            "make it with the number of classes"
        )


def described(output: object) -> str:
    """What a network returned, for messages."""
    if not isinstance(output, Tensor):
        return type(output).__name__
    kind = "" if output.is_floating_point() else f"{str(output.dtype).removeprefix('torch.')} of "
    return f"{kind}shape {tuple(output.shape)}"


def advice(output: object) -> str:
    """What to do about outputs that are not logits (N, K), for messages: for those of every place, as a network of
    semantic segmentation gives them, one region is explained."""
    dense = output.get("out") if isinstance(output, Mapping) else output
    if isinstance(dense, Tensor) and dense.ndim == 4 and dense.is_floating_point():
        return "of a segmentation network explain one region: xaibench.RegionLogits(model, region)"
    return "pick them with output="


def two_sided(outputs: Tensor, dim: int = 1) -> Tensor:
    """Logits (N, K) of outputs (N, n): of one output z, (-z, z); of more, the outputs.

    Along another dimension the same of other tensors, such as of the rows of a head's weight.

    >>> two_sided(torch.tensor([[0.5], [-2.0]])).tolist()
    [[-0.5, 0.5], [2.0, -2.0]]
    """
    return torch.cat([-outputs, outputs], dim) if outputs.shape[dim] == 1 else outputs


def probabilities(logits: Tensor, function: str) -> Tensor:
    """Probabilities (..., K) of logits (..., K) by a function, `softmax` or `sigmoid`."""
    return logits.sigmoid() if function == "sigmoid" else logits.softmax(-1)


def usable(logits: Tensor) -> Tensor:
    """(...) bool: whether logits (..., K) predict a class: none is NaN or +inf, and some are finite.

    A class of logit -inf has the probability 0, as where classes are masked.
    """
    return logits.amax(-1).isfinite()


def is_right(logits: Tensor, labels: Tensor) -> Tensor:
    """(...) bool: whether the label (...) has the highest of logits (..., K); false where they predict no class."""
    return (logits.argmax(-1) == labels) & usable(logits)
