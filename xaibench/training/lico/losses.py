"""The two losses of LICO between images and texts. Lei et al. 2023, equations 1 to 5, as Bartak et al. 2024 ran them.

B samples; the map of an image has C channels, its text T tokens, both over the same P positions. Values and gradients
are finite at equal samples, empty channels and zero tokens.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from xaibench.training.lico.sinkhorn import Transport, sinkhorn
from xaibench.training.vectors import unit

LOG_SCALES = (0.0, math.log(100))
"""The bounds of log scale, as in CLIP: without them the scale falls until all rows are uniform."""


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|² (..., M, N) of rows x (..., M, P) and y (..., N, P), up to rounding, which may make it negative."""
    inner = x @ y.mT
    return x.square().sum(-1)[..., :, None] + y.square().sum(-1)[..., None, :] - 2 * inner


def distances(x: Tensor) -> Tensor:
    """Euclidean distances (B, B) of the rows (B, P) of unit length or 0.

    Equal rows, those whose squared distance is within the rounding error, are at 0 with gradient 0.
    """
    square = squared_distances(x, x)
    apart = square > 16 * torch.finfo(x.dtype).eps
    return torch.where(apart, torch.where(apart, square, 1).sqrt(), 0)


def mm_loss(images: Tensor, texts: Tensor, log_scale: Tensor | float) -> Tensor:
    """Manifold matching: the mean over the batch of KL(text row || image row), a scalar >= 0.

    images (B, C, P), texts (B, T, P). Each sample is flattened and brought to unit length; its row is the softmax over
    the batch of -exp(log_scale) x Euclidean distance, itself included. Gradients reach both sides and the scale.
    """
    rows = [F.log_softmax(-distances(unit(x.flatten(1))) * _scale(log_scale, x), 1) for x in (images, texts)]
    return F.kl_div(*rows, reduction="batchmean", log_target=True)


def _scale(log_scale: Tensor | float, like: Tensor) -> Tensor:
    return torch.as_tensor(log_scale, dtype=like.dtype, device=like.device).exp()


def ot_loss(
    images: Tensor, texts: Tensor, epsilon: float = 0.1, *, iterations: int = 1000, tolerance: float = 1e-3
) -> tuple[Tensor, Transport]:
    """Optimal transport of an image's channels to its text's tokens: the mean cost over the batch, a scalar in [0, 4].

    images (B, C, P), texts (B, T, P). Channels and tokens are brought to unit length over the positions, the cost is
    the squared Euclidean distance, all channels weigh the same and all tokens too. The transport comes with it, whose
    `error` says whether it converged.
    """
    found = sinkhorn(squared_distances(unit(images), unit(texts)), epsilon, iterations=iterations, tolerance=tolerance)
    return found.cost.mean(), found
