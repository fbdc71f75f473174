"""Training augmentations that make deletions nothing new to a model; all work on encoded images, after the others.

Patch deletion (Hesse, Schaub-Meyer, Roth, NeurIPS 2024): each image on its own loses, with probability 0.5, one cell of
the grid, drawn uniformly, to the baseline. Random masks (Zheng et al., ICLR 2025): each image loses a random share of
its pixels. Parts of objects are dropped by the data set that draws them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.cards import Alignment
from xaibench.protocols.patches import cell_masks, check_grid, replacement
from xaibench.seeds import generator, uniform

Deletion = Callable[[Tensor, Sequence[str], int], Tensor]  # of images (B, C, H, W), their ids and the epoch


def make_deletion(alignment: Alignment | None, zero: Tensor, seed: int) -> Deletion | None:
    """What training on these deletions does to a batch; None where that is nothing, or the data set's own doing."""
    if alignment is None or alignment.kind == "parts":
        return None
    return {"cell": PatchDeletion, "pixels": RandomMasks}[alignment.kind](alignment, zero, seed)


@dataclass(frozen=True)
class PatchDeletion:
    """Deletes cells of encoded images by an alignment; zero (C,) is the zero baseline of the encoded space."""

    alignment: Alignment
    zero: Tensor
    seed: int = 0

    def __call__(self, inputs: Tensor, image_ids: Sequence[str], epoch: int) -> Tensor:
        """Images (B, C, H, W) of which about the alignment's share has lost one cell; drawn per image and epoch."""
        size, grid = tuple(inputs.shape[-2:]), self.alignment.grid
        check_grid(size, grid)
        draws = torch.stack([uniform(generator(self.seed, "patch deletion", i, epoch), 2) for i in image_ids]).to(
            inputs.device
        )
        cells = (draws[:, 1] * grid**2).long()
        chosen = (draws[:, 0] < self.alignment.probability)[:, None, None, None]
        value = replacement(
            self.alignment.baseline, inputs, cells, self.seed, list(image_ids), self.zero, f"training cell {epoch}"
        )
        return torch.where(chosen & cell_masks(size, grid, cells), value, inputs)


@dataclass(frozen=True)
class RandomMasks:
    """Replaces random pixels of encoded images by an alignment; zero (C,) is the zero baseline of the encoded space."""

    alignment: Alignment
    zero: Tensor
    seed: int = 0

    def __call__(self, inputs: Tensor, image_ids: Sequence[str], epoch: int) -> Tensor:
        """Images (B, C, H, W), each without a share of its pixels that is uniform in 0 to the alignment's; drawn per
        image and epoch, all channels of a pixel together."""
        size, masks = tuple(inputs.shape[-2:]), []
        for image_id in image_ids:
            draw = generator(self.seed, "random masks", image_id, epoch)
            share = self.alignment.probability * uniform(draw)
            masks.append(uniform(draw, 1, *size) < share)
        nothing = torch.zeros(len(inputs), dtype=torch.int64)
        value = replacement(
            self.alignment.baseline, inputs, nothing, self.seed, list(image_ids), self.zero, f"training mask {epoch}"
        )
        return torch.where(torch.stack(masks).to(inputs.device), value, inputs)
