"""Patch deletion: a training augmentation that makes the deletion of one cell nothing new to a model.

Hesse, Schaub-Meyer, Roth, NeurIPS 2024: after augmentation and normalisation, each image on its own loses, with
probability 0.5, one cell of the grid, drawn uniformly, to the baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.cards import Alignment
from xaibench.protocols.patches import cell_masks, check_grid, replacement
from xaibench.seeds import generator


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
        draws = torch.stack(
            [torch.rand(2, generator=generator(self.seed, "patch deletion", i, epoch)) for i in image_ids]
        ).to(inputs.device)
        cells = (draws[:, 1] * grid**2).long()
        chosen = (draws[:, 0] < self.alignment.probability)[:, None, None, None]
        value = replacement(
            self.alignment.baseline, inputs, cells, self.seed, list(image_ids), self.zero, f"training cell {epoch}"
        )
        return torch.where(chosen & cell_masks(size, grid, cells), value, inputs)
