"""DiFull: the grid pointing game on a network whose output depends on the cell of the explained image alone.

Rao, Böhle, Schiele, CVPR 2022. Attribution in any other cell is wrong by construction, so this is a control of
`grid-pg`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from xaibench.attribution.evidence import Evidence
from xaibench.attribution.reach import finder_of, uncounted
from xaibench.attribution.runner import ModelRunner
from xaibench.models.disconnected import Disconnected
from xaibench.protocols.grids import Grids
from xaibench.protocols.localization.grid_pg import GridPointing, grid_evidence


@dataclass(frozen=True)
class DisconnectedPointing(GridPointing):
    """DiFull: the share of GridPG, of a network that sees each cell on its own and gives the logits of the own cell.

    A map that shows what can influence the output scores 1. Settings: those of `GridPointing`.
    """

    def parts(self, e: Evidence, grids: Grids, pairs: Tensor) -> list[tuple[Tensor, Evidence]]:
        """Evidence about the grids of some pairs, one part for each cell that holds an explained image."""
        parts = []
        for own in grids.own[pairs].unique().tolist():
            chosen = pairs[grids.own[pairs] == own]
            parts.append((chosen, grid_evidence(e, grids, chosen).with_model(*self.network(e, own))))
        return parts

    def network(self, e: Evidence, own: int) -> tuple[ModelRunner, nn.Module | None]:
        """The runner and the CAM layer of the network that gives the logits of a cell, made once for the run."""
        run = e.runner
        layer = next((name for name, module in run.net.named_modules() if module is e.cam_layer), "")
        key = ("disconnected", layer, self.cells, own)
        if key not in run.memo:
            with uncounted(run):
                net = Disconnected(run.net, layer, self.cells, own, run.output, finder_of(run, e.images))
            run.memo[key] = ModelRunner(net, chunk=run.chunk, precision=run.precision), net.stage if layer else None
        return run.memo[key]
