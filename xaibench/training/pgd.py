"""Projected gradient descent on pixels: images near others on which a loss is as high as a few steps make it.

Madry et al., ICLR 2018, https://arxiv.org/abs/1706.06083: from a random point of the ball around an image, steps of a
fixed length in the direction that raises the loss most, each followed by the projection on the ball; the last point
counts. Pixels are those in [0, 1], before normalisation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from xaibench.seeds import normal, uniform

NORMS = ("linf", "l2")


def lengths(change: Tensor) -> Tensor:
    """Euclidean norms (N, 1, 1, 1) of changes (N, C, H, W)."""
    return change.flatten(1).norm(dim=1)[:, None, None, None]


def project(change: Tensor, norm: str, epsilon: float) -> Tensor:
    """The points (N, C, H, W) of the ball of radius epsilon that are nearest to changes, in the Euclidean sense."""
    if norm == "linf":
        return change.clamp(-epsilon, epsilon)
    return change * (epsilon / lengths(change).clamp(min=1e-30)).clamp(max=1)


def steepest(gradient: Tensor, norm: str) -> Tensor:
    """The change (N, C, H, W) of length one that raises a linear function most; 0 where its gradient is 0."""
    return gradient.sign() if norm == "linf" else gradient / lengths(gradient).clamp(min=1e-30)


def random_change(shape: tuple[int, ...], norm: str, epsilon: float, random: torch.Generator) -> Tensor:
    """A change of one image, of a shape, drawn uniformly from the ball of radius epsilon."""
    if norm == "linf":
        return (2 * uniform(random, *shape) - 1) * epsilon
    direction = normal(random, *shape)
    radius = uniform(random) ** (1 / direction.numel())
    return direction / direction.norm() * radius * epsilon


def attack(
    loss: Callable[[Tensor], Tensor],
    pixels: Tensor,
    *,
    norm: str,
    epsilon: float,
    steps: int,
    step_size: float,
    start: Tensor | None = None,
) -> Tensor:
    """Images (N, C, H, W) in [0, 1], at most epsilon from `pixels`, on which a loss is high; without a gradient.

    loss(images) is the sum of the losses of the images, none of which depends on the others. norm: `linf`, the largest
    change of a value, or `l2`, the Euclidean norm of an image's change. start: the change (N, C, H, W) to begin with.
    Both cuts, to the ball and to [0, 1], leave each other in force: a value that is cut to [0, 1] comes nearer to that
    of its image.
    """

    def near(images: Tensor) -> Tensor:
        return (pixels + project(images - pixels, norm, epsilon)).clamp(0, 1)

    images = near(pixels if start is None else pixels + start.to(pixels))
    for _ in range(steps):
        with torch.enable_grad():
            images.requires_grad_(True)
            (gradient,) = torch.autograd.grad(loss(images), images)
        images = near(images.detach() + step_size * steepest(gradient, norm))
    return images.detach()
