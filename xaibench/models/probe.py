"""Looking into a network with one pass: where its spatial maps are, and where it shrinks them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Seen:
    """One module in one pass: path, height and width of the spatial map it took and gave (None where it has none)."""

    path: str
    module: nn.Module
    taken: tuple[int, int] | None
    given: tuple[int, int] | None


def look(net: nn.Module, inputs: Tensor) -> list[Seen]:
    """Every module of a network in the order in which they finish, in one pass in evaluation mode without gradients."""
    seen: list[Seen] = []
    paths = {module: path for path, module in net.named_modules()}

    def note(module: nn.Module, args: tuple, output: object) -> None:
        seen.append(Seen(paths[module], module, _space(args[0] if args else None), _space(output)))

    handles = [module.register_forward_hook(note) for module in paths]
    training = net.training
    try:
        with torch.no_grad():
            net.eval()(inputs)
    finally:
        net.train(training)
        for handle in handles:
            handle.remove()
    return seen


def _space(value: object) -> tuple[int, int] | None:
    if not isinstance(value, Tensor) or value.ndim != 4:
        return None
    return tuple(value.shape[2:])


def last_spatial_layer(net: nn.Module, inputs: Tensor) -> str:
    """The path of the last module that gives a map larger than one pixel, the outermost of those that end there; "".

    >>> import torch; from torchvision.models import resnet18
    >>> last_spatial_layer(resnet18(), torch.zeros(1, 3, 64, 64))
    'layer4'
    """
    spatial = [s.path for s in look(net, inputs) if s.path and s.given is not None and max(s.given) > 1]
    return spatial[-1] if spatial else ""


def map_size(net: nn.Module, layer: str, inputs: Tensor) -> tuple[int, int]:
    """Height and width of what a layer gives; (0, 0) for "" and for layers without a spatial map."""
    sizes = [s.given for s in look(net, inputs) if s.path == layer and s.given is not None]
    return sizes[-1] if layer and sizes else (0, 0)
