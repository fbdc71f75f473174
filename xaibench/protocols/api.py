"""`xaibench.score`: scores of maps under any protocol for any network, in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from xaibench import registry
from xaibench.attribution.api import evidence_of
from xaibench.attribution.arguments import call_of_network, check_inputs, check_targets
from xaibench.attribution.runner import ModelRunner
from xaibench.cards import ProtocolCard
from xaibench.errors import XaibenchError
from xaibench.models.outputs import usable
from xaibench.models.sanity import check_weights, warn_once
from xaibench.protocols.base import Protocol


def make_protocol(card: ProtocolCard, settings: dict[str, object]) -> Protocol:
    """A protocol with its card's settings, overridden; raises XaibenchError for settings that it does not have."""
    for name in settings:
        if name not in card.parameters:
            raise XaibenchError(f"protocol {card.name} has no setting {name!r}; it has {', '.join(card.parameters)}")
    return registry.load(card)(**(card.parameters | settings))


@call_of_network
def score(
    protocol: str,
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor | Sequence[int] | int,
    maps: Tensor,
    *,
    image_ids: Sequence[str] | None = None,
    seed: int = 0,
    output: Callable[[object], Tensor] | None = None,
    chunk: int = 32,
    **settings: object,
) -> Tensor:
    """One score per image (B,), float64, NaN where undefined, of maps (B, 1, H, W) under a protocol.

    model, inputs (B, C, H, W), targets (B,), output, image_ids, seed and chunk as for `xaibench.attribute`; targets are
    what is scored, so pass the predictions to score those. settings override those of the protocol's card (for `sds`:
    grid=4, baseline="zero", drop_output="logit"). Where the logits of an image are not finite, its score is undefined.
    Raises XaibenchError for unknown names and shapes that do not match.
    """
    instance = make_protocol(registry.card("protocol", protocol), settings)
    inputs = check_inputs(inputs, model)
    targets = check_targets(targets, inputs)
    if not isinstance(maps, Tensor) or not maps.is_floating_point() or maps.layout != torch.strided or maps.is_meta:
        kind = f"{maps.dtype}, {maps.layout}, on {maps.device}" if isinstance(maps, Tensor) else type(maps).__name__
        raise XaibenchError(f"maps are a tensor (B, 1, H, W) of floating point, not {kind}")
    if maps.shape != (len(inputs), 1, *inputs.shape[-2:]):
        expected = (len(inputs), 1, *inputs.shape[-2:])
        raise XaibenchError(f"maps are (B, 1, H, W) = {expected}, not {tuple(maps.shape)}")
    instance.check(tuple(inputs.shape[-2:]))
    with ModelRunner(model, chunk=chunk, output=output) as runner:
        e = evidence_of(runner, inputs, targets, image_ids=image_ids, seed=seed, output=instance.attribution_output)
        warn_once(model, runner.call, e.images)
        with runner.arithmetic():
            e.check_range()
            values = instance.score(instance.prepare(e), maps.detach().clone().to(inputs.device)).values
            fine = usable(e.logits())
        if not fine.all():
            check_weights(model, f"model {type(model).__name__}")
        return torch.where(fine, values, torch.nan)
