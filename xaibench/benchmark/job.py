"""The job that is timed: the papers' methods for convolutional networks and SDS, on a network with random weights."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from xaibench import registry
from xaibench.attribution.api import evidence_of
from xaibench.attribution.costs import clock_of
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.methods import merge_parameters, method_maps
from xaibench.attribution.runner import ModelRunner
from xaibench.benchmark.config import BenchConfig
from xaibench.cards import MethodCard
from xaibench.cards.dataset import PROFILES
from xaibench.errors import XaibenchError
from xaibench.models.base import ModelView
from xaibench.models.copies import copied
from xaibench.models.open import build_model, model_card
from xaibench.seeds import generator, normal

CLASSES = 1000


@dataclass(frozen=True)
class Job:
    """A network as a user has it, and the same as runs have it (`Model.freeze`: channels last), its CAM layer by path,
    encoded images (B, C, H, W), a class for each, and methods with parameters."""

    net: nn.Module
    as_run: nn.Module
    layer: str
    images: Tensor
    targets: Tensor
    methods: tuple[tuple[MethodCard, dict[str, Any]], ...]
    chunk: int

    def evidence(self, runner: ModelRunner) -> Evidence:
        """Evidence about the images, from either network."""
        return evidence_of(runner, self.images, self.targets, view=ModelView(runner.net.get_submodule(self.layer)))

    def maps(self, e: Evidence) -> dict[str, Tensor]:
        """Maps (B, 1, H, W) of all methods on one evidence; whatever they share is computed once."""
        return {card.name: method_maps(card, e, values) for card, values in self.methods}

    def in_profile(self, name: str) -> Job:
        """The same job as a profile of data sets takes it: its estimators, and its share of the steps and masks."""
        found = []
        for card, values in self.methods:
            wanted = merge_parameters(card, PROFILES[name].overrides)
            counts = [key for key in ("steps", "masks") if key in values]
            shares = {key: max(2, round(values[key] * wanted[key] / card.parameters[key])) for key in counts}
            found.append((card, wanted | shares))
        return replace(self, methods=tuple(found))


def open_job(config: BenchConfig) -> Job:
    """The job of a request.

    Raises XaibenchError for a model that is not known, has no CAM layer or does not take such images.
    """
    geometry = registry.card("dataset", "imagenet").at_size(config.image_size).geometry
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # random weights, the same each time
        model = build_model(model_card(config.model), CLASSES, geometry)
    if not model.cam_layer:
        raise XaibenchError(f"model {model.name} has no layer for class activation maps, which the job times")
    if model.family != "cnn":
        raise XaibenchError(f"model {model.name} is no plain convolutional network; the job's methods are for these")
    shape = (config.images, model.encoding.channels, config.image_size, config.image_size)
    net = model.net.to(config.device).eval().requires_grad_(False)
    as_run = replace(model, net=copied(net)[0]).freeze(config.device, torch.float32).net
    images = normal(generator(0, "images of a benchmark"), *shape).to(config.device)
    targets = torch.arange(config.images, device=config.device) % CLASSES
    return Job(net, as_run, model.cam_layer, images, targets, methods_of(config.steps, config.masks), config.chunk_size)


def methods_of(steps: int, masks: int) -> tuple[tuple[MethodCard, dict[str, Any]], ...]:
    """The papers' methods for convolutional networks, with so many steps and masks."""
    cards = [registry.card("method", name) for name in registry.names("method")]
    chosen = [card for card in cards if "paper" in card.tags and not card.families]
    return tuple((card, merge_parameters(card, {"steps": steps, "masks": masks})) for card in chosen)


def seconds(calls: dict[str, Callable[[], object]], repeats: int, device: str) -> dict[str, list[float]]:
    """Seconds of each call in each of some rounds, after one round that is not counted.

    The calls take turns, so that a machine that is slow for a while is slow for all of them.
    """
    found: dict[str, list[float]] = {name: [] for name in calls}
    clock = clock_of(device)
    for turn in range(repeats + 1):
        for name, call in calls.items():
            began = clock()
            call()
            ended = clock()
            if turn:
                found[name].append(ended - began)
    return found


def ratios(above: list[float], below: list[float]) -> tuple[float, float, float]:
    """The median, the least and the largest of the ratios of two series, round by round."""
    each = [a / b for a, b in zip(above, below, strict=True)]
    return statistics.median(each), min(each), max(each)
