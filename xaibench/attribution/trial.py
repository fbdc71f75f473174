"""Tests of methods on a network before a run, with a few inputs of noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import torch

from xaibench import registry
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.methods import NETWORK_NEEDS, method_maps
from xaibench.attribution.reach import check_input_gradient, maps_known
from xaibench.attribution.runner import ModelRunner, out_of_memory
from xaibench.attribution.stages import at_stage
from xaibench.cards import MethodCard
from xaibench.errors import XaibenchError, one_line
from xaibench.models.base import Model
from xaibench.models.outputs import usable
from xaibench.seeds import generator, normal

INPUTS = 2


def trial_of(
    model: Model, side: int, outputs: Iterable[str] = ("logit",), layer: str | None = None
) -> Callable[[MethodCard], str | None]:
    """A function that returns why a method cannot explain a model's network, None where it can.

    The inputs are INPUTS images of noise of side x side pixels, always the same; their targets are the predictions.
    outputs are the outputs to explain, logit or probability; layer is the stage at which maps are taken, None for the
    input. Methods whose card has a requirement in NETWORK_NEEDS are run. Of those that need gradients or the CAM layer,
    it is tried once for all whether the network has them.
    """

    known: dict[tuple, object] = {}  # where the maps are, which all trials share

    @contextmanager
    def noise() -> Iterator[Evidence | None]:
        weight = next(model.net.parameters(), torch.zeros(1))
        drawn = normal(generator(0, "trial of a network"), INPUTS, model.encoding.channels, side, side)
        images = drawn.to(weight)
        with ModelRunner(model.net, chunk=INPUTS) as runner:
            runner.memo.update(known)
            logits = runner.logits(INPUTS, lambda index: images[index])
            targets, view = logits.argmax(1), replace(model.view, stages={} if layer is None else model.stages)
            e = Evidence(runner, images, targets, [f"noise {i}" for i in range(INPUTS)], view=view)
            yield e if usable(logits).all() else None  # else noise tells nothing of this network
            known.update(maps_known(runner))

    @cache
    def without(need: str) -> str | None:
        try:
            with noise() as e:
                if e is None:
                    return None
                if need == "the input's gradient":
                    check_input_gradient(e.runner, e.images)
                    return None
                whole = e if layer is None else at_stage(e, layer, registry.card("method", "grad-cam"))
                if whole.cam_layout() is None:
                    return "needs a layer with a spatial map, and finds none in what the CAM layer gives"
                if need == "the layer's gradient":
                    whole.activations_and_gradients()
        except Exception as error:  # of the network, which may raise anything
            if out_of_memory(error):
                raise
            reason = (
                str(error) if isinstance(error, XaibenchError) else f"{type(error).__name__}: {one_line(error, 300)}"
            )
            return f"cannot explain this network: {reason}"
        return None

    def trial(card: MethodCard) -> str | None:
        if (need := _need(card, layer)) and (reason := without(need)):
            return reason
        if not NETWORK_NEEDS & set(card.needs):
            return None
        with noise() as e:
            if e is None:
                return None
            e.stages = {}
            try:
                for output in sorted(set(outputs)):
                    method_maps(card, e.explaining(e.targets, output=output), card.parameters)
            except XaibenchError as error:
                return str(error)
        return None

    return trial


def _need(card: MethodCard, layer: str | None) -> str:
    """What of a network is tried for a method: the map of a layer, a gradient there or at the input; "" for nothing."""
    if card.role in ("control", "oracle") or "attention" in card.needs:
        return ""
    if "cam-layer" in card.needs or layer is not None:
        return "the layer's gradient" if "gradients" in card.needs else "the layer's map"
    return "the input's gradient" if "gradients" in card.needs else ""
