"""Larger last maps for small images: the last reduction of a network is undone and later layers are dilated.

At 64x64 pixels the last stage of a ResNet gives 2x2 positions, too coarse to rank 16 cells. With the last stride
removed and later kernels dilated, every position keeps its receptive field, there are four times as many of them, and
weight shapes do not change (torchvision's replace_stride_with_dilation, here for any network).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xaibench.models.passes import look
from xaibench.models.probe import map_size


def dilate_last_stage(net: nn.Module, cam_layer: str, inputs: Tensor, grid: int) -> int:
    """Changes a network in place until the map of its CAM layer is at least grid x grid; returns the number of changes.

    Stops early when no reduction is left that can be undone; `map_size` returns the size that was reached.
    """
    times, size = 0, map_size(net, cam_layer, inputs)
    while min(size) < grid and _undo_last_reduction(net, cam_layer, inputs, size):
        times, size = times + 1, map_size(net, cam_layer, inputs)
    return times


def _undo_last_reduction(net: nn.Module, cam_layer: str, inputs: Tensor, size: tuple[int, int]) -> bool:
    """Undoes the last step before the CAM layer, whose map has a size, that shrinks maps; false where there is none,
    and where a step shrinks them that is no convolution or pooling (merged patches)."""
    seen = look(net, inputs)
    names = [s.path for s in seen]
    leaves = [s for s in seen[: names.index(cam_layer) + 1] if _stride(s.module) > 1 and _is_map(s.taken, s.given)]
    leaves = [s for s in leaves if s.given[2] < s.taken[2]]
    if not leaves or leaves[-1].given[2] >= 2 * size[0] > 0:
        return False
    small = leaves[-1].given[2:]  # a downsampling shortcut shrinks to the same size beside the main branch
    together = [s for s in leaves if s.given[2:] == small]
    first = names.index(together[0].path)
    for path in dict.fromkeys(s.path for s in together):
        _unstride(net, path)
    undone = {s.path for s in together}
    later = dict.fromkeys(s.module for s in seen[first:] if s.path not in undone)  # once, however often it runs
    for module in later:
        if isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1:
            _dilate(module)
    return True


def _is_map(*shapes: tuple[int, ...] | None) -> bool:
    return all(shape is not None and len(shape) == 4 for shape in shapes)


def _stride(module: nn.Module) -> int:
    """The stride of a convolution or a pooling; 1 for every other module."""
    if not isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
        return 1
    return max(module.stride) if isinstance(module.stride, tuple) else module.stride


def _unstride(net: nn.Module, path: str) -> None:
    module = net.get_submodule(path)
    if not isinstance(module, nn.Conv2d):
        net.set_submodule(path, nn.Identity())  # pooling that only shrinks
        return
    module.stride = (1, 1)
    if any(size % 2 == 0 for size in module.kernel_size):
        module.padding = "same"  # an even kernel has no symmetric padding that keeps the size


def _dilate(convolution: nn.Conv2d) -> None:
    convolution.dilation = tuple(2 * d for d in convolution.dilation)
    if isinstance(convolution.padding, tuple):
        convolution.padding = tuple(2 * p for p in convolution.padding)


def sample_input(channels: int, side: int) -> Tensor:
    """One encoded image of zeros (1, C, H, W), for trial passes of a network."""
    return torch.zeros(1, channels, side, side)
