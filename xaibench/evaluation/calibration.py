"""Fitting protocols that ask for it: each method on its own, to its maps of held-out images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from xaibench.attribution.runner import ModelRunner
from xaibench.datasets.base import validate_sample
from xaibench.datasets.loading import load_groups
from xaibench.errors import XaibenchError
from xaibench.evaluation.batch import batch_evidence
from xaibench.evaluation.executor import Loop, draw_maps
from xaibench.evaluation.plan import ProtocolRun
from xaibench.evaluation.plugin_errors import MethodRaised, call_protocol, in_one_line
from xaibench.evaluation.targets import TargetBatch, collect_targets
from xaibench.progress import bar
from xaibench.protocols.base import Protocol


def fit_protocols(
    loop: Loop, runner: ModelRunner, wanted: Iterable[tuple[int, int]], quiet: bool
) -> dict[tuple[int, int], Protocol]:
    """The protocols of cells (judge, method), fitted to the method's maps of the held-out images.

    A method that fails here fails under that protocol; the loop's tally says why. Raises XaibenchError where a held-out
    image is among those that are evaluated.
    """
    plan, found = loop.plan, {}
    for number in sorted({j for j, _ in wanted}):
        judge, methods = plan.judges[number], [m for j, m in wanted if j == number]
        images = plan.held_out.first(judge.protocol.held_out_images)
        if both := set(images) & set(plan.images):
            raise XaibenchError(
                f"{judge.card.name}: {len(both)} of {len(images)} held-out images are evaluated too, such as "
                f"{min(both)}; evaluate fewer (--images), hold out fewer (held_out) or name a fixed threshold"
            )
        prepared: list[Any] = []
        maps: dict[int, list[Tensor]] = {m: [] for m in methods}
        groups = [images[at : at + loop.batch] for at in range(0, len(images), loop.batch)]
        with bar(f"fitting {judge.card.name} on held-out images", len(images), quiet) as progress:
            for samples in load_groups(plan.held_out.dataset, groups, loop.workers):
                for sample in samples:
                    validate_sample(sample, plan.side, len(plan.dataset.classes), plan.dataset.name)
                base = batch_evidence(samples, plan.held_out.dataset, plan.model, runner, loop.device, loop.seed)
                asks = collect_targets([judge], base, None, samples)[
                    judge.protocol.target, judge.protocol.attribution_output
                ]
                if len(asks.evidence.targets):
                    prepared.append(call_protocol(judge, judge.protocol.prepare, asks.evidence))
                    _draw(loop, judge, asks, prepared[-1], maps)
                progress.advance(len(samples))
        found |= {(number, m): judge.protocol.fit(prepared, drawn) for m, drawn in maps.items()}
    return found


def _draw(loop: Loop, judge: ProtocolRun, asks: TargetBatch, shared: Any, maps: dict[int, list[Tensor]]) -> None:
    """Appends each method's maps of a batch; a method that raises is taken out, and the tally says why."""
    for m in list(maps):
        card, parameters = loop.plan.methods[m]
        try:
            maps[m].append(draw_maps(card, parameters, judge, asks, shared, {}))
        except MethodRaised as raised:
            loop.tally.failed[f"{card.name} under {judge.card.name}"] = in_one_line(raised.error)
            del maps[m]
