"""GridPG, the grid pointing game: of a grid of images, does a map point at the one whose class is explained?

Rao, Böhle, Schiele, CVPR 2022. The network sees the whole grid; in `difull` it does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.attribution.runner import ModelRunner
from xaibench.errors import XaibenchError, one_line
from xaibench.models.disconnected import cut
from xaibench.protocols.base import Protocol, Scores, status_of, without_logits
from xaibench.protocols.grids import Grids, make_grids
from xaibench.protocols.masks import positive_part
from xaibench.protocols.settings import OUTPUTS, check_between, check_choices, check_whole


def cell_share(maps: Tensor, cells: int, own: Tensor) -> Tensor:
    """The share of the positive attribution that lies in one cell of a grid of images.

    sum of max(map, 0) in the own cell / sum of max(map, 0). The scale of a map changes nothing.

    Args:
        maps: (P, 1, cells * H, cells * W), any floating dtype.
        cells: cells a side of the grid.
        own: (P,) int64: the cell of the explained image, counted row by row from 0.

    Returns:
        (P,) float64 in [0, 1], higher is better; a constant map scores 1 / cells². NaN where the map has no positive
        value, or any value that is not finite.

    Examples:
        >>> import torch
        >>> from xaibench.functional import cell_share
        >>> cell_share(torch.tensor([[[[1.0, 3.0], [-9.0, 0.0]]]]), cells=2, own=torch.tensor([1])).tolist()
        [0.75]

    Source: Rao, Böhle, Schiele, Towards Better Understanding Attribution Methods, CVPR 2022 (localisation score), after
    Böhle, Fritz, Schiele, Convolutional Dynamic Alignment Networks for Interpretable Classifications, CVPR 2021.
    """
    sums = cut(positive_part(maps)[:, None], cells).sum((1, 2, 3)).view(-1, cells**2)
    return sums.gather(1, own[:, None])[:, 0] / sums.sum(1)


@dataclass(frozen=True)
class GridEvidence:
    """What GridPG prepares.

    parts: pairs (n,) int64 with the evidence about their grids; own (P,) int64: the cell of each pair's image; unsure
    (P,) bool: pairs that are left out, as the model is not sure enough of their label; run: the run's ModelRunner.
    """

    parts: list[tuple[Tensor, Evidence]]
    own: Tensor
    unsure: Tensor
    run: ModelRunner


@dataclass(frozen=True)
class GridPointing(Protocol):
    """GridPG: positive attribution in the cell of the explained image, as a share of all.

    Settings: cells a side; confidence, the lowest probability that the model must give to an image's label for the
    image to count; attribution_output (logit, probability). The label is what is explained.
    """

    shows_others: ClassVar[bool] = True
    cells: int = 2
    confidence: float = 0.0
    attribution_output: str = "logit"

    def __post_init__(self):
        check_choices(self, attribution_output=OUTPUTS)
        check_whole(self, cells=2)
        check_between("confidence", self.confidence, 0, 1)

    @property
    def description(self) -> str:
        """Such as `grids of 2x2, logit, images from 0.99`."""
        confident = f", images from {self.confidence:g}" if self.confidence else ""
        return f"grids of {self.cells}x{self.cells}, {self.attribution_output}{confident}"

    def prepare(self, e: Evidence) -> GridEvidence:
        """The grids, the same for all methods, and the evidence about them that methods share."""
        grids = make_grids(e, self.cells)
        unsure = torch.zeros(len(e.targets), dtype=torch.bool, device=grids.own.device)
        if self.confidence:
            unsure = ~(e.scores(e.logits(), "probability") >= self.confidence)
        return GridEvidence(self.parts(e, grids, (~unsure).nonzero()[:, 0]), grids.own, unsure, e.runner)

    def parts(self, e: Evidence, grids: Grids, pairs: Tensor) -> list[tuple[Tensor, Evidence]]:
        """Evidence about the grids of some pairs (n,), through the network as it is."""
        if not len(pairs):
            return []
        _check_size(e.runner, grids.images)
        return [(pairs, grid_evidence(e, grids, pairs))]

    def score(self, prepared: GridEvidence, maps: Tensor) -> Scores:
        """Raises XaibenchError: maps of single images say nothing about grids."""
        raise XaibenchError("this protocol explains grids of images: it needs the method, not maps; use `xaibench.run`")

    def score_method(self, prepared: GridEvidence, maps: Tensor, again: Callable[[Evidence], Tensor]) -> Scores:
        """The share of the own cell per pair; undefined without positive attribution, or where the model is unsure or
        its logits of the grid are not finite."""
        own = prepared.own
        values = torch.full(own.shape, torch.nan, dtype=torch.float64, device=own.device)
        left_out = prepared.unsure.clone()
        for pairs, evidence in prepared.parts:
            grid_maps = self._grid_maps(evidence, prepared.run, again).to(own.device)
            values[pairs] = cell_share(grid_maps, self.cells, own[pairs])
            left_out[pairs] |= without_logits(evidence, grid_maps)
        return status_of(values, ~values.isfinite(), left_out)

    def _grid_maps(self, e: Evidence, run: ModelRunner, again: Callable[[Evidence], Tensor]) -> Tensor:
        """Maps (n, 1, H, W) of grids; a chunk holds cells² times fewer grids than images.

        A network of its own (`difull`) has its own ModelRunner, which also counts the copies that adapters make of it;
        each of its inputs counts as cells² inputs of the model.
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


def grid_evidence(e: Evidence, grids: Grids, pairs: Tensor) -> Evidence:
    """Evidence about the grids of some pairs (n,) int64."""
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
        raise XaibenchError(
            f"the model cannot take grids of {grids.shape[2]}x{grids.shape[3]} pixels, which grid-pg shows it (difull "
            f"does not): {type(error).__name__}: {one_line(error, 300)}"
        ) from error
    runner.memo[key] = True
