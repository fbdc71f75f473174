"""From a model's card to its network: builders of xaibench, of plug-ins, and finished networks with weights of their
own."""

from __future__ import annotations

import inspect
from pathlib import Path

import torch
from torch import Tensor, nn

from xaibench import registry
from xaibench.cards import ModelCard
from xaibench.errors import XaibenchError, one_line
from xaibench.exclusive import exclusive
from xaibench.models.copies import copied
from xaibench.models.modes import check_modes
from xaibench.models.opened import opened, uncompiled
from xaibench.models.outputs import as_matrix, check_classifier, described
from xaibench.models.state import StateFile, tensors_digest
from xaibench.models.timm_cnn import size_hint


def brings_weights(card: ModelCard) -> bool:
    """Whether the builder of a model returns a network with weights: it is finished, and its card has no file of
    weights."""
    return is_finished(card) and not (card.plain and card.plain.file)


def is_finished(card: ModelCard) -> bool:
    """Whether a model's classes are fixed: its builder does not take the number of classes."""
    return not _takes_class_count(registry.load(card), card)


def build_network(card: ModelCard, num_classes: int) -> nn.Module:
    """The network of a card in evaluation mode; a finished network may have another number of classes.

    Raises XaibenchError where a builder outside of xaibench fails or returns no network.
    """
    build = registry.load(card)
    try:
        if isinstance(build, nn.Module):
            with exclusive(build.modules()), opened(build) as plain:  # without the hooks of a call in another thread
                net, _ = copied(plain)  # small images change networks in place
        else:
            keywords = {"num_classes": num_classes} if "num_classes" in _parameters(build) else {}
            first = [num_classes] if _takes_class_count(build, card) and not keywords else []
            net = build(*first, **keywords, **card.parameters)
    except Exception as error:
        if isinstance(error, XaibenchError) or card.target.startswith("xaibench."):
            raise
        raise XaibenchError(
            f"model {card.name} cannot be built: {type(error).__name__}: {one_line(error, 300)}"
        ) from error
    net = uncompiled(net)
    if not isinstance(net, nn.Module):
        raise XaibenchError(f"model {card.name} gives {type(net).__name__}, not a torch.nn.Module")
    net.eval()
    try:
        check_modes(net)
    except XaibenchError as error:
        raise XaibenchError(f"model {card.name}: {error}") from None
    return net


def validate_classes(name: str, net: nn.Module, inputs: Tensor) -> int:
    """The number of outputs of a network, by one pass of inputs (1, C, H, W); 1 for a network of two classes.

    Raises XaibenchError where the network does not accept them, or does not return logits (1, K).
    """
    check_classifier(net)
    side = f"{inputs.shape[2]}x{inputs.shape[3]}"
    try:
        with torch.no_grad():
            given = net(inputs.clone())
    except Exception as error:
        raise XaibenchError(
            f"model {name} cannot take images of {side} pixels: {type(error).__name__}: {one_line(error, 300)}"
            f"{size_hint(name, inputs.shape[2])}"
        ) from error
    outputs = as_matrix(given, len(inputs))
    if outputs is None:
        raise XaibenchError(f"model {name} gives {described(given)} for one image, not logits (1, classes)")
    return outputs.shape[1]


def attention_in(net: nn.Module) -> str:
    """The type of a network's first module with attention over positions, whose tokens are no convolutional map, or
    ""."""
    kinds = (type(m).__name__ for m in net.modules() if "Attention" in type(m).__name__ or hasattr(m, "qkv"))
    return next(kinds, "")


def own_state(card: ModelCard, net: nn.Module) -> StateFile:
    """The weights of a finished network, as if read from a file with the model's name.

    Their digest is that of the numbers, or what a network of xaibench says of itself where the numbers are computed.
    """
    tensors = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
    known = getattr(net, "xaibench_identity", None)
    return StateFile(Path(card.name), tensors, known or tensors_digest(tensors), {})


def _takes_class_count(build: object, card: ModelCard) -> bool:
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
