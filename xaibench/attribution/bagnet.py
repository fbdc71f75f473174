"""BagNet's own explanations: the logits of its patches. Brendel and Bethge 2019."""

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
    net, cells, own = _bagnet(e)
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
        return _logits(e, shifted(index), classes)

    maps = e.images.new_empty(len(e.targets), *counts, apart, apart)
    image, row, column = parts_of(torch.arange(len(e.images) * apart**2))
    shift, pair = (image[:, None] == e.owner.cpu()).nonzero(as_tuple=True)  # each pair at each shift of its image
    ends = torch.searchsorted(shift, torch.arange(len(image) + 1)).tolist()
    shift, pair, row, column = (part.to(maps.device) for part in (shift, pair, row[shift], column[shift]))
    for part, logits in e.runner.stream(len(image), step):
        here = slice(ends[part.start], ends[part.stop])
        found = logits[shift[here] - part.start, place[pair[here]]]
        maps[pair[here], :, :, row[here], column[here]] = found
    # the shift (r, c) shows the patches at rows r, r + apart, ... and columns c, c + apart, ...
    maps = maps.permute(0, 1, 3, 2, 4).flatten(3, 4).flatten(1, 2)[:, :height, :width]
    grid = maps.new_zeros(len(maps), cells**2, 1, height, width)
    grid[:, own, 0] = maps
    return joined(grid.flatten(0, 1), cells)


def own_patch_logits(e: Evidence, less_blank: bool = False) -> Tensor:
    """(P, 1, H, W): at the centre of each patch that the network itself sees its share of the target's logit, 0
    elsewhere.

    The image's logit is the mean over these patches, so a map sums to it. less_blank: each patch's logit is taken less
    that of a patch of the zero baseline. One pass an image. Raises XaibenchError as `patch_logits`.
    """
    net, cells, own = _bagnet(e)
    side, apart = net.field
    classes, place = e.targets.unique(return_inverse=True)
    parts = [
        logits
        for _, logits in e.runner.stream(len(e.images), lambda i: _logits(e, e.images[i], classes), e.images.device)
    ]
    logits = torch.cat(parts)[e.owner, place]
    if less_blank:
        blank = e.baseline("zero")[:, :1, :1].expand(cells**2, -1, side, side)
        logits = logits - _logits(e, joined(blank, cells), classes)[0, place]
    height, width = (length // cells for length in e.images.shape[2:])
    maps = logits.new_zeros(len(logits), cells**2, 1, height, width)
    rows, columns = ((side - 1) // 2 + apart * torch.arange(count) for count in logits.shape[1:])
    maps[:, own, 0, rows[:, None], columns] = logits / logits[0].numel()
    return joined(maps.flatten(0, 1), cells)


def _bagnet(e: Evidence) -> tuple[BagNet, int, int]:
    """The network of the evidence, the cells a side of the grid that it sees, and the number of its own one.

    Raises XaibenchError where it is no BagNet, and where probabilities are explained.
    """
    whole = e.runner.net
    net, cells, own = (whole.net, whole.cells, whole.own) if isinstance(whole, Disconnected) else (whole, 1, 0)
    if not isinstance(net, BagNet):
        raise XaibenchError("needs a BagNet (xaibench.models.bagnet), whose patches have logits of their own")
    if e.output != "logit":
        raise XaibenchError("explains logits, not probabilities: a patch has none")
    return net, cells, own


def _logits(e: Evidence, images: Tensor, classes: Tensor) -> Tensor:
    """Logits (n, classes, h, w) of the patches that the network sees of images (n, C, H, W), in its own cell."""
    net, cells, own = _bagnet(e)
    kept: list[Tensor] = []
    handle = net.layer4.register_forward_hook(lambda module, args, output: kept.append(output))
    try:
        with torch.no_grad():
            e.runner.call(images)
            features = kept[-1].unflatten(0, (-1, cells**2))[:, own]
            return net.patch_logits(features.to(e.images.dtype), classes)
    finally:
        handle.remove()


def _padded(images: Tensor, zero: Tensor, side: int, size: list[int]) -> Tensor:
    """The images (B, C, *size), half a patch from the upper left corner; the colour zero (C, 1, 1) is around them."""
    before = (side - 1) // 2
    below, right = (total - before - length for total, length in zip(size, images.shape[2:], strict=True))
    return pad(images - zero, (before, right, before, below)) + zero
