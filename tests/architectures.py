"""Architectures of timm with random weights, and how each fares: its CAM layer, stages, tokens and methods, against
code written by hand. Run as a script, it writes the table of docs/timm.md:

    python tests/architectures.py docs/timm.md [NAME ...]
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import xaibench
from xaibench import registry
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.methods import incompatibility, method_maps
from xaibench.attribution.reach import finder_of
from xaibench.attribution.runner import ModelRunner
from xaibench.attribution.trial import trial_of
from xaibench.cards import Geometry
from xaibench.errors import XaibenchError
from xaibench.models.base import Model
from xaibench.models.open import build_model, model_card

FIRST, LAST = None, "channels last"
# how the CAM layer's output lies, as the networks' own code says: the number of tokens before those of the patches, and
# how many pixels a side a patch of the last map has
NETWORKS = {
    "swin_tiny_patch4_window7_224": LAST, "maxvit_rmlp_pico_rw_256": FIRST, "mixer_s32_224": (0, 32),
    "eva02_tiny_patch14_224": (1, 14), "vit_small_patch14_dinov2": (1, 14), "vit_small_patch14_reg4_dinov2": (5, 14),
    "convnext_atto": FIRST, "regnety_002": FIRST, "efficientnet_b0": FIRST, "mobilenetv4_conv_small_050": FIRST,
    "mobilenetv4_hybrid_medium": FIRST, "deit_tiny_patch16_224": (1, 16), "deit_tiny_distilled_patch16_224": (2, 16),
    "vit_small_patch16_dinov3": (5, 16), "xcit_nano_12_p16_224": (1, 16), "cait_xxs24_224": (1, 16),
    "pvt_v2_b0": FIRST, "gmlp_ti16_224": (0, 16), "resnet10t": FIRST, "regnetx_002": FIRST, "convnextv2_atto": FIRST,
    "efficientnet_lite0": FIRST, "tf_efficientnetv2_b0": FIRST, "mobilenetv3_small_050": FIRST, "seresnet18": FIRST,
    "resnest14d": FIRST, "densenet121": FIRST, "nf_regnet_b0": FIRST, "repvgg_a0": FIRST, "ghostnet_050": FIRST,
    "fastvit_t8": FIRST, "edgenext_xx_small": FIRST, "mobilevit_xxs": FIRST, "mobilevitv2_050": FIRST,
    "hrnet_w18_small": FIRST, "levit_conv_128s": FIRST, "resmlp_12_224": (0, 16), "mambaout_femto": LAST,
    "efficientformerv2_s0": FIRST, "tiny_vit_5m_224": FIRST, "poolformer_s12": FIRST, "visformer_tiny": FIRST,
    "vit_relpos_small_patch16_224": (0, 16), "deit3_small_patch16_224": (1, 16), "vitamin_small_224": (0, 16),
    "coatnet_nano_rw_224": FIRST, "davit_tiny": FIRST, "focalnet_tiny_srf": FIRST, "swinv2_tiny_window8_256": LAST,
    "swinv2_cr_tiny_ns_224": FIRST, "efficientformer_l1": (0, 32), "hiera_tiny_224": (0, 32),
    "beit_base_patch16_224": (1, 16), "caformer_s18": FIRST, "inception_v3": FIRST, "gcvit_xxtiny": FIRST,
    "sequencer2d_s": LAST, "nest_tiny": LAST, "mvitv2_tiny": (0, 32), "twins_svt_small": (0, 32),
    "coat_lite_tiny": (1, 32), "convit_tiny": (1, 16), "repvit_m0_9": FIRST, "inception_next_atto": FIRST,
}  # fmt: skip
# pixels a side of the images, smaller than timm's to be quick: all others get 96
SIDES = dict.fromkeys(
    ["swin_tiny_patch4_window7_224", "maxvit_rmlp_pico_rw_256", "mixer_s32_224", "coatnet_nano_rw_224",
     "swinv2_tiny_window8_256", "swinv2_cr_tiny_ns_224", "davit_tiny", "focalnet_tiny_srf", "sequencer2d_s",
     "mvitv2_tiny", "twins_svt_small", "coat_lite_tiny", "inception_v3"], 128
) | dict.fromkeys(
    ["efficientformer_l1", "hiera_tiny_224", "levit_conv_128s", "nest_tiny", "gcvit_xxtiny", "tiny_vit_5m_224",
     "visformer_tiny", "efficientformerv2_s0"], 224
) | dict.fromkeys(["eva02_tiny_patch14_224", "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"], 84)  # fmt: skip
# what a method costs is turned down: these numbers change no code
CHEAP = {
    "steps": 2, "samples": 2, "masks": 4, "n_samples": 2, "cells": 2, "window": 0.5, "stride": 0.5,
    "comparison_categories": [1],
}  # fmt: skip
BY_CHANNEL = ("score-cam", "ablation-cam")  # a pass for each channel: only with FEW channels
FEW = 130


@dataclass
class Row:
    """How an architecture fared. error: the largest difference of our Grad-CAM from the one by hand, relative to its
    maximum; stages: each with its map, and what it was compared with; fitting and refused: methods, refused ones with
    the reason; failed: what went wrong, a line each."""

    name: str
    side: int
    layer: str = ""
    shape: tuple[int, ...] = ()
    prefix: int | None = None
    error: float = float("nan")
    rollout: float | None = None
    stages: dict[str, tuple[str, tuple[int, ...], str]] = field(default_factory=dict)
    fitting: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0


def side_of(name: str) -> int:
    """Pixels a side of the images that an architecture is tried with."""
    return SIDES.get(name, 96)


def changes_of(name: str) -> dict[str, int]:
    """What timm is told so that a network takes such images: nothing, where it takes any."""
    import timm

    try:
        with torch.device("meta"):
            timm.create_model(name, img_size=side_of(name))
    except TypeError:  # takes images of any size
        return {}
    return {"img_size": side_of(name)}


def stir(net: nn.Module) -> None:
    """Adds noise to all weights, as some begin with zero."""
    for parameter in net.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape)


def as_map(name: str) -> Callable[[Tensor], Tensor]:
    """The function from what the CAM layer of an architecture gives to a map (N, K, h, w)."""
    kind = NETWORKS[name]
    if kind is FIRST:
        return lambda x: x
    if kind == LAST:
        return lambda x: x.permute(0, 3, 1, 2)
    prefix, length = kind
    grid = (side_of(name) // length,) * 2
    return lambda x: x[:, prefix:].transpose(1, 2).unflatten(2, grid)


def examine(name: str) -> Row:
    """Builds an architecture as `timm:NAME` for ten classes and tries all there is to say about it."""
    began = time.process_time()
    side, card = side_of(name), model_card(f"timm:{name}")
    row = Row(name, side)
    with warnings.catch_warnings(action="ignore"):
        card = card.model_copy(update={"parameters": card.parameters | changes_of(name)})
        torch.manual_seed(0)
        model = build_model(card, 10, Geometry(resize=side, crop=side))
        stir(model.net)
        model.freeze("cpu", torch.float32)
        image, target = torch.randn(1, 3, side, side), torch.tensor([3])
        row.layer = model.cam_layer
        with ModelRunner(model.net, chunk=16) as runner:
            e = Evidence(runner, image, target, ["0"], view=model.view)
            _cam(row, model, e)
            _stages(row, model, e)
            _methods(row, model, e)
    row.seconds = time.process_time() - began
    return row


def _cam(row: Row, model: Model, e: Evidence) -> None:
    expected, row.shape = grad_cam_by_hand(model.net, row.layer, e.images, 3, as_map(row.name))
    row.prefix = NETWORKS[row.name][0] if isinstance(NETWORKS[row.name], tuple) else None
    ours = method_maps(registry.card("method", "grad-cam"), e, {})
    row.error = float((ours - expected).abs().max() / expected.amax())
    if not (expected.amax() > 0 and row.error < 1e-3):
        row.failed.append(f"Grad-CAM differs by {row.error:.1e}")
    if tuple(model.cam_grid) != row.shape[1:]:
        row.failed.append(f"the CAM grid is {model.cam_grid}")


def grad_cam_by_hand(net: nn.Module, layer: str, image: Tensor, target: int, reshape) -> tuple[Tensor, tuple[int, ...]]:
    """Grad-CAM (1, 1, H, W) by a hook on a layer, and channels, rows and columns of its map."""
    kept: list[Tensor] = []
    handle = net.get_submodule(layer).register_forward_hook(lambda module, args, output: kept.append(output))
    logit = net(image.clone().requires_grad_())[0, target]
    handle.remove()
    (gradient,) = torch.autograd.grad(logit, kept[0])
    maps, slopes = map(reshape, (kept[0].detach(), gradient))
    cam = (slopes.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).clamp(min=0)
    return F.interpolate(cam, image.shape[2:], mode="bilinear", align_corners=False), tuple(maps.shape[1:])


def _stages(row: Row, model: Model, e: Evidence) -> None:
    """Each stage's map against what timm itself gives of intermediate maps, or against the sizes that it lists."""
    finder, net = finder_of(e.runner, e.images), model.net
    listed = {f["module"]: f for f in getattr(net, "feature_info", None) or []}
    try:
        with torch.no_grad():
            known = net.forward_intermediates(e.images, output_fmt="NCHW", intermediates_only=True)
    except (AttributeError, TypeError):
        known = []
    for stage, path in model.stages.items():
        kept: list[Tensor] = []
        handle = net.get_submodule(path).register_forward_hook(lambda m, a, output, kept=kept: kept.append(output))
        with torch.no_grad():
            net(e.images)
        handle.remove()
        layout = finder.layout_at(path)
        if layout is None:
            row.failed.append(f"stage {stage} {path} gives no map")
            continue
        found = layout.to_map(kept[0])
        seen = "CAM layer" if path == row.layer else ""
        if any(other.shape == found.shape and torch.allclose(other, found, atol=1e-4) for other in known):
            seen = "values"
        elif path in listed:
            side, channels = -(-row.side // listed[path]["reduction"]), listed[path]["num_chs"]
            seen = "sizes" if found.shape[1:] == (channels, side, side) else ""
        if not seen:
            row.failed.append(f"stage {stage} {path} {tuple(found.shape[1:])} is not among timm's")
        row.stages[stage] = path, tuple(found.shape[1:]), seen


def _methods(row: Row, model: Model, e: Evidence) -> None:
    trial, run = trial_of(model, row.side), set()  # one method of each function is run
    for card in (registry.card("method", name) for name in registry.names("method")):
        if card.role in ("control", "oracle"):
            continue
        card = card.for_family(model.family)
        reason = incompatibility(card, model.family, bool(model.cam_layer))
        if reason:
            try:
                xaibench.attribute(model, e.images, e.targets, card.name)
                row.failed.append(f"{card.name} is not refused")
            except XaibenchError as error:
                assert "\n" not in str(error)
        if reason := reason or trial(card):
            row.refused[card.name] = reason
            continue
        row.fitting.append(card.name)
        if card.target in run or (card.name in BY_CHANNEL and row.shape[0] > FEW):
            continue
        run.add(card.target)
        parameters = card.parameters | {k: v for k, v in CHEAP.items() if k in card.parameters}
        maps = method_maps(card, e, parameters)
        for other in range(4):  # a ReLU may leave nothing for a class
            if maps.std() > 0:
                break
            maps = method_maps(card, e.explaining(torch.tensor([other])), parameters)
        if not maps.isfinite().all() or maps.std() == 0:
            row.failed.append(f"{card.name} gives {'a constant' if maps.isfinite().all() else 'no finite'} map")
        if card.name == "rollout":
            row.rollout = float((maps - rollout_by_hand(model.net, e.images, row)).abs().max() / maps.amax())
            if not row.rollout < 1e-4:
                row.failed.append(f"rollout differs by {row.rollout:.1e}")


@contextmanager
def softmaxes():
    """While active, all outputs of softmax with four axes are recorded."""
    kept, plain, functional = [], Tensor.softmax, F.softmax

    def record(made):
        def softmax(*args, **kwargs):
            output = made(*args, **kwargs)
            if output.ndim == 4:
                kept.append(output)
            return output

        return softmax

    Tensor.softmax, F.softmax = record(plain), record(functional)
    try:
        yield kept
    finally:
        Tensor.softmax, F.softmax = plain, functional


def rollout_by_hand(net: nn.Module, image: Tensor, row: Row) -> Tensor:
    """Attention Rollout (1, 1, H, W) from the second block on, of all softmaxes of a pass without fused attention."""
    fused = {module: module.fused_attn for module in net.modules() if hasattr(module, "fused_attn")}
    for module in fused:
        module.fused_attn = False
    with softmaxes() as kept, torch.no_grad():
        net(image)
    for module, was in fused.items():
        module.fused_attn = was
    prefix, length = NETWORKS[row.name]
    grid = row.side // length
    count = prefix + grid**2
    assert [tuple(a.shape[2:]) for a in kept] == [(count, count)] * len(net.blocks)
    product = torch.eye(count).double()
    for attention in kept[1:]:
        mixed = attention[0].double().mean(0) + torch.eye(count).double()
        product = mixed / mixed.sum(1, keepdim=True) @ product
    pooled = net.global_pool == "avg"
    patches = (product[prefix:].mean(0) if pooled else product[0])[prefix:]
    return F.interpolate(patches.reshape(1, 1, grid, grid).float(), image.shape[2:], mode="nearest")


def table(rows: list[Row]) -> str:
    """The rows as a table of Markdown."""
    lines = [
        "| architecture | pixels | CAM layer | tokens first | stages | methods that fit | left out | Grad-CAM |",
        f"|{' --- |' * 8}",
    ]
    for row in rows:
        usual = ("b-cos", "bagnet", "bagnet-own")
        left = ", ".join(f"`{name}`" for name in row.refused if name not in usual)
        kinds = {seen for *_, seen in row.stages.values()} - {"CAM layer"}
        stages = f"{len(row.stages)} ({' and '.join(sorted(kinds))})" if row.stages else "none"
        size = " x ".join(map(str, row.shape))
        tokens = "none: maps" if row.prefix is None else str(row.prefix)
        lines.append(
            f"| `{row.name}` | {row.side} | `{row.layer}` {size} | {tokens} | {stages} | {len(row.fitting)} | "
            f"{left or 'none'} | {row.error:.0e} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    chosen, found = sys.argv[2:] or list(NETWORKS), []
    for architecture in chosen:
        found.append(examine(architecture))
        print(f"{found[-1].seconds:5.1f} s {found[-1]}", flush=True)
    page = Path(sys.argv[1])
    before, _, rest = page.read_text().partition("| architecture |")
    _, _, after = rest.partition("\n\n")
    page.write_text(f"{before}{table(found)}\n\n{after}")
