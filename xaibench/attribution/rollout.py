"""Attention Rollout and Grad-CAM of attention: maps (P, 1, h, w) of a vision transformer's patches."""

from __future__ import annotations

import torch
from torch import Tensor

from xaibench.attribution.attention import attentions, last_attention, transformer_of
from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError


def flow(matrices: Tensor, first: int = 1) -> Tensor:
    """(N, T, T): the product of matrices (N, blocks, T, T) from the block number `first` on, the last leftmost.

    Raises XaibenchError where there is no such block.
    """
    blocks = matrices.shape[1]
    if not isinstance(first, int) or not 1 <= first <= blocks:
        raise XaibenchError(f"first is the block, from 1 to {blocks}, with which the product begins, not {first}")
    product = matrices[:, first - 1]
    for block in range(first, blocks):
        product = matrices[:, block] @ product
    return product


def rollout_matrix(attention: Tensor, first: int = 1) -> Tensor:
    """(N, T, T): how much of each token (column) reaches each token (row), from attention (N, blocks, T, T).

    The skip connection counts as much as attention: rows of A + I are scaled to sum to one, so those of the product do.
    """
    mixed = attention + torch.eye(attention.shape[-1]).to(attention)
    return flow(mixed / mixed.sum(-1, keepdim=True), first)


def rollout(e: Evidence, first: int = 2) -> Tensor:
    """Abnar & Zuidema 2020: attention, the mean over heads, followed through the blocks; the same for every class.

    The published IDSDS code leaves the first block out (first = 2).
    """
    vit = transformer_of(e)
    rows = vit.patches_read(rollout_matrix(attentions(e), first))
    return vit.placed(rows[e.owner, None])


def vit_grad_cam(e: Evidence) -> Tensor:
    """Grad-CAM whose channels are the heads of the last block, a baseline of Chefer et al. 2021.

    Activations are the attention from the tokens that the head reads to the patches, weights the spatial means of the
    gradient.
    """
    vit = transformer_of(e)
    maps, gradients = (vit.patches_read(part) for part in last_attention(e))
    return vit.placed(torch.relu((gradients.mean((2, 3), keepdim=True) * maps).mean(1, keepdim=True)))
