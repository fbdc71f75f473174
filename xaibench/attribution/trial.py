"""Tests of methods on a network before a run, with a few inputs of noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch

from xaibench.attribution.evidence import Evidence
from xaibench.attribution.methods import NETWORK_NEEDS, method_maps
from xaibench.attribution.runner import ModelRunner
from xaibench.cards import MethodCard
from xaibench.errors import XaibenchError
from xaibench.models.base import Model
from xaibench.models.outputs import usable
from xaibench.seeds import generator, normal

INPUTS = 2


def trial_of(model: Model, side: int, outputs: Iterable[str] = ("logit",)) -> Callable[[MethodCard], str | None]:
    """A function that returns why a method cannot explain a model's network, None where it can.

    The inputs are INPUTS images of noise of side x side pixels, always the same; their targets are the predictions.
    outputs are the outputs to explain, logit or probability. Only methods whose card has a requirement in NETWORK_NEEDS
    are run.
    """

    def trial(card: MethodCard) -> str | None:
        if not NETWORK_NEEDS & set(card.needs):
            return None
        weight = next(model.net.parameters(), torch.zeros(1))
        noise = normal(generator(0, "trial of a network"), INPUTS, model.encoding.channels, side, side)
        images = noise.to(weight)
        with ModelRunner(model.net, chunk=INPUTS) as runner:
            logits = runner.logits(INPUTS, lambda index: images[index])
            if not usable(logits).all():
                return None  # noise tells nothing of this network
            targets, view = logits.argmax(1), replace(model.view, stages={})
            e = Evidence(runner, images, targets, [f"noise {i}" for i in range(INPUTS)], view=view)
            try:
                for output in sorted(set(outputs)):
                    method_maps(card, e.explaining(targets, output=output), card.parameters)
            except XaibenchError as error:
                return str(error)
        return None

    return trial
