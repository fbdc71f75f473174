"""Passes of a network that show what its modules give: their shapes, and how they change with parts of the image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xaibench.models.modes import evaluating
from xaibench.models.tokens import Layout
from xaibench.seeds import generator, normal
from xaibench.surroundings import Generators

CELLS = 3  # per side: parts of the image that are changed, one at a time


@dataclass(frozen=True)
class Seen:
    """One call of a module in one pass: its path, which of its calls, and the shapes of input and output (None for
    what is no tensor)."""

    path: str
    call: int
    module: nn.Module
    taken: tuple[int, ...] | None
    given: tuple[int, ...] | None


@dataclass(frozen=True)
class Response:
    """How a module's output (N, ...) changes where one of the cells of an image changes.

    rows and columns: for each axis (the first, of images, has 0) the correlation, over the cells, of the place of the
    change along the axis with the row, or column, of the cell. along: for each axis the size of the change at each
    place, (cells, length), float32.
    """

    along: tuple[Tensor, ...]

    @property
    def rows(self) -> list[float]:
        """Per axis, the correlation with the row of the changed cell."""
        return [0.0] + [_correlation(_centre(part), _cells()[0]) for part in self.along]

    @property
    def columns(self) -> list[float]:
        """Per axis, the correlation with the column of the changed cell."""
        return [0.0] + [_correlation(_centre(part), _cells()[1]) for part in self.along]

    def agreement(self, layout: Layout) -> float:
        """The smaller one of the correlations of row and column of the change, in the grid of tokens, with those of
        the cell."""
        grid = self.along[layout.axis - 1][:, layout.prefix :].unflatten(1, layout.grid)
        rows, columns = _centre(grid.sum(2)), _centre(grid.sum(1))
        either = [_correlation(rows, _cells()[0])] if layout.grid[0] > 1 else []
        return min(either + ([_correlation(columns, _cells()[1])] if layout.grid[1] > 1 else []))

    def others_are_first(self, layout: Layout) -> bool:
        """Whether the tokens that are no patches come first, not last: they see all cells, patches one cell most."""
        if not layout.prefix:
            return True
        change = self.along[layout.axis - 1]
        most = change.amax(0) / change.sum(0)  # NaN for tokens that do not change, as before the first attention
        return not most[: layout.prefix].nan_to_num(0).mean() >= most[-layout.prefix :].nan_to_num(0).mean()


def look(net: nn.Module, inputs: Tensor, refused: bool = False) -> list[Seen]:
    """Every call of a network's modules in the order in which they finish, in one pass in evaluation mode without
    gradients.

    With refused, a pass that the network breaks off is no error: the calls are those until then.
    """
    seen: list[Seen] = []
    paths, calls = {module: path for path, module in net.named_modules()}, Counter()

    def note(module: nn.Module, args: tuple, output: object) -> None:
        path = paths[module]
        seen.append(Seen(path, calls[path], module, _shape(args[0] if args else None), _shape(output)))
        calls[path] += 1

    with observed(net, note), torch.no_grad():
        try:
            net(inputs.clone())  # a network may write into its input
        except Exception:  # whatever a network raises for images that it does not take
            if not refused:
                raise
    return seen


def responses(net: nn.Module, inputs: Tensor, modules: Iterable[nn.Module]) -> dict[tuple[str, int], Response]:
    """The response of every call of some modules that gives a tensor with three or four axes, by its path and number,
    to changes of the cells of an image of noise as large as the inputs (N, C, H, W)."""
    chosen, parts = set(modules), {}
    paths = {module: path for path, module in net.named_modules() if module in chosen}

    def note(module: nn.Module, args: tuple, output: object) -> None:
        path = paths[module]
        key = path, calls[path]
        calls[path] += 1
        if isinstance(output, Tensor) and output.ndim in (3, 4) and len(output) == count and not output.is_complex():
            change = (output[1:].float() - output[:1].float()).square()
            axes = range(1, output.ndim)
            parts.setdefault(key, []).append([change.sum([a for a in axes if a != axis]) for axis in axes])

    images = _changed(inputs)
    for group in images[1:].split(CELLS):  # a few at a time, each beside the unchanged image
        batch, calls = torch.cat([images[:1], group]), Counter()
        count = len(batch)
        with observed(net, note, paths), torch.no_grad():
            net(batch)
    whole = {key: found for key, found in parts.items() if len(found) == CELLS}
    return {key: Response(tuple(map(torch.cat, zip(*found, strict=True)))) for key, found in whole.items()}


@contextmanager
def observed(
    net: nn.Module, note: Callable[[nn.Module, tuple, object], None], modules: Iterable[nn.Module] | None = None
) -> Iterator[None]:
    """While active, a network is in evaluation mode, and `note` is told each call of its modules, or of those that are
    given; afterwards modes, hooks and random generators are as before."""
    generators = Generators()
    handles = [module.register_forward_hook(note) for module in (net.modules() if modules is None else modules)]
    try:
        with evaluating(net):
            yield
    finally:
        generators.restore()
        for handle in handles:
            handle.remove()


def _changed(inputs: Tensor) -> Tensor:
    """(1 + CELLS², C, H, W): noise, and the same with one cell after the other replaced by other noise."""
    shape, random = inputs.shape[1:], generator(0, "where a change is seen")
    one, other = (normal(random, *shape) for _ in range(2))
    images = one.repeat(1 + CELLS**2, 1, 1, 1)
    ends = [[round(k * side / CELLS) for k in range(CELLS + 1)] for side in shape[1:]]
    for number in range(CELLS**2):
        row, column = divmod(number, CELLS)
        cell = ..., slice(*ends[0][row : row + 2]), slice(*ends[1][column : column + 2])
        images[1 + number][cell] = 3 * other[cell]
    return images.to(inputs)


def _cells() -> tuple[Tensor, Tensor]:
    number = torch.arange(CELLS**2, dtype=torch.float64)
    return number // CELLS, number % CELLS


def _centre(change: Tensor) -> Tensor:
    """The mean place (cells,) of a change (cells, length) along an axis."""
    place = torch.arange(change.shape[1], dtype=change.dtype, device=change.device)
    return (change @ place / change.sum(1)).cpu().double()


def _correlation(one: Tensor, other: Tensor) -> float:
    """Pearson's; -1 where it is not defined."""
    value = float(torch.corrcoef(torch.stack([one, other]))[0, 1]) if one.isfinite().all() and one.std() > 0 else -1.0
    return value if value == value else -1.0


def _shape(value: object) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None
