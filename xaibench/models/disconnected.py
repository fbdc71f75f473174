"""A network that processes the cells of a grid one by one, and whose logits are those of one cell.

The other cells cannot influence them, by construction.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from xaibench.errors import XaibenchError
from xaibench.models.layouts import MapFinder, MapLayout, Maps
from xaibench.models.outputs import as_matrix, described


def cut(grids: Tensor, cells: int) -> Tensor:
    """(N * cells², C, H, W): the cells of grids (N, C, cells * H, cells * W), row by row, grid after grid."""
    parts = grids.unflatten(3, (cells, -1)).unflatten(2, (cells, -1))
    return parts.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def joined(parts: Tensor, cells: int) -> Tensor:
    """Grids (N, C, cells * H, cells * W) of their cells (N * cells², C, H, W); the inverse of `cut`."""
    grids = parts.unflatten(0, (-1, cells, cells)).permute(0, 3, 1, 4, 2, 5)
    return grids.flatten(4, 5).flatten(2, 3)


class Disconnected(nn.Module):
    """From grids of encoded images (N, C, cells * H, cells * W) to the logits (N, K) of the cell number `own`.

    The maps that `layer`, a path in net ("" for none), gives for the cells pass through the module `stage` as one map
    of the grid, (N, K, cells * h, cells * w), and go on cell by cell: `stage` is the CAM layer of this network, and
    `joined_at` gives such a module for any other layer. output selects the logits from the output of net. Tokens are
    handled as the map of their patches; finder is what is known of the maps in net for images of a cell's size. Every
    cell is an input of the original network, which is not changed.
    """

    def __init__(
        self,
        net: nn.Module,
        layer: str,
        cells: int,
        own: int,
        output: Callable[[object], Tensor] | None = None,
        finder: MapFinder | None = None,
    ):
        super().__init__()
        self.net, self.layer, self.cells, self.own, self.output = net, layer, cells, own, output
        self.stage, self.further = Maps(), nn.ModuleDict()
        self.training, self.finder = net.training, finder
        if layer and finder is not None:
            finder.layout_at(layer)  # outside of passes, which others may watch

    def joined_at(self, path: str) -> nn.Module:
        """The module that the maps of the cells at a path in net pass through as one map of the grid, from now on."""
        if path == self.layer:
            return self.stage
        key = path.replace(".", "/")  # names of modules have no dots
        if key not in self.further:
            self.further[key] = Maps()
            if self.finder is not None:
                self.finder.layout_at(path)
        return self.further[key]

    def forward(self, grids: Tensor) -> Tensor:
        """Logits (N, K) of the own cell of each grid."""
        # for this pass only: copies of a network are made without its hooks
        stages = {self.layer: self.stage} if self.layer else {}
        stages |= {key.replace("/", "."): stage for key, stage in self.further.items()}
        parts = cut(grids, self.cells)
        if self.finder is None or self.finder.inputs.shape[1:] != parts.shape[1:]:
            self.finder = MapFinder(self.net, parts)
        layouts = {path: self.finder.layout_at(path) for path in stages}
        handles = [
            self.net.get_submodule(path).register_forward_hook(partial(self._pass_on, stage, layouts[path]))
            for path, stage in stages.items()
            if layouts[path] is not None
        ]
        try:
            raw = self.net(parts)
        finally:
            for handle in handles:
                handle.remove()
        given = self.output(raw) if self.output else raw
        logits = as_matrix(given, len(parts))
        if logits is None:
            raise XaibenchError(f"the model returns {described(given)}, not logits (N, K); pick them with output=")
        return logits.unflatten(0, (-1, self.cells**2))[:, self.own]

    def _pass_on(self, stage: nn.Module, layout: MapLayout, module: nn.Module, args: tuple, output: Tensor) -> Tensor:
        """The maps of the cells after a stage."""
        return layout.with_map(output, cut(stage(joined(layout.to_map(output), self.cells)), self.cells))
