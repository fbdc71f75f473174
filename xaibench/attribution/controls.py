"""Controls: maps that do not use the model. They are on every board, without a rank, to compare scores with."""

from __future__ import annotations

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError


def random_map(e: Evidence) -> Tensor:
    """(P, 1, H, W): independent U(0, 1) per pixel, drawn per image."""
    return e.random("random map", (1, *e.images.shape[2:]), torch.rand)[e.owner]


def constant_map(e: Evidence) -> Tensor:
    """(P, 1, H, W): ones."""
    return torch.ones_like(e.inputs[:, :1])


def centre_prior(e: Evidence, sigma: float = 0.25) -> Tensor:
    """(P, 1, H, W): a Gaussian in the middle whose standard deviation is `sigma` of each side."""
    height, width = e.images.shape[2:]
    y, x = (((torch.arange(n) + 0.5) / n - 0.5) / sigma for n in (height, width))
    bump = torch.exp(-(y[:, None] ** 2 + x**2) / 2).to(e.images)
    return bump.expand(len(e.targets), 1, height, width)


def edges(e: Evidence) -> Tensor:
    """(P, 1, H, W): magnitude of the Sobel gradient of the channel mean of the input.

    Where channels 1 - x follow those of x, the mean of x alone is used: the mean of all channels is constant.
    """
    half = len(e.zero) // 2
    complement = len(e.zero) == 2 * half and bool((e.zero[:half] + e.zero[half:] == 1).all())
    grey = (e.inputs[:, :half] if complement else e.inputs).mean(1, keepdim=True)
    smooth, slope = torch.tensor([1.0, 2.0, 1.0]), torch.tensor([-1.0, 0.0, 1.0])
    kernel = torch.outer(smooth, slope)
    kernels = torch.stack([kernel, kernel.T])[:, None].to(grey)
    padded = torch.nn.functional.pad(grey, (1, 1, 1, 1), mode="replicate")
    return torch.nn.functional.conv2d(padded, kernels).norm(dim=1, keepdim=True)


def oracle(e: Evidence) -> Tensor:
    """A placeholder for the protocol's own best map, which a run takes from the protocol; calling it is an error."""
    raise XaibenchError("the oracle belongs to a protocol; run it under one")
