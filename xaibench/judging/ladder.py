"""The degradation ladder: a map that is known to be right, made worse in steps whose order is known beforehand.

There is one ladder for each kind of degradation. A ladder is used only where the likeness to the true map (Pearson's
correlation and the cosine, over pixels) falls at every step; where a draw does not give that, another is made, and
after `DRAWS` of them the image has no ladder of that kind, which is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from xaibench.seeds import generator, normal

DOSES = (0.0, 0.25, 0.5, 0.75, 1.0)
DRAWS = 20
STEP = 1e-4  # the least fall of the likeness from one step to the next
BLOCK = 4  # pixels: the side of the squares that are flipped or shuffled
NOISE = 2.0  # standard deviations of the true map that the whole dose of noise has
FAR = 0.125  # of the side: how far the whole dose of a shift goes
WIDE = 0.125  # of the side: the standard deviation of the whole dose of a blur
SCALES = (4, 8, 16, 32)  # cells a side of the random map, which has equal power at each


def likeness(maps: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Pearson's correlation and the cosine of maps (n, H, W) with the true map (H, W), each (n,) float64 in [-1, 1]."""
    a, b = maps.double().flatten(1), truth.double().flatten()
    cosine = a @ b / (a.norm(dim=1) * b.norm())
    a, b = a - a.mean(1, keepdim=True), b - b.mean()
    return a @ b / (a.norm(dim=1) * b.norm()), cosine


def falls(maps: Tensor, truth: Tensor) -> bool:
    """Whether the likeness of maps (n, H, W) to the true map falls by at least `STEP` from each to the next."""
    return all(bool((each.diff() <= -STEP).all()) for each in likeness(maps, truth))


def ladder(truth: Tensor, kind: str, seed: int, image_id: str, doses: Sequence[float] = DOSES) -> Tensor | None:
    """The true map made worse in steps, (doses, H, W) float64: the first is the map itself where its dose is 0.

    Args:
        truth: (H, W) square, any real dtype.
        kind: one of `KINDS`.
        seed, image_id: what is drawn depends on these, the kind and the number of the draw alone.
        doses: rising, each in [0, 1].

    Returns None where the map is constant or not finite, or where the order of no draw is sure.
    """
    truth = truth.double()
    if not truth.isfinite().all() or (truth == truth.flatten()[0]).all():
        return None
    for draw in range(DRAWS):
        # every dose draws the same, so that it has what the lower ones have
        dice = [generator(seed, f"ladder {kind} {draw}", image_id) for _ in doses]
        maps = torch.stack(
            [KINDS[kind](truth, dose, each) if dose else truth for dose, each in zip(doses, dice, strict=True)]
        )
        if falls(maps, truth):
            return maps
    return None


def _noise(truth: Tensor, dose: float, dice: torch.Generator) -> Tensor:
    """White noise that is orthogonal to the map is added: the correlation is 1 / sqrt(1 + (NOISE dose)²)."""
    return truth + NOISE * dose * _orthogonal(normal(dice, *truth.shape), truth)


def _random(truth: Tensor, dose: float, dice: torch.Generator) -> Tensor:
    """On the straight way to a random map that has the true map's mean and variance and is uncorrelated with it."""
    return torch.lerp(truth, truth.mean() + _orthogonal(_random_map(truth.shape, dice), truth), dose)


def _random_map(shape: Sequence[int], dice: torch.Generator) -> Tensor:
    """Normal noise of equal power at several scales, (H, W)."""
    layers = [normal(dice, 1, 1, cells, cells) for cells in SCALES]
    return sum(torch.nn.functional.interpolate(each, size=tuple(shape), mode="nearest") for each in layers)[0, 0]


def _orthogonal(drawn: Tensor, truth: Tensor) -> Tensor:
    """A drawn map without its part along the true map, of mean 0 and with the true map's standard deviation."""
    centred = truth - truth.mean()
    drawn = drawn.double() - drawn.double().mean()
    drawn = drawn - (drawn * centred).sum() / (centred * centred).sum() * centred
    return drawn * (centred.norm() / drawn.norm())


def _shift(truth: Tensor, dose: float, dice: torch.Generator) -> Tensor:
    """The map is moved in one of eight directions; what leaves at one side comes in at the other."""
    down, right = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))[int(_shuffled(8, dice)[0])]
    far = round(dose * FAR * truth.shape[0])
    return truth.roll((down * far, right * far), (0, 1))


def _blur(truth: Tensor, dose: float, dice: torch.Generator) -> Tensor:
    """A Gaussian blur of the map on a torus: there the likeness falls with the width, whatever the map."""
    rows, columns = (torch.fft.fftfreq(n, dtype=torch.float64) for n in truth.shape)
    sigma = dose * WIDE * truth.shape[0]
    factor = torch.exp(-2 * torch.pi**2 * sigma**2 * (rows[:, None] ** 2 + columns**2))
    return torch.fft.ifft2(torch.fft.fft2(truth) * factor).real


def _sign(truth: Tensor, dose: float, dice: torch.Generator) -> Tensor:
    """The sign is flipped in a share of the squares in which the map is not zero; each dose has those of the lower."""
    squares = _squares(truth)
    filled = squares.abs().sum((1, 2)).nonzero()[:, 0]
    chosen = filled[_shuffled(len(filled), dice)[: round(dose * len(filled))]]
    squares[chosen] = -squares[chosen]
    return _whole(squares, truth)


def _half_random(truth: Tensor, dose: float, dice: torch.Generator) -> Tensor:
    """A share of the squares changes places among all squares; each dose moves those of the lower."""
    squares = _squares(truth)
    order, source = _shuffled(len(squares), dice), _shuffled(len(squares), dice)
    moved = order[: round(dose * len(squares))]
    squares[moved] = squares.clone()[source[moved]]
    return _whole(squares, truth)


def _squares(truth: Tensor) -> Tensor:
    """The squares (n, BLOCK, BLOCK) of a map, row by row, as a copy."""
    parts = truth.unfold(0, BLOCK, BLOCK).unfold(1, BLOCK, BLOCK)
    return parts.reshape(-1, BLOCK, BLOCK).clone()


def _whole(squares: Tensor, truth: Tensor) -> Tensor:
    height, width = (side // BLOCK for side in truth.shape)
    return squares.view(height, width, BLOCK, BLOCK).permute(0, 2, 1, 3).reshape(truth.shape)


def _shuffled(count: int, dice: torch.Generator) -> Tensor:
    return torch.randperm(count, generator=dice)


KINDS: dict[str, Callable[[Tensor, float, torch.Generator], Tensor]] = {
    "noise": _noise,
    "shift": _shift,
    "sign": _sign,
    "blur": _blur,
    "half-random": _half_random,
    "random": _random,
}
"""The kinds of degradation by name."""
