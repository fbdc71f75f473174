"""What shared evidence saves: all 19 methods together against each on its own with captum and pytorch-grad-cam.

    python tests/benchmarks/sharing.py --model resnet18 --size 64 --images 4

prints, per method, forward-equivalents per image and seconds on its own, then those of all methods together with
xaibench, and the ratios. RISE has no peer in either library; on its own it is xaibench with nothing shared. Compare
ratios only: seconds depend on the machine and on what else it does.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torchvision
from captum.attr import InputXGradient, IntegratedGradients, NoiseTunnel, Saliency
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM, XGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from xaibench import registry
from xaibench.attribution.api import evidence_of
from xaibench.attribution.methods import merge_parameters, method_maps
from xaibench.attribution.runner import ModelRunner
from xaibench.models.base import ModelView

CAMS = {"grad-cam": GradCAM, "grad-cam++": GradCAMPlusPlus, "xgrad-cam": XGradCAM, "layer-cam": LayerCAM}


def main() -> None:
    """Measures and prints."""
    options = parse()
    torch.manual_seed(0)
    net = torchvision.models.get_model(options.model, weights=None, num_classes=10).eval().requires_grad_(False)
    x, y = torch.randn(options.images, 3, options.size, options.size), torch.arange(options.images) % 10
    overrides = {"steps": options.steps, "masks": options.masks}
    names = [n for n in registry.names("method") if "paper" in registry.card("method", n).tags]
    cards = [c for c in (registry.card("method", n) for n in names) if not c.families]
    total_cost = total_seconds = 0.0
    print(
        f"{options.model}, {options.images} images of {options.size} px, {options.steps} steps, {options.masks} masks"
    )
    print(f"{'method':<14}{'forwards':>10}{'seconds':>10}  on its own, per image; median of {options.repeats}")
    for card in cards:
        alone = peer(card.name, net, x, y, overrides, options.layer)
        cost, seconds = measure(net, alone, options)
        total_cost, total_seconds = total_cost + cost, total_seconds + seconds
        print(f"{card.name:<14}{cost:>10.0f}{seconds:>10.2f}")
    cost, seconds = measure(net, lambda runner: together(runner, cards, x, y, overrides, options.layer), options)
    print(f"{'sum':<14}{total_cost:>10.0f}{total_seconds:>10.2f}")
    print(f"{'xaibench':<14}{cost:>10.0f}{seconds:>10.2f}  all {len(cards)} methods together")
    print(f"{'ratio':<14}{total_cost / cost:>10.2f}{total_seconds / seconds:>10.2f}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--layer", default="layer4")
    for name, value in {"size": 64, "images": 4, "steps": 50, "masks": 200, "repeats": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    return parser.parse_args()


def measure(
    net: nn.Module, compute: Callable[[ModelRunner], object], options: argparse.Namespace
) -> tuple[float, float]:
    """Forward-equivalents and median seconds, both per image."""
    times = []
    for _ in range(options.repeats):
        with ModelRunner(net, chunk=32) as runner:
            began = time.perf_counter()
            compute(runner)
            times.append(time.perf_counter() - began)
    return runner.forward_equivalents / options.images, statistics.median(times) / options.images


def together(runner: ModelRunner, cards: list, x: Tensor, y: Tensor, overrides: dict, layer: str) -> None:
    """All methods on one evidence."""
    e = evidence_of(runner, x, y, view=ModelView(runner.net.get_submodule(layer)))
    for card in cards:
        method_maps(card, e, merge_parameters(card, overrides))


def peer(
    name: str, net: nn.Module, x: Tensor, y: Tensor, overrides: dict, layer: str
) -> Callable[[ModelRunner], object]:
    """The method alone: captum's or pytorch-grad-cam's where they have it, else xaibench with nothing to share."""
    base = name.removesuffix("-abs").removesuffix("-sq")
    steps = {"n_steps": overrides["steps"], "internal_batch_size": 32}
    noise = {"nt_type": "smoothgrad", "nt_samples": 4, "stdevs": 1.0}
    known = {
        "saliency": lambda: Saliency(net).attribute(x.clone().requires_grad_(), target=y, abs=False),
        "ixg": lambda: InputXGradient(net).attribute(x.clone().requires_grad_(), target=y),
        "ixg-sg": lambda: NoiseTunnel(InputXGradient(net)).attribute(x.clone().requires_grad_(), target=y, **noise),
        "ig": lambda: IntegratedGradients(net).attribute(x, baselines=0 * x, target=y, **steps),
        "ig-u": lambda: IntegratedGradients(net).attribute(x, baselines=torch.rand_like(x) * 2 - 1, target=y, **steps),
        "ig-sg": lambda: NoiseTunnel(IntegratedGradients(net)).attribute(
            x, baselines=0 * x, target=y, **steps, **noise
        ),
    }
    if base in known:
        return lambda runner: known[base]()
    if name in CAMS:
        targets = [ClassifierOutputTarget(int(t)) for t in y]

        def cam(runner: ModelRunner) -> None:
            with CAMS[name](net, [net.get_submodule(layer)]) as tool:
                tool(x.clone().requires_grad_(), targets)  # its parameters are frozen

        return cam
    card = registry.card("method", name)
    return lambda runner: together(runner, [card], x, y, overrides, layer)


if __name__ == "__main__":
    main()
