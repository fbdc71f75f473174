"""Inspects a network by a few passes: which layer is for class activation maps, and how large its map is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

import torch
from torch import Tensor, nn

from xaibench.models.layouts import AxisOrder, MapFinder, MapLayout
from xaibench.models.passes import Seen, observed
from xaibench.models.tokens import has_branches, token_layer
from xaibench.seeds import generator, normal

LAST = 48  # maps among which that is looked for which the head reads


def last_spatial_layer(
    net: nn.Module,
    inputs: Tensor,
    output: Callable[[object], Tensor] | None = None,
    finder: MapFinder | None = None,
) -> str:
    """The path of the last module that gives a map larger than one pixel, the outermost of those that end there, or "".

    Of tokens whose last map the logits do not depend on, as those of patches beside a class token, it is the last norm
    that they depend on. output selects the logits from the output of the network, finder is what is known of its maps.

    >>> import torch; from torchvision.models import resnet18
    >>> last_spatial_layer(resnet18(), torch.zeros(1, 3, 64, 64))
    'layer4'
    """
    found = (finder or MapFinder(net, inputs)).maps()
    last = next(found, None)
    if last is None or isinstance(last[1], AxisOrder) or _read(net, inputs, [last], output):
        return last[0].path if last else ""
    maps = list(islice(found, LAST))
    read = _read(net, inputs, maps, output)
    norms = [seen.path for seen, _ in maps if "norm" in type(seen.module).__name__.lower() and seen.path in read]
    return next(iter(norms or [seen.path for seen, _ in maps if seen.path in read]), "")


def _read(
    net: nn.Module, inputs: Tensor, maps: Iterable[tuple[Seen, MapLayout]], output: Callable[[object], Tensor] | None
) -> set[str]:
    """The paths of those modules, each of which gives a map, that the logits have a gradient at."""
    layouts, kept, features = {seen.module: (seen.path, layout) for seen, layout in maps}, {}, {}

    def note(module: nn.Module, args: tuple, given: object) -> None:
        if module in layouts:
            kept[layouts[module][0]] = layouts[module][1], given if given.requires_grad else given.requires_grad_()
        if isinstance(module, nn.Linear) and args and args[0].ndim == 2:
            features["last"] = args[0]  # beside the logits, since heads begin with weights of zero

    with observed(net, note), torch.enable_grad():
        raw = net(inputs[:1].detach().clone().requires_grad_())
    logits = output(raw) if output else next(iter(_tensors(raw)), None)
    read = [tensor for tensor in (logits, *features.values()) if tensor is not None and tensor.requires_grad]
    if not read:
        return set()
    random = generator(0, "which maps are read")
    score = sum((normal(random, *tensor.shape).to(tensor) * tensor).sum() for tensor in read)
    outputs = [given for _, given in kept.values()]
    gradients = torch.autograd.grad(score, outputs, allow_unused=True, materialize_grads=True)
    reach = zip(kept.items(), gradients, strict=True)
    return {path for (path, (layout, _)), gradient in reach if layout.to_map(gradient).any()}


def _tensors(raw: object) -> list[Tensor]:
    """The tensors in what a network returned: one, or those of a tuple or a dict."""
    values = [raw] if isinstance(raw, Tensor) else raw.values() if hasattr(raw, "values") else raw
    return [value for value in values if isinstance(value, Tensor)] if isinstance(values, Iterable) else []


def default_cam_layer(
    net: nn.Module,
    inputs: Tensor,
    output: Callable[[object], Tensor] | None = None,
    finder: MapFinder | None = None,
) -> str:
    """The default layer for class activation maps: for known vision transformers `token_layer`, for networks that name
    a part by `cam_part` (`xaibench.RegionLogits`) the last map in it, for others `last_spatial_layer`; "" where the
    head reads several grids of tokens, of which a layer would show one."""
    if has_branches(net):
        return ""
    layer, finder = token_layer(net), finder or MapFinder(net, inputs)
    part = getattr(net, "cam_part", None)
    if part is not None:
        return next((seen.path for seen, _ in finder.maps() if part and seen.path.startswith(f"{part}.")), "")
    if layer and finder.layout_at(layer) is not None:
        return layer
    return last_spatial_layer(net, inputs, output, finder)


def map_size(net: nn.Module, layer: str, inputs: Tensor, finder: MapFinder | None = None) -> tuple[int, int]:
    """Height and width of the map, or of the grid of tokens, in the output of a layer; (0, 0) for "" and for other
    layers. finder is what is known of the network's maps."""
    if not layer:
        return 0, 0
    finder = finder or MapFinder(net, inputs)
    calls = [seen for seen in finder.seen if seen.path == layer]
    return (finder.size(calls[-1]) if calls else None) or (0, 0)
