"""BagNet's own explanation: the logit of the patch around every pixel. Brendel and Bethge 2019."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError
from xaibench.models.bagnet import BagNet
from xaibench.models.disconnected import Disconnected, cut, joined


def patch_logits(e: Evidence) -> Tensor:
    """(P, 1, H, W): at each pixel the target's logit of the patch centred there.

    The image is padded by half a patch with the zero baseline. A pass computes patches some pixels apart, so there is
    one pass for each shift of the image with other patches. In a grid whose cells are disconnected, the other cells
    have no patch and are 0. Raises XaibenchError for networks that are no BagNet, and where probabilities are
    explained, which patches do not have.
    """
    whole = e.runner.net
    net, cells, own = (whole.net, whole.cells, whole.own) if isinstance(whole, Disconnected) else (whole, 1, 0)
    if not isinstance(net, BagNet):
        raise XaibenchError("needs a BagNet (xaibench.models.bagnet), whose patches have logits of their own")
    if e.output != "logit":
        raise XaibenchError("explains logits, not probabilities: a patch has none")
    images, (side, apart) = cut(e.images, cells), net.field
    height, width = images.shape[2:]
    counts = [math.ceil(length / apart) for length in (height, width)]  # patches of one shifted image
    spans = [(count - 1) * apart + side for count in counts]
    padded = _padded(images, e.baseline("zero")[:, :1, :1], side, [span + apart - 1 for span in spans])
    padded = padded.unflatten(0, (-1, cells**2))
    classes, place = e.targets.unique(return_inverse=True)

    def parts_of(index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image, row and column of the shifts with some numbers."""
        return index // apart**2, index // apart % apart, index % apart

    def shifted(index: Tensor) -> Tensor:
        shifts = zip(*(part.tolist() for part in parts_of(index)), strict=True)
        shown = [padded[image, :, :, r : r + spans[0], c : c + spans[1]] for image, r, c in shifts]
        return joined(torch.cat(shown), cells)

    def step(index: Tensor) -> Tensor:
        kept: list[Tensor] = []
        handle = net.layer4.register_forward_hook(lambda module, args, output: kept.append(output))
        try:
            with torch.no_grad():
                e.runner.call(shifted(index))
                features = kept[0].unflatten(0, (-1, cells**2))[:, own]
                return net.patch_logits(features.to(e.images.dtype), classes)
        finally:
            handle.remove()

    maps = e.images.new_empty(len(e.targets), *counts, apart, apart)
    for part, logits in e.runner.stream(len(e.images) * apart**2, step):
        image, row, column = parts_of(torch.arange(part.start, part.stop, device=maps.device))
        number, pair = (image[:, None] == e.owner).nonzero(as_tuple=True)
        maps[pair, :, :, row[number], column[number]] = logits[number, place[pair]]
    # the shift (r, c) shows the patches at rows r, r + apart, ... and columns c, c + apart, ...
    maps = maps.permute(0, 1, 3, 2, 4).flatten(3, 4).flatten(1, 2)[:, :height, :width]
    grid = maps.new_zeros(len(maps), cells**2, 1, height, width)
    grid[:, own, 0] = maps
    return joined(grid.flatten(0, 1), cells)


def _padded(images: Tensor, zero: Tensor, side: int, size: list[int]) -> Tensor:
    """The images (B, C, *size), half a patch from the upper left corner; the colour zero (C, 1, 1) is around them."""
    before = (side - 1) // 2
    below, right = (total - before - length for total, length in zip(size, images.shape[2:], strict=True))
    return pad(images - zero, (before, right, before, below)) + zero
