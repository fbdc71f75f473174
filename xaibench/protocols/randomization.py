"""Model-parameter randomisation: does a map change when what the model has learnt is destroyed?

Adebayo et al., NeurIPS 2018. An edge detector's map stays as it is; so does that of a method that only looks like it
explains the model.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from xaibench.attribution.evidence import Evidence
from xaibench.attribution.runner import ModelRunner
from xaibench.errors import XaibenchError
from xaibench.protocols.base import Protocol, Scores, status_of
from xaibench.protocols.curves import constant_or_not_finite
from xaibench.protocols.settings import OUTPUTS, TARGETS, check_choices, check_whole
from xaibench.seeds import generator

MODES = ("cascading", "independent")


def similarity(maps: Tensor, others: Tensor) -> Tensor:
    """(P,) float64 in [0, 1]: absolute Spearman correlation of the absolute values of two sets of maps (P, 1, H, W).

    0 where the size of either is constant, which the caller excludes for `maps`: nothing is left of the order of the
    others. NaN where either is not finite.
    """
    finite = maps.flatten(1).isfinite().all(1) & others.flatten(1).isfinite().all(1)
    sides = []
    for values in (maps, others):
        ranks = torch.from_numpy(rankdata(values.flatten(1).abs().double().cpu().numpy(), axis=1)).to(maps.device)
        sides.append(ranks - ranks.mean(1, keepdim=True))
    norm = sides[0].norm(dim=1) * sides[1].norm(dim=1)
    rho = (sides[0] * sides[1]).sum(1) / torch.where(norm > 0, norm, 1.0)
    return torch.where(finite, rho.abs().clamp(max=1), torch.nan)


def stages(net: nn.Module, count: int) -> list[list[str]]:
    """Names of the modules with parameters of their own, the last first, in `count` groups of nearly equal size."""
    names = [name for name, module in net.named_modules() if list(module.parameters(recurse=False))]
    if len(names) < count:
        raise XaibenchError(f"the model has {len(names)} layers with parameters, too few for {count} stages")
    names.reverse()
    cuts = [round(stage * len(names) / count) for stage in range(count + 1)]
    return [names[start:stop] for start, stop in pairwise(cuts)]


def randomized(net: nn.Module, names: list[str], seed: int) -> nn.Module:
    """A copy of a network, without its hooks, whose modules of these names have lost what they had learnt.

    Each parameter becomes normal draws of its own mean and standard deviation, from (seed, module, parameter), so that
    activations keep their order of magnitude; what is constant, or a single number, stays.
    """
    hooks = [value for module in net.modules() for name, value in vars(module).items() if "_hooks" in name]
    copy = deepcopy(net, {id(some): type(some)() for some in hooks if isinstance(some, dict)})
    with torch.no_grad():
        for name in names:
            for key, parameter in copy.get_submodule(name).named_parameters(recurse=False):
                if parameter.numel() > 1:
                    drawn = torch.randn(parameter.shape, generator=generator(seed, "randomized", name, key))
                    values = parameter.double()
                    parameter.copy_(values.mean() + values.std() * drawn.to(values))
    return copy


@dataclass(frozen=True)
class Randomized:
    """Evidence about the same pairs of the intact network and, stage by stage, of those that were randomised."""

    intact: Evidence
    stages: list[Evidence]

    def explained(self, stage: Evidence, again: Callable[[Evidence], Tensor]) -> Tensor:
        """Maps (P, 1, H, W) of one stage. The run's Passes count what it cost, also through copies that adapters made
        of the randomised network, which its own Passes count."""
        runner, run = stage.runner, self.intact.runner
        runner.forwards = runner.backwards = 0
        runner.chunk = min(runner.chunk, run.chunk)
        try:
            return again(stage)
        finally:
            run.forwards += runner.forwards
            run.backwards += runner.backwards


@dataclass(frozen=True)
class Randomization(Protocol):
    """Settings: mode (cascading: the last layers first, what a stage destroys stays so in the next; independent: each
    group of layers alone), stages (groups of layers), target (label, prediction), attribution_output (logit,
    probability)."""

    mode: str = "cascading"
    stages: int = 4
    target: str = "label"
    attribution_output: str = "logit"

    def __post_init__(self):
        check_choices(self, mode=MODES, target=TARGETS, attribution_output=OUTPUTS)
        check_whole(self, stages=1)

    def prepare(self, e: Evidence) -> Randomized:
        """Evidence through each randomised network, shared by all methods; the networks are made once for the run."""
        return Randomized(e, [e.with_model(runner, layer) for runner, layer in self.copies(e)])

    def copies(self, e: Evidence) -> list[tuple[ModelRunner, nn.Module | None]]:
        """Passes and the CAM layer of the network of each stage."""
        runner = e.runner

        def make() -> list[tuple[ModelRunner, nn.Module | None]]:
            layer = next((name for name, module in runner.net.named_modules() if module is e.cam_layer), None)
            made, gone = [], []
            for names in stages(runner.net, self.stages):
                gone = gone + names if self.mode == "cascading" else names
                copy = randomized(runner.net, gone, e.seed)
                own = ModelRunner(copy, chunk=runner.chunk, precision=runner.precision, output=runner.output)
                made.append((own, None if layer is None else copy.get_submodule(layer)))
            return made

        key = ("randomized", self.mode, self.stages, e.seed)
        if key not in runner.memo:
            runner.memo[key] = make()
        return runner.memo[key]

    def score(self, prepared: Randomized, maps: Tensor) -> Scores:
        """Raises XaibenchError: maps of other networks are needed."""
        raise XaibenchError("randomization explains randomised networks: it needs the method, not only its maps")

    def score_method(self, prepared: Randomized, maps: Tensor, again: Callable[[Evidence], Tensor]) -> Scores:
        """Mean similarity (P,) over the stages, lower is better, and that of each as `stage-1`, `stage-2` and so on;
        undefined where the size of the intact model's map is constant, or some map is not finite."""
        found = [similarity(maps, prepared.explained(stage, again)) for stage in prepared.stages]
        bad_maps = constant_or_not_finite(maps.abs()) | torch.stack(found).isnan().any(0)
        fine = torch.zeros_like(bad_maps)
        also = {f"stage-{stage}": status_of(one, bad_maps, fine) for stage, one in enumerate(found, 1)}
        return replace(status_of(torch.stack(found).mean(0), bad_maps, fine), also=also)
