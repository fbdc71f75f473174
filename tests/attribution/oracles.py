"""Numbers of other packages that are not installed with xaibench: lxt, torchcam and zennit, for small networks.

They are in oracles.json. To record them again, in an environment that also has these packages:

    python -m pip install --no-deps lxt==2.1 zennit==0.5.1 torchcam==0.5.0
    python tests/attribution/oracles.py
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

FILE = Path(__file__).with_suffix(".json")
TARGETS = [2, 0]
GAMMAS = {"plain": (0.0, 0.0), "paper": (0.25, 0.05), "large": (100.0, 1.0)}


def waves(shape: tuple[int, ...], seed: int, size: float = 1.0) -> Tensor:
    """Numbers in double precision that no version of a generator changes."""
    count = int(torch.tensor(shape).prod())
    angle = torch.arange(1, count + 1, dtype=torch.float64)
    return (size * torch.sin(angle * (1.37 + 0.11 * seed) + angle.square() * 0.71)).reshape(shape)


def with_waves(net: nn.Module) -> nn.Module:
    """The network with such weights, norms near their identity, in evaluation mode and double precision."""
    net = net.double().eval()
    for number, (name, parameter) in enumerate(net.named_parameters()):
        norm = name.endswith("weight") and parameter.ndim == 1
        parameter.data = (1.0 if norm else 0.0) + waves(tuple(parameter.shape), number, 0.4)
    return net.requires_grad_(False)


def torchvision_vit() -> nn.Module:
    """Two blocks of two heads, three classes, for images of 16 x 16 pixels in patches of 8."""
    from torchvision.models.vision_transformer import VisionTransformer

    return with_waves(VisionTransformer(16, 8, 2, 2, 8, 12, num_classes=3))


def small_cnn() -> nn.Module:
    """Convolutions, ReLUs and a max pool, an average pool and a linear head, three classes."""
    return with_waves(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, 3),
        )
    )  # fmt: skip


def images(side: int = 16) -> Tensor:
    """Two encoded images."""
    return waves((2, 3, side, side), 99)


def recorded() -> dict[str, Tensor]:
    """The maps of the packages by their name here."""
    return {name: torch.tensor(values).double() for name, values in json.loads(FILE.read_text()).items()}


def _legrad() -> dict[str, Tensor]:
    from torchcam.methods import LeGrad

    def run(pool, layers: slice) -> Tensor:
        net = torchvision_vit().requires_grad_(True)

        def project(tokens: Tensor) -> Tensor:
            return net.heads(net.encoder.ln(pool(tokens)))

        with LeGrad(net, list(net.encoder.layers)[layers], score_projection=project) as extractor:
            scores = net(images())
            return extractor(TARGETS, scores, normalized=False)[0].detach()

    return {
        "legrad, class token": run(lambda tokens: tokens[:, 0], slice(None)),
        "legrad, all tokens": run(lambda tokens: tokens.mean(1), slice(None)),
        "legrad, last layer": run(lambda tokens: tokens.mean(1), slice(-1, None)),
    }


def _zennit() -> dict[str, Tensor]:
    from zennit.attribution import Gradient
    from zennit.composites import EpsilonPlusFlat

    with Gradient(small_cnn(), EpsilonPlusFlat()) as attributor:
        _, found = attributor(images(), torch.eye(3).double()[TARGETS])
    return {"epsilon plus flat": found.detach().sum(1)}


def _lxt() -> dict[str, Tensor]:
    """Last: it replaces methods of the classes of torch for good."""
    from lxt.efficient import monkey_patch, monkey_patch_zennit
    from torchvision.models import vision_transformer
    from zennit import rules
    from zennit.composites import LayerMapComposite

    monkey_patch(vision_transformer)
    monkey_patch_zennit()
    found = {}
    for name, (patches, linear) in GAMMAS.items():
        net, at = torchvision_vit(), images().requires_grad_()
        composite = LayerMapComposite(
            [(nn.Conv2d, rules.Gamma(patches, 1e-12)), (nn.Linear, rules.Gamma(linear, 1e-12))]
        )
        composite.register(net)
        score = net(at)[torch.arange(2), TARGETS].sum()
        score.backward()
        composite.remove()
        found[f"cp-lrp, {name} gammas"] = (at * at.grad).sum(1).detach()
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    maps = _legrad() | _zennit() | _lxt()
    FILE.write_text(
        json.dumps(
            {
                name: [[[float(f"{v:.9g}") for v in row] for row in image] for image in found.tolist()]
                for name, found in maps.items()
            }
        )
        + "\n"
    )
    sys.stdout.write("".join(f"{name}: {tuple(found.shape)}\n" for name, found in maps.items()))
