"""Whether gradients reach the input or a layer, and how what a layer gives is a map: asked of a network once.

Part of a network may run without autograd (a stem under `torch.no_grad`, a detached tensor, NumPy, integers), or with
derivatives that are zero everywhere (rounding). Behind it gradients are defined, before it they are not, and maps of
zeros would say that nothing matters.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from xaibench.errors import XaibenchError
from xaibench.models.layouts import MapFinder, MapLayout
from xaibench.seeds import generator, normal

INPUT, CAM_LAYER = "the input", "the CAM layer"


class Runner(Protocol):
    """What is used of a ModelRunner."""

    net: nn.Module
    memo: dict[tuple, object]
    forwards: int
    backwards: int

    def call(self, inputs: Tensor) -> Tensor:
        """Logits (N, K) of encoded inputs (N, C, H, W) in one pass."""


def finder_of(runner: Runner, images: Tensor) -> MapFinder:
    """What is known of the maps in a network for images (N, C, H, W) of one size, kept for the runner as long as the
    network gets no new modules."""
    key = "maps", sum(1 for _ in runner.net.modules()), *images.shape[1:]
    if key not in runner.memo:
        runner.memo[key] = MapFinder(runner.net, images)
    return runner.memo[key]


def layer_layout(runner: Runner, layer: nn.Module, images: Tensor) -> MapLayout | None:
    """How what a layer gives for images (N, C, H, W) is a map, None where it is none; its passes do not count."""
    path = next((path for path, module in runner.net.named_modules() if module is layer), None)
    with uncounted(runner):
        return finder_of(runner, images).layout_at(path) if path is not None else None


def share_maps(runner: Runner, copy: Runner) -> None:
    """What is known of the maps in a network also counts for a copy with other weights, whose maps tell less."""
    copy.memo.update(maps_known(runner))


def maps_known(runner: Runner) -> dict[tuple, object]:
    """The part of a runner's memo that says where the maps of its network are."""
    return {key: known for key, known in runner.memo.items() if key[0] == "maps"}


@contextmanager
def uncounted(runner: Runner) -> Iterator[None]:
    """While active, passes do not count."""
    before = runner.forwards, runner.backwards
    try:
        yield
    finally:
        runner.forwards, runner.backwards = before


def leaf(output: Tensor) -> Tensor:
    """What a layer gave, as a tensor that has a gradient: itself, or a leaf where the network has computed it without
    autograd."""
    if output.requires_grad:
        return output
    with torch.inference_mode(False):
        return (output.clone() if output.is_inference() else output.detach()).requires_grad_()


def apart(output: Tensor) -> Tensor:
    """A copy of what a layer gave for the layers behind it, one of which may work in place, with a graph even where the
    network computes without autograd."""
    with torch.inference_mode(False), torch.enable_grad():
        return output.clone()


def gradient_of(runner: Runner, score: Tensor, at: Tensor, images: Tensor, layer: nn.Module | None) -> Tensor:
    """The gradient of a score (one number) at a tensor: the images (n, C, H, W), or what a layer gave for them.

    Raises XaibenchError where there is none, or where it is zero for every image and output of the network.
    """
    gradient = torch.autograd.grad(score, at, allow_unused=True)[0] if score.requires_grad else None
    if gradient is None:
        raise XaibenchError(without_gradient(layer))
    if ("flat", layer) in runner.memo and not runner.memo["flat", layer]:
        return gradient  # looked at once, as a GPU waits for every look
    if gradient.any():
        runner.memo["flat", layer] = False
    elif is_flat(runner, images, layer):
        raise XaibenchError(without_gradient(layer))
    return gradient


def without_gradient(layer: nn.Module | None) -> str:
    """That the input (None), or a layer, has no gradient, and why that may be."""
    return (
        f"{INPUT if layer is None else CAM_LAYER} has no gradient: the network computes its logits from it without "
        "autograd (no_grad, detach, NumPy) or by steps without slope (rounding, argmax)"
    )


def is_flat(runner: Runner, images: Tensor, layer: nn.Module | None) -> bool:
    """Whether the gradient of all outputs at the images (n, C, H, W), or at a layer, is zero, for noise too, though the
    outputs differ: then the network has no slope there. Asked once for the runner and the layer."""
    key = "flat", layer
    if key not in runner.memo:
        noise = normal(generator(0, "noise for slopes"), *images[:1].shape).to(images)
        with uncounted(runner):
            runner.memo[key] = _is_flat(runner, torch.cat([images[:1], noise]), layer)
    return runner.memo[key]


def _is_flat(runner: Runner, images: Tensor, layer: nn.Module | None) -> bool:
    given: list[Tensor] = []

    def keep(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
        given.append(leaf(output))
        return apart(given[-1])

    at = images.detach().requires_grad_()
    with torch.enable_grad():
        handle = layer.register_forward_hook(keep) if layer is not None else None
        try:
            logits = runner.call(at)
        finally:
            if handle is not None:
                handle.remove()
        if not logits.requires_grad:
            return True
        random = normal(generator(0, "directions for slopes"), *logits.shape).to(logits)
        found = torch.autograd.grad((logits * random).sum(), given or [at], allow_unused=True)
    if not logits.isfinite().all():
        return False  # such logits say nothing about slopes
    return all(part is None or not part.any() for part in found) and not torch.equal(logits[0], logits[1])


def check_input_gradient(runner: Runner, images: Tensor) -> None:
    """Raises XaibenchError where the images (n, C, H, W) have no gradient."""
    at = images[:1].detach().requires_grad_()
    with uncounted(runner), torch.enable_grad():
        logits = runner.call(at)
        gradient_of(runner, logits.sum(), at, images, None)
