"""How what a layer gives is a map: which axes are channels, rows and columns, or how its tokens lie in a grid.

A tensor (N, A, B, C) does not say which of its axes are positions: networks that keep channels last (Swin, MambaOut)
give (N, h, w, K), others (N, K, h, w). So it is found out: an axis that changes with the height of the images is that
of rows, one that changes with their width that of columns. Where a network refuses images of other sizes, or gives
tokens, a part of the image is changed instead, and the change of the output shows which axis tells where it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

from torch import Tensor, nn

from xaibench.errors import XaibenchError
from xaibench.models.passes import Response, Seen, look, responses
from xaibench.models.tokens import Layout, layout_of

PREFIX = 8  # at most so many tokens before those of the patches: class tokens, registers
RESPONSE = 0.8  # smallest correlation of where a change is seen with where it was made
WINDOW = 256  # modules whose responses are recorded in the same passes


class Maps(nn.Identity):
    """Passes maps (N, K, h, w) on."""


FIRST = (Maps, nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d,
         nn.AdaptiveMaxPool2d, nn.Upsample, nn.PixelShuffle)  # fmt: skip
ALIKE = (nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Hardswish, nn.LeakyReLU, nn.Sigmoid, nn.Dropout, nn.Identity)


@dataclass(frozen=True)
class AxisOrder:
    """The layout of a map with four axes: those of channels, rows and columns, a permutation of 1, 2, 3."""

    axes: tuple[int, int, int]

    def to_map(self, output: Tensor) -> Tensor:
        """The output of a layer as a map (N, K, h, w)."""
        return output if self.axes == (1, 2, 3) else output.permute(0, *self.axes)

    def with_map(self, output: Tensor, maps: Tensor) -> Tensor:
        """An output like that of the layer, from a map (N, K, h, w)."""
        return maps if self.axes == (1, 2, 3) else maps.permute(0, *(1 + self.axes.index(axis) for axis in (1, 2, 3)))

    def size(self, shape: Sequence[int]) -> tuple[int, int]:
        """Height and width of the map in an output of this shape."""
        return shape[self.axes[1]], shape[self.axes[2]]


CHANNELS_FIRST = AxisOrder((1, 2, 3))
MapLayout = AxisOrder | Layout


def check_output(output: object, count: int, layout: MapLayout | None, what: str = "the CAM layer") -> None:
    """Raises XaibenchError unless a layer gave one map, or the tokens of one, for each of `count` inputs."""
    if not isinstance(output, Tensor) or output.ndim not in (3, 4):
        raise XaibenchError(f"{what} must run once in a pass and give a map (N, K, h, w), not {_named(output)}")
    if layout is None or len(output) != count or output.ndim != (4 if isinstance(layout, AxisOrder) else 3):
        raise XaibenchError(
            f"{what} gives {_named(output)} for {count} input{'s' if count > 1 else ''}, in which no map of channels, "
            "rows and columns can be found; name another layer"
        )


def _named(output: object) -> str:
    return f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__


class MapFinder:
    """Finds the maps in what the layers of a network give for images of one size, by as few passes as are needed.

    inputs (N, C, H, W): the first is used. The network is not changed. seen: every call of its modules, in the order in
    which they finish.
    """

    def __init__(self, net: nn.Module, inputs: Tensor):
        self.net, self.inputs = net, inputs[:1].detach()
        self._layouts: dict[tuple[str, int], MapLayout | None] = {}
        self._responses: dict[tuple[str, int], Response | None] = {}
        # the images' own size comes first: some networks keep what they make for the first one
        self.seen: list[Seen] = look(net, self.inputs)

    @cached_property
    def known(self) -> Layout | None:
        """The layout of a vision transformer's tokens, where it is one that is known."""
        return layout_of(self.net, tuple(self.inputs.shape[2:]))

    @cached_property
    def resized(self) -> tuple[list[Seen], list[Seen]]:
        """The calls for images of half the height, and of half the width, or twice where the network refuses that.

        A network that refuses both, as one with a linear layer behind all positions, has at least run up to there.
        """
        found = []
        for axis in (2, 3):
            tries = []
            for factor in (0.5, 2):
                size = [*self.inputs.shape]
                size[axis] = int(factor * size[axis])
                tries.append(look(self.net, self.inputs.new_zeros(size), refused=True))
                if tries[-1] and not tries[-1][-1].path:
                    break
            found.append(max(tries, key=len))
        return found[0], found[1]

    @cached_property
    def smaller(self) -> list[Seen]:
        """The calls for images of half the height and a quarter of the width: one pass, of an eighth of the pixels."""
        count, channels, height, width = self.inputs.shape
        return look(self.net, self.inputs.new_zeros(count, channels, height // 2, width // 4), refused=True)

    def response(self, seen: Seen) -> Response | None:
        """How what a module gave changes where parts of the image change; None where that cannot be tried."""
        key = seen.path, seen.call
        if key not in self._responses and not self.inputs.is_meta:
            place = self.seen.index(seen)
            window = self.seen[max(0, place + 1 - WINDOW) : place + 1]  # those that are asked for next, too
            try:
                found = responses(self.net, self.inputs, [other.module for other in window])
            except Exception:  # a network may refuse more than one image
                found = {}
            self._responses |= dict.fromkeys([key]) | found
        return self._responses.get(key)

    def layout(self, seen: Seen) -> MapLayout | None:
        """The layout of what a module gave; None where no map is found in it."""
        key = seen.path, seen.call
        if key not in self._layouts:
            self._layouts[key] = self._find(seen)
        return self._layouts[key]

    def _find(self, seen: Seen) -> MapLayout | None:
        shape = seen.given
        if shape is None or len(shape) not in (3, 4) or shape[0] != 1:
            return None
        if len(shape) == 3:
            known = self.known
            return known if known is not None and shape[1] == known.count else self._tokens(seen)
        if _channels_first(seen.module):
            return CHANNELS_FIRST
        return self._by_sizes(seen) or self._by_response(seen) or self._by_parts(seen)

    def layout_at(self, layer: str | nn.Module) -> MapLayout | None:
        """The layout of what a layer gives, the first time; None for one that does not run, or gives no map."""
        calls = (s for s in self.seen if layer in (s.path, s.module))
        return next((self.layout(seen) for seen in calls), None)

    def size(self, seen: Seen) -> tuple[int, int] | None:
        """Height and width of the map in what a module gave; None where no map is found."""
        layout = self.layout(seen)
        return layout.size(seen.given) if layout is not None else None

    def maps(self) -> Iterator[tuple[Seen, MapLayout]]:
        """What gives a map larger than a pixel, the last first; of tokens, norms and modules that hold others.

        It ends at tokens in no order that is known, so that nothing far before them passes for the last map.
        """
        for seen in reversed(self.seen):
            tokens = len(seen.given or ()) == 3
            if not seen.path or (tokens and not (_is_norm(seen.module) or any(True for _ in seen.module.children()))):
                continue
            layout = self.layout(seen)
            if layout is not None and max(layout.size(seen.given)) > 1:
                yield seen, layout
            elif tokens and 1 in seen.given[:2] and any(self._grids(max(seen.given[:2]), 1)):
                return  # also where those of all images are one axis: (T, 1, K)

    def _by_sizes(self, seen: Seen) -> AxisOrder | None:
        """The axes that change with the height and with the width of the images."""
        if (order := self._by_smaller(seen)) is not None:
            return order
        changed = []
        for calls in self.resized:
            other = _same_call(seen, calls)
            if other is None or len(other) != 4:
                return None
            changed.append([axis for axis in (1, 2, 3) if other[axis] != seen.given[axis]])
        if [len(axes) for axes in changed] != [1, 1] or changed[0] == changed[1]:
            return None
        (rows,), (columns,) = changed
        return AxisOrder((6 - rows - columns, rows, columns))

    def _by_smaller(self, seen: Seen) -> AxisOrder | None:
        """The only axes of which one shrinks as the height of the smaller images and the other as their width."""
        other = _same_call(seen, self.smaller)
        if other is None or len(other) != 4:
            return None
        sides = [axis for axis in (1, 2, 3) if other[axis] != seen.given[axis]]
        orders = [
            (rows, columns)
            for rows, columns in permutations(sides, 2)
            if abs(other[rows] - seen.given[rows] / 2) < 1 and abs(other[columns] - seen.given[columns] / 4) < 1
        ]
        return AxisOrder((6 - sum(sides), *orders[0])) if len(sides) == 2 and len(orders) == 1 else None

    def _by_response(self, seen: Seen) -> AxisOrder | None:
        """The axes along which a change moves with the changed rows and columns of the image."""
        response = self.response(seen)
        if response is None:
            return None
        rows, columns = (max((1, 2, 3), key=lambda axis: moved[axis]) for moved in (response.rows, response.columns))
        if rows == columns or min(response.rows[rows], response.columns[columns]) < RESPONSE:
            return None
        return AxisOrder((6 - rows - columns, rows, columns))

    def _by_parts(self, seen: Seen) -> AxisOrder | None:
        """Channels first, where the last convolution or the like inside of the module gave the same shape, in which
        only the first axis can be that of channels."""
        count, rows, columns = seen.given[1:]
        inside = [s for s in self.seen[: self.seen.index(seen)] if s.path.startswith(seen.path + ".")]
        last = next((s.given for s in reversed(inside) if _channels_first(s.module)), None)
        return CHANNELS_FIRST if last == seen.given and count not in (rows, columns) else None

    def _tokens(self, seen: Seen) -> Layout | None:
        """The layout of tokens (1, T, K) or (1, K, T) in whose grid a change is where it was made."""
        options = [option for axis in (1, 2) for option in self._grids(seen.given[axis], axis)]
        response = self.response(seen) if options else None
        if response is None:
            return None
        best = max(options, key=lambda option: (round(response.agreement(option), 2), -option.prefix))
        found = response.agreement(best) >= RESPONSE and response.others_are_first(best)
        return best if found else None

    def _grids(self, count: int, axis: int) -> Iterator[Layout]:
        """The layouts of so many tokens: grids like the image, or like a map on the way."""
        height, width = self.inputs.shape[2:]
        grids = {(height // r, width // r) for r in range(1, min(height, width) + 1)}
        grids |= {(-(-height // r), -(-width // r)) for r in range(1, max(height, width) + 1)}
        grids |= {shape[k : k + 2] for s in self.seen if len(shape := s.given or ()) == 4 for k in (1, 2)}
        for grid in sorted(grids):
            if grid[0] * grid[1] > 1 and 0 <= count - grid[0] * grid[1] <= PREFIX:
                yield Layout(count - grid[0] * grid[1], grid, axis)


def _same_call(seen: Seen, calls: Sequence[Seen]) -> tuple[int, ...] | None:
    """The shape of what the same call of a module gave in another pass."""
    return next((other.given for other in calls if (other.path, other.call) == (seen.path, seen.call)), None)


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def _channels_first(module: nn.Module) -> bool:
    """Whether a module's output is by its definition (N, K, h, w)."""
    while isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        rest = [child for child in module if not isinstance(child, ALIKE)]
        if not rest:
            return False
        module = rest[-1]
    return isinstance(module, FIRST)
