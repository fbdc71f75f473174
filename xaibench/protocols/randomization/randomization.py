"""Model-parameter randomisation: does a map change when the model loses what it has learnt?

Adebayo et al., NeurIPS 2018. The map of an edge detector does not change, and neither does that of a method that does
not depend on the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from xaibench.attribution.evidence import Evidence
from xaibench.attribution.reach import finder_of, share_maps, uncounted
from xaibench.attribution.runner import ModelRunner
from xaibench.errors import XaibenchError
from xaibench.models.copies import copied
from xaibench.protocols.base import Protocol, Scores, status_of, without_logits
from xaibench.protocols.settings import OUTPUTS, TARGETS, check_choices, check_whole
from xaibench.protocols.statistics import constant_or_not_finite
from xaibench.seeds import generator, normal

MODES = ("cascading", "independent")


def rank_similarity(maps: Tensor, others: Tensor) -> Tensor:
    """The absolute value of Spearman's correlation, over pixels, of the absolute values of two maps.

    Args:
        maps: (P, 1, H, W), any floating dtype: maps of the intact model.
        others: (P, 1, H, W): maps of the randomised model.

    Returns:
        (P,) float64 in [0, 1]; the lower, the more the maps depend on the model. 0 where the absolute values of either
        map are constant, NaN where either map is not finite.

    Examples:
        >>> import torch
        >>> from xaibench.functional import rank_similarity
        >>> maps, others = torch.tensor([[[[4.0, -3.0, 2.0, 1.0]]]]), torch.tensor([[[[0.9, 0.1, 0.3, 0.0]]]])
        >>> rank_similarity(maps, others).round(decimals=6).tolist()
        [0.8]

    Source: Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim, Sanity Checks for Saliency Maps, NeurIPS 2018.
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
    """A copy of a network whose modules of these names have random parameters.

    Each parameter becomes normal draws of its own mean and standard deviation, from (seed, module, parameter), so that
    activations keep their order of magnitude; a parameter that is constant, or a single number, is unchanged.
    """
    copy, _ = copied(net)
    with torch.no_grad():
        for name in names:
            for key, parameter in copy.get_submodule(name).named_parameters(recurse=False):
                if parameter.numel() > 1:
                    drawn = normal(generator(seed, "randomized", name, key), *parameter.shape)
                    values = parameter.double()
                    parameter.copy_(values.mean() + values.std() * drawn.to(values))
    return copy


@dataclass(frozen=True)
class Randomized:
    """Evidence about the same pairs of the intact network and, stage by stage, of those that were randomised."""

    intact: Evidence
    stages: list[Evidence]

    def stage_maps(self, stage: Evidence, again: Callable[[Evidence], Tensor]) -> Tensor:
        """Maps (P, 1, H, W) of one stage. Its passes, those of copies that adapters make included, are added to the
        counts of the run's ModelRunner."""
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
    """Settings: mode (cascading: the last layers first, and each stage also randomises the layers of those before;
    independent: each group of layers alone), stages (groups of layers), target (label, prediction), attribution_output
    (logit, probability)."""

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
        """The runner and the CAM layer of the network of each stage."""
        runner = e.runner

        def make() -> list[tuple[ModelRunner, nn.Module | None]]:
            layer = next((name for name, module in runner.net.named_modules() if module is e.cam_layer), None)
            stage_models, names_so_far = [], []
            with uncounted(runner):
                finder_of(runner, e.images)
            for names in stages(runner.net, self.stages):
                names_so_far = names_so_far + names if self.mode == "cascading" else names
                copy = randomized(runner.net, names_so_far, e.seed)
                own = ModelRunner(copy, chunk=runner.chunk, precision=runner.precision, output=runner.output)
                share_maps(runner, own)
                stage_models.append((own, None if layer is None else copy.get_submodule(layer)))
            return stage_models

        key = ("randomized", self.mode, self.stages, e.seed)
        if key not in runner.memo:
            runner.memo[key] = make()
        return runner.memo[key]

    def score(self, prepared: Randomized, maps: Tensor) -> Scores:
        """Raises XaibenchError: maps of other networks are needed."""
        raise XaibenchError("randomization explains randomised networks: it needs the method, not only its maps")

    def score_method(self, prepared: Randomized, maps: Tensor, again: Callable[[Evidence], Tensor]) -> Scores:
        """Mean similarity (P,) over the stages, lower is better, and that of each as `stage-1`, `stage-2` and so on;
        undefined where the absolute values of the intact model's map are constant, or some map is not finite, which is
        nobody's fault where the logits of the randomised network are not."""
        made = [prepared.stage_maps(stage, again) for stage in prepared.stages]
        found = [rank_similarity(maps, one) for one in made]
        pairs = zip(prepared.stages, made, strict=True)
        lost = torch.stack([without_logits(stage, one) for stage, one in pairs]).any(0)
        bad_maps = constant_or_not_finite(maps.abs()) | torch.stack(found).isnan().any(0)
        also = {f"stage-{stage}": status_of(one, bad_maps, lost) for stage, one in enumerate(found, 1)}
        return replace(status_of(torch.stack(found).mean(0), bad_maps, lost), also=also)
