"""Seconds of protocols beside their counterparts in Quantus, on the same maps, images and network, in turns.

    python tests/benchmarks/against_quantus.py [--model resnet18] [--image-size 224] [--images 8] [--repeats 5]

Needs `pip install quantus`, in an environment of its own. Prints a Markdown table: how many times faster ours is (the
median over the rounds, the least and the largest), the passes that either counts, and our time over that of our bare
passes in the faster layout in memory. Both show as many changed images to the network where their rules allow it.
docs/performance.md holds the table.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import quantus
import torch
from torch import Tensor, nn

from xaibench import functional
from xaibench.allocation import keep_freed_memory
from xaibench.attribution.runner import ModelRunner
from xaibench.benchmark.config import BenchConfig
from xaibench.benchmark.job import Job, open_job, ratios, seconds
from xaibench.benchmark.measure import bare_passes, faster, in_layouts
from xaibench.protocols.api import make_protocol
from xaibench.registry import card
from xaibench.seeds import generator, normal

AS_GIVEN = {"abs": False, "normalise": False, "disable_warnings": True, "display_progressbar": False}
SAMPLES, GRID = 10, 8
STEPS = GRID * GRID  # of protocols that delete pixels or cells step by step


def noise_maps(count: int, side: int) -> Tensor:
    """Maps (count, 1, side, side) of noise: what a protocol takes does not depend on them."""
    return normal(generator(0, "maps of a benchmark"), count, 1, side, side)


def saliency(net: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """The method of protocols that explain again, as Quantus calls it: one gradient."""
    with torch.enable_grad():
        x = images.detach().requires_grad_()
        picked = net(x)[torch.arange(len(x)), targets].sum()
        return torch.autograd.grad(picked, x)[0].abs().sum(1, keepdim=True)


def without_network(count: int, side: int) -> Iterator[tuple[str, str, Callable, Callable]]:
    """Protocols that look at the map alone: name, counterpart, and both as functions."""
    maps = noise_maps(count, side)
    regions = torch.zeros(count, side, side, dtype=torch.bool)
    regions[:, side // 4 : side // 2, side // 4 : side // 2] = True

    images, labels = np.zeros((count, 1, side, side), np.float32), np.zeros(count, int)
    pairs: dict[str, tuple[Callable, Any]] = {
        "pointing-game": (lambda: functional.pointing_hit(maps, regions), quantus.PointingGame(**AS_GIVEN)),
        "epg": (lambda: functional.energy_share(maps, regions), quantus.RelevanceMassAccuracy(**AS_GIVEN)),
        "sparseness": (lambda: functional.sparseness_score(maps), quantus.Sparseness(**AS_GIVEN | {"abs": True})),
    }
    for name, (own, metric) in pairs.items():

        def theirs(metric: Any = metric) -> Any:
            return metric(model=None, x_batch=images, y_batch=labels, a_batch=maps.numpy().copy(),
                          s_batch=regions[:, None].numpy())  # fmt: skip

        yield name, type(metric).__name__, own, theirs


def counterparts(side: int) -> dict[str, tuple[dict[str, Any], Any]]:
    """Protocols that show images to the network: settings, and the metric of Quantus with the like of them."""
    return {
        "deletion": ({"steps": STEPS}, quantus.PixelFlipping(features_in_step=side * side // STEPS, **AS_GIVEN)),
        "ids": (
            {"level": "patch", "grid": GRID, "steps": STEPS},
            quantus.RegionPerturbation(patch_size=side // GRID, order="lerf", regions_evaluation=STEPS, **AS_GIVEN),
        ),
        "infidelity": (
            {"samples": SAMPLES},
            quantus.Infidelity(n_perturb_samples=SAMPLES, perturb_patch_sizes=[side], **AS_GIVEN),
        ),
        "max-sensitivity": ({"samples": SAMPLES}, quantus.MaxSensitivity(nr_samples=SAMPLES, **AS_GIVEN)),
        "efficient-mprt": ({}, quantus.EfficientMPRT(**AS_GIVEN)),
        "random-logit": ({}, quantus.RandomLogit(num_classes=1000, **AS_GIVEN)),
    }  # fmt: skip


def ours(name: str, settings: dict[str, Any], job: Job, maps: Tensor) -> Callable[[], ModelRunner]:
    """A function that scores the maps by a protocol, and returns the runner that counted its passes."""

    def run() -> ModelRunner:
        protocol = make_protocol(card("protocol", name), settings)
        with ModelRunner(job.as_run, chunk=job.chunk) as runner:
            e = job.evidence(runner)
            protocol.score_method(protocol.prepare(e), maps, lambda other: other.gradient().abs().sum(1, keepdim=True))
        return runner

    return run


def passes_of(net: nn.Module, call: Callable[[], object]) -> int:
    """Inputs that a call shows to the network."""
    counted = [0]
    hook = net.register_forward_hook(lambda module, inputs, output: counted.__setitem__(0, counted[0] + len(inputs[0])))
    call()
    hook.remove()
    return counted[0]


def main() -> None:
    """Prints the table."""
    options = argparse.ArgumentParser()
    options.add_argument("--model", default="resnet18")
    options.add_argument("--image-size", type=int, default=224)
    options.add_argument("--images", type=int, default=8)
    options.add_argument("--maps", type=int, default=256, help="of protocols that look at maps alone")
    options.add_argument("--repeats", type=int, default=5)
    given = options.parse_args()
    keep_freed_memory()  # as every command does
    print("| protocol | Quantus | times faster | passes | of Quantus | over bare passes |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, metric, own, other in without_network(given.maps, given.image_size):
        found = seconds({"ours": own, "theirs": other}, given.repeats, "cpu")
        middle, low, high = ratios(found["theirs"], found["ours"])
        print(f"| `{name}` | {metric} | {middle:.1f} ({low:.1f} to {high:.1f}) | 0 | 0 | |", flush=True)
    job = open_job(BenchConfig(model=given.model, image_size=given.image_size, images=given.images))
    maps = noise_maps(given.images, given.image_size)
    x, y, a = job.images.numpy(), job.targets.numpy(), maps.numpy()
    for name, (settings, metric) in counterparts(given.image_size).items():
        call = ours(name, settings, job, maps)

        def theirs(metric: Any = metric) -> Any:
            return metric(model=job.net, x_batch=x, y_batch=y, a_batch=a.copy(), channel_first=True, softmax=True,
                          explain_func=lambda model, inputs, targets, **_: saliency(
                              model, torch.as_tensor(np.asarray(inputs)), torch.as_tensor(np.asarray(targets))
                          ).numpy())  # fmt: skip

        counted = call()
        forwards = counted.forwards - counted.backwards
        bare = bare_passes(job, in_layouts(job.net), forwards, counted.backwards)
        found = seconds({"ours": call, "theirs": theirs, **bare}, given.repeats, "cpu")
        least = [p + q for p, q in zip(faster(found, "forward"), faster(found, "gradient"), strict=True)]
        middle, low, high = ratios(found["theirs"], found["ours"])
        over, over_low, over_high = ratios(found["ours"], least)
        shown = f"{passes_of(job.as_run, call)} | {passes_of(job.net, theirs)}"
        print(
            f"| `{name}` | {type(metric).__name__} | {middle:.2f} ({low:.2f} to {high:.2f}) | {shown} "
            f"| {over:.2f} ({over_low:.2f} to {over_high:.2f}) |",
            flush=True,
        )


if __name__ == "__main__":
    main()
