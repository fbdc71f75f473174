"""GridPG and DiFull: of a grid of images, does a map point at the one whose class is explained?

Rao, Böhle, Schiele, CVPR 2022. In GridPG the network sees the whole grid; in DiFull only the cell of the explained
image is connected to the output, so that attribution elsewhere is wrong by construction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from xaibench.attribution.evidence import Evidence
from xaibench.attribution.runner import ModelRunner
from xaibench.errors import XaibenchError, one_line
from xaibench.models.disconnected import Disconnected, cut
from xaibench.protocols.base import Protocol, Scores, status_of
from xaibench.protocols.grids import Grids, make_grids
from xaibench.protocols.masks import between, positive_part
from xaibench.protocols.settings import OUTPUTS, check_choices, check_whole


def cell_share(maps: Tensor, cells: int, own: Tensor) -> Tensor:
    """Positive attribution in the own cell / all positive attribution: (P,) float64 in [0, 1], higher is better.

    maps (P, 1, cells * H, cells * W); own (P,) int64 counts cells row by row. NaN where a map has no positive value, or
    is not finite anywhere. The scale of a map changes nothing.
    """
    sums = cut(positive_part(maps)[:, None], cells).sum((1, 2, 3)).view(-1, cells**2)
    return sums.gather(1, own[:, None])[:, 0] / sums.sum(1)


@dataclass(frozen=True)
class Shown:
    """Evidence about grids, in parts that name their pairs (n,); the own cell of each pair (P,); which pairs (P,) bool
    the model is not sure enough of to be judged; and the run's Passes."""

    parts: list[tuple[Tensor, Evidence]]
    own: Tensor
    unsure: Tensor
    run: ModelRunner


@dataclass(frozen=True)
class GridPointing(Protocol):
    """GridPG: positive attribution in the cell of the explained image, as a share of all.

    Settings: cells a side; confidence, the least probability of its label with which the model has to classify an image
    on its own for it to be judged; attribution_output (logit, probability). The label is what is explained.
    """

    shows_others: ClassVar[bool] = True
    cells: int = 2
    confidence: float = 0.0
    attribution_output: str = "logit"

    def __post_init__(self):
        check_choices(self, attribution_output=OUTPUTS)
        check_whole(self, cells=2)
        between("confidence", self.confidence, 0, 1)

    @property
    def description(self) -> str:
        """Such as `grids of 2x2, logit, images from 0.99`."""
        sure = f", images from {self.confidence:g}" if self.confidence else ""
        return f"grids of {self.cells}x{self.cells}, {self.attribution_output}{sure}"

    def prepare(self, e: Evidence) -> Shown:
        """The grids, the same for all methods, and the evidence about them that methods share."""
        grids = make_grids(e, self.cells)
        unsure = torch.zeros(len(e.targets), dtype=torch.bool, device=grids.own.device)
        if self.confidence:
            unsure = ~(e.scores(e.logits(), "probability") >= self.confidence)
        return Shown(self.parts(e, grids, (~unsure).nonzero()[:, 0]), grids.own, unsure, e.runner)

    def parts(self, e: Evidence, grids: Grids, pairs: Tensor) -> list[tuple[Tensor, Evidence]]:
        """Evidence about the grids of some pairs (n,), through the network as it is."""
        if not len(pairs):
            return []
        _check_size(e.runner, grids.images)
        return [(pairs, _about(e, grids, pairs))]

    def score(self, prepared: Shown, maps: Tensor) -> Scores:
        """Raises XaibenchError: maps of the images alone do not say what the method makes of grids."""
        raise XaibenchError("this protocol explains grids of images: it judges methods, not maps; use `xaibench.run`")

    def score_method(self, prepared: Shown, maps: Tensor, again: Callable[[Evidence], Tensor]) -> Scores:
        """The share of the own cell per pair; undefined without positive attribution, or where the model is unsure."""
        own = prepared.own
        values = torch.full(own.shape, torch.nan, dtype=torch.float64, device=own.device)
        for pairs, evidence in prepared.parts:
            found = self._explained(evidence, prepared.run, again).to(own.device)
            values[pairs] = cell_share(found, self.cells, own[pairs])
        return status_of(values, ~values.isfinite(), prepared.unsure)

    def _explained(self, e: Evidence, run: ModelRunner, again: Callable[[Evidence], Tensor]) -> Tensor:
        """Maps (n, 1, H, W) of grids, of which a pass has room for fewer than of images.

        A network of its own has its own Passes, which also count copies that adapters make of it; each of its inputs is
        cells² inputs of the model.
        """
        runner, larger = e.runner, self.cells**2
        chunk, forwards, backwards = run.chunk, run.forwards, run.backwards
        runner.chunk = fits = max(1, chunk // larger)
        if runner is not run:
            runner.forwards = runner.backwards = 0
        try:
            return again(e)
        finally:
            run.chunk = chunk if runner.chunk == fits else min(chunk, runner.chunk * larger)
            if runner is not run:
                run.forwards, run.backwards = forwards + larger * runner.forwards, backwards + larger * runner.backwards


@dataclass(frozen=True)
class DisconnectedPointing(GridPointing):
    """DiFull: the same share, explaining a network that sees each cell on its own and only answers for the own cell.

    A map that shows what can influence the output scores 1. Settings: those of `GridPointing`.
    """

    def parts(self, e: Evidence, grids: Grids, pairs: Tensor) -> list[tuple[Tensor, Evidence]]:
        """Evidence about the grids of some pairs, one part for each cell in which their images stand."""
        found = []
        for own in grids.own[pairs].unique().tolist():
            chosen = pairs[grids.own[pairs] == own]
            found.append((chosen, _about(e, grids, chosen).with_model(*self.network(e, own))))
        return found

    def network(self, e: Evidence, own: int) -> tuple[ModelRunner, nn.Module | None]:
        """Passes and CAM layer of the network that answers for a cell, made once for the run."""
        run = e.runner
        layer = next((name for name, module in run.net.named_modules() if module is e.cam_layer), "")
        key = ("disconnected", layer, self.cells, own)
        if key not in run.memo:
            net = Disconnected(run.net, layer, self.cells, own, run.output)
            run.memo[key] = ModelRunner(net, chunk=run.chunk, precision=run.precision), net.stage if layer else None
        return run.memo[key]


def _about(e: Evidence, grids: Grids, pairs: Tensor) -> Evidence:
    """Evidence about the grids of some pairs (n,)."""
    return e.explaining(e.targets[pairs], e.owner[pairs], e.output).at(grids.images[pairs])


def _check_size(runner: ModelRunner, grids: Tensor) -> None:
    """Raises XaibenchError unless the network takes images of the grids' size; tried once for the run."""
    key = ("takes", *grids.shape[1:])
    if key in runner.memo:
        return
    try:
        runner.logits(1, lambda index: grids[index])
    except XaibenchError:
        raise
    except Exception as error:
        words = one_line(error, 300)
        raise XaibenchError(
            f"the model cannot take grids of {grids.shape[2]}x{grids.shape[3]} pixels, which grid-pg shows it (difull "
            f"does not): {type(error).__name__}: {words}"
        ) from error
    runner.memo[key] = True
