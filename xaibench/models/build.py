"""From a model's card to its network: builders of xaibench, of plug-ins, and finished networks that bring weights."""

from __future__ import annotations

import copy
import inspect
from pathlib import Path

import torch
from torch import Tensor, nn

from xaibench import registry
from xaibench.cards import ModelCard
from xaibench.errors import XaibenchError, one_line
from xaibench.models.state import StateFile, tensors_digest


def brings_weights(card: ModelCard) -> bool:
    """Whether a model is a network that is ready when it is built: it is finished, and its card names no file."""
    return is_finished(card) and not (card.plain and card.plain.file)


def is_finished(card: ModelCard) -> bool:
    """Whether a model's classes are fixed, since its builder asks for no number of classes."""
    return not _asks_for_classes(registry.load(card), card)


def build_network(card: ModelCard, num_classes: int) -> nn.Module:
    """The network of a card in evaluation mode; one that brings its weights may have another number of classes.

    Raises XaibenchError where somebody else's builder fails or gives no network.
    """
    build = registry.load(card)
    try:
        if isinstance(build, nn.Module):
            net = copy.deepcopy(build)  # small images change networks in place
        else:
            asked = {"num_classes": num_classes} if "num_classes" in _parameters(build) else {}
            first = [num_classes] if _asks_for_classes(build, card) and not asked else []
            net = build(*first, **asked, **card.parameters)
    except Exception as error:
        if isinstance(error, XaibenchError) or card.target.startswith("xaibench."):
            raise
        raise XaibenchError(
            f"model {card.name} cannot be built: {type(error).__name__}: {one_line(error, 300)}"
        ) from error
    if not isinstance(net, nn.Module):
        raise XaibenchError(f"model {card.name} gives {type(net).__name__}, not a torch.nn.Module")
    return net.eval()


def validate_classes(card: ModelCard, net: nn.Module, inputs: Tensor) -> int:
    """The number of classes that a network tells apart, by one pass of inputs (1, C, H, W).

    Raises XaibenchError where it cannot take them, or does not give logits (1, K).
    """
    side = f"{inputs.shape[2]}x{inputs.shape[3]}"
    try:
        with torch.no_grad():
            logits = net(inputs)
    except Exception as error:
        raise XaibenchError(
            f"model {card.name} cannot take images of {side} pixels: {type(error).__name__}: {one_line(error, 300)}"
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 1:
        found = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise XaibenchError(f"model {card.name} gives {found} for one image, not logits (1, classes)")
    return logits.shape[1]


def attention_in(net: nn.Module) -> str:
    """The kind of a network's first module with attention over positions, whose tokens are no convolutional map; ""."""
    kinds = (type(m).__name__ for m in net.modules() if "Attention" in type(m).__name__ or hasattr(m, "qkv"))
    return next(kinds, "")


def own_state(card: ModelCard, net: nn.Module) -> StateFile:
    """The weights that a finished network brings, as if read from a file of the model's name."""
    tensors = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
    return StateFile(Path(card.name), tensors, tensors_digest(tensors), {})


def _asks_for_classes(build: object, card: ModelCard) -> bool:
    """Whether a builder takes the number of classes: a parameter `num_classes`, or a first one without a default."""
    if isinstance(build, nn.Module):
        return False
    parameters = _parameters(build)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [p for p in parameters.values() if p.kind in kinds and p.name not in card.parameters]
    required = any(p.default is p.empty for p in positional)
    return "num_classes" in parameters or required


def _parameters(build: object) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(build).parameters)
