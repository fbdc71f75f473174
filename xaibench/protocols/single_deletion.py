"""The model's output under the deletion of each single cell: what sds, idsds and sds-accuracy share.

Hesse, Schaub-Meyer, Roth, NeurIPS 2024.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.protocols.moved import forwarding
from xaibench.protocols.patches import cell_masks, cell_sums, replacement

__getattr__ = forwarding(__name__, "faithfulness.sds")


def deleted_logits(e: Evidence, grid: int, baseline: str) -> Tensor:
    """Logits (B, grid², K) of every image with each cell replaced, row by row, computed once for a batch.

    baseline is `zero`, `random` or `blur`; see `xaibench.protocols.patches.replacement`.
    """
    size, cells, drawn = tuple(e.images.shape[-2:]), grid**2, baseline == "random"
    zero = e.zero.to(e.images)

    def edit(image: Tensor, cell: Tensor) -> Tensor:
        inputs, ids = e.images[image], [e.image_ids[i] for i in image.tolist()] if drawn else []
        other = replacement(baseline, inputs, cell, e.seed, ids, zero)
        return torch.where(cell_masks(size, grid, cell.to(inputs.device)), other, inputs)

    return e.logits_under(("single deletion", grid, baseline), cells, edit, "cpu" if drawn else None)


def deletion_drops(e: Evidence, grid: int, baseline: str, output: str) -> Tensor:
    """(P, grid²) float64: the target's score on the image minus its score with each cell replaced, row by row.

    output is `logit` or `probability`. A cell that is the baseline already costs nothing: 0, not the rounding by which
    two passes of one image may differ, which would put such cells in an order.
    """
    deleted = e.scores(deleted_logits(e, grid, baseline), output)
    drops = e.scores(e.logits(), output).double()[:, None] - deleted.double()
    return drops if baseline != "zero" else torch.where(blank_cells(e, grid)[e.owner], drops * 0, drops)


def blank_cells(e: Evidence, grid: int) -> Tensor:
    """(B, grid²) bool: the cells of each image, row by row, that equal the zero baseline in every pixel."""
    changed = (e.images != e.baseline("zero")).any(1, keepdim=True)
    return cell_sums(changed, grid) == 0
