"""Inspects a network by one pass: where its spatial maps are, and where their size is reduced."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xaibench.models.modes import evaluating
from xaibench.models.tokens import Layout, layout_of, token_layer, transformer_in


@dataclass(frozen=True)
class Seen:
    """One module in one pass: its path, and height and width of the spatial maps of input and output (None for
    others)."""

    path: str
    module: nn.Module
    taken: tuple[int, int] | None
    given: tuple[int, int] | None


def look(net: nn.Module, inputs: Tensor, layout: Layout | None = None) -> list[Seen]:
    """Every module of a network in the order in which they finish, in one pass in evaluation mode without gradients.

    With a layout, as many tokens count as a map of its grid.
    """
    seen: list[Seen] = []
    paths = {module: path for path, module in net.named_modules()}

    def note(module: nn.Module, args: tuple, output: object) -> None:
        seen.append(Seen(paths[module], module, _space(args[0] if args else None, layout), _space(output, layout)))

    handles = [module.register_forward_hook(note) for module in paths]
    try:
        with torch.no_grad(), evaluating(net):
            net(inputs.clone())  # a network may write into its input
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _space(value: object, layout: Layout | None) -> tuple[int, int] | None:
    if isinstance(value, Tensor) and value.ndim == 3 and layout and value.shape[1] == layout.count:
        return layout.grid
    return tuple(value.shape[2:]) if isinstance(value, Tensor) and value.ndim == 4 else None


def last_spatial_layer(net: nn.Module, inputs: Tensor) -> str:
    """The path of the last module that gives a map larger than one pixel, the outermost of those that end there, or "".

    >>> import torch; from torchvision.models import resnet18
    >>> last_spatial_layer(resnet18(), torch.zeros(1, 3, 64, 64))
    'layer4'
    """
    spatial = [s.path for s in look(net, inputs) if s.path and s.given is not None and max(s.given) > 1]
    return spatial[-1] if spatial else ""


def default_cam_layer(net: nn.Module, inputs: Tensor) -> str:
    """The default layer for class activation maps: for vision transformers `token_layer`, for other networks
    `last_spatial_layer`."""
    return last_spatial_layer(net, inputs) if transformer_in(net) is None else token_layer(net)


def map_size(net: nn.Module, layer: str, inputs: Tensor) -> tuple[int, int]:
    """Height and width of the map, or of the grid of tokens, in the output of a layer; (0, 0) for "" and for other
    layers."""
    seen = look(net, inputs, layout_of(net, tuple(inputs.shape[2:])))
    sizes = [s.given for s in seen if s.path == layer and s.given is not None]
    return sizes[-1] if layer and sizes else (0, 0)
