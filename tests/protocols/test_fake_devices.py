"""Every protocol on a fake GPU: no devices are mixed, and passes do not make the program wait for it."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest
import torch
from fake_cuda import fake_cuda, moved
from torch import Tensor, nn

from xaibench import registry
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.gradients import input_x_gradient
from xaibench.attribution.runner import ModelRunner
from xaibench.datasets.critters import Critters
from xaibench.datasets.image_annotations import ImageAnnotations
from xaibench.models.base import Encoding, ModelView
from xaibench.protocols.api import make_protocol
from xaibench.protocols.base import Protocol, Scores
from xaibench.protocols.faithfulness.saco import Saco

SMALLER = {"steps": 4, "stages": 2, "samples": 2, "sets": 4, "groups": 4, "size": 32}
ENCODING, IMAGES = Encoding((0.5,) * 3, (0.25,) * 3), 2
# waits of each pass that are left: what a pass shows is made on the CPU
PER_PASS = {
    "road": {"upload": 1},  # SciPy fills the images in
    "arcc": {"upload": 1},  # in those of its passes that are ROAD's
    "infidelity": {"upload": 2},  # noise drawn for each pass, and which images it is for
}
CANNOT = {"random-logit": "torch.quantile changes a shape in place, which a fake tensor cannot follow"}


@cache
def example() -> tuple[nn.Module, list]:
    """A network for critters with random weights, and samples."""
    data = Critters("test", 8, 32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, len(data.classes))
        )
    return net.eval().requires_grad_(False), [data, *(data.load(image_id) for image_id in data.ids[:IMAGES])]


def scored(protocol: Protocol, chunk: int, *, fake: bool = True) -> tuple[Scores, Counter, int]:
    """Scores of Input x Gradient, what was waited for, and the number of passes."""
    net, (data, *samples) = example()
    device, passes = "cuda" if fake else "cpu", Counter()

    def encode(images: np.ndarray) -> Tensor:
        return ENCODING(images).to(device)

    def evidence(net: nn.Module) -> Evidence:
        net.register_forward_pre_hook(lambda *given: passes.update(["pass"]))
        runner = ModelRunner(net, chunk=chunk)
        labels, ids = torch.tensor([s.label for s in samples]), [s.image_id for s in samples]
        view = ModelView(net[1], zero=ENCODING.zero, encoding=ENCODING)
        annotations = ImageAnnotations(samples, data, encode)
        return Evidence(
            runner, encode(np.stack([s.image for s in samples])), labels, ids, view=view, annotations=annotations
        )

    def again(e: Evidence) -> Tensor:
        return input_x_gradient(e).sum(1, keepdim=True)

    def judged(waits: Counter) -> Scores:
        e = evidence(moved(net, fake=fake))
        maps = None if protocol.without_method else again(e)
        if protocol.needs_reference:
            e = e.with_reference(evidence(moved(net, fake=fake)))
        e.logits()
        waits.clear()
        passes.clear()
        prepared = protocol.prepare(e)
        return protocol.score(prepared, None) if maps is None else protocol.score_method(prepared, maps, again)

    if not fake:
        return judged(Counter()), Counter(), passes["pass"]
    with fake_cuda() as gpu:
        found = judged(gpu.waits)
        return Scores(found.values.cpu(), found.status), gpu.waits, passes["pass"]


def small(name: str) -> Protocol:
    card = registry.card("protocol", name)
    return make_protocol(card, {key: SMALLER[key] for key in card.parameters if key in SMALLER})


@pytest.mark.parametrize("name", registry.names("protocol"))
def test_devices_are_not_mixed_and_passes_do_not_wait(name):
    if name in CANNOT:
        with pytest.raises(Exception):  # noqa: B017  (each has its own; one that runs is not to be listed)
            scored(small(name), 64)
        return
    protocol = small(name)
    scores, few, passes = scored(protocol, 64)
    assert len(scores.values) == IMAGES and not few["draw"]
    again, many, more = scored(protocol, 1)
    assert again.status == scores.status and torch.allclose(again.values, scores.values, atol=0.1, equal_nan=True)
    if name == "arcc":
        passes, more = (scored(protocol.road, size)[2] for size in (64, 1))
    grown = {kind: many[kind] - few[kind] for kind in many | few if many[kind] != few[kind]}
    assert grown == {kind: count * (more - passes) for kind, count in PER_PASS.get(name, {}).items()}


def test_lists_name_what_there_is():
    assert {*PER_PASS, *CANNOT} <= set(registry.names("protocol"))


@pytest.mark.parametrize("name", ["sds", "insertion"])
def test_scores_are_those_of_the_cpu(name):
    expected = scored(small(name), 64, fake=False)[0].values
    assert torch.allclose(scored(small(name), 64)[0].values, expected, atol=1e-4)


def test_a_protocol_that_mixes_devices_is_found():
    class Mixed(Saco):
        def score(self, prepared: Evidence, maps: Tensor) -> Scores:
            return super().score(prepared, maps * torch.ones(maps.shape[-1]))

    with pytest.raises(RuntimeError, match=r"cuda|device"):
        scored(Mixed(), 64)
