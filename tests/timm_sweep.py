"""How architectures of timm fare with random weights: CAM layer, stages, tokens and methods, against explanations by
hand. Run as a script, it writes the table of docs/timm.md:

    python tests/timm_sweep.py docs/timm.md [NAME ...]
"""

from __future__ import annotations

import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import torch
from architectures import NETWORKS, SWEPT, as_map, grad_cam_by_hand, opened, rollout_by_hand, side_of
from torch import Tensor

import xaibench
from xaibench import registry
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.methods import incompatibility, method_maps
from xaibench.attribution.reach import finder_of
from xaibench.attribution.runner import ModelRunner
from xaibench.attribution.trial import trial_of
from xaibench.errors import XaibenchError
from xaibench.models.base import Model

# what a method costs is turned down: these numbers change no code
CHEAP = {
    "steps": 2, "samples": 2, "masks": 4, "keep": 0.5, "n_samples": 2, "cells": 2, "window": 0.5, "stride": 0.5,
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


def examine(name: str) -> Row:
    """Builds an architecture as `timm:NAME` for ten classes and tries all there is to say about it."""
    began, row = time.process_time(), Row(name, side_of(name))
    model, image = opened(name)
    row.layer = model.cam_layer
    with warnings.catch_warnings(action="ignore"), ModelRunner(model.net, chunk=16) as runner:
        e = Evidence(runner, image, torch.tensor([3]), ["0"], view=model.view)
        _cam(row, model, e)
        _stages(row, model, e)
        _methods(row, model, e)
    row.seconds = time.process_time() - began
    return row


def _cam(row: Row, model: Model, e: Evidence) -> None:
    for target in range(10):  # a ReLU may leave nothing for a class
        expected, row.shape = grad_cam_by_hand(model.net, row.layer, e.images, target, as_map(row.name))
        if expected.any():
            break
    row.prefix = NETWORKS[row.name][0] if isinstance(NETWORKS[row.name], tuple) else None
    ours = method_maps(registry.card("method", "grad-cam"), e.explaining(torch.tensor([target])), {})
    row.error = float((ours - expected).abs().max() / expected.amax())
    if not (expected.amax() > 0 and row.error < 1e-3):
        row.failed.append(f"Grad-CAM differs by {row.error:.1e}")
    if tuple(model.cam_grid) != row.shape[1:]:
        row.failed.append(f"the CAM grid is {model.cam_grid}")


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
        # untrained, Score-CAM weighs all channels alike: behind a layer normalisation their sum is the same everywhere
        if not maps.isfinite().all() or (maps.std() == 0 and card.name != "score-cam"):
            row.failed.append(f"{card.name} gives {'a constant' if maps.isfinite().all() else 'no finite'} map")
        if card.name == "rollout":
            row.rollout = float((maps - rollout_by_hand(model.net, e.images, row.name)).abs().max() / maps.amax())
            if not row.rollout < 1e-4:
                row.failed.append(f"rollout differs by {row.rollout:.1e}")


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
    chosen, found = sys.argv[2:] or SWEPT, []
    for architecture in chosen:
        found.append(examine(architecture))
        print(f"{found[-1].seconds:5.1f} s {found[-1]}", flush=True)
    page = Path(sys.argv[1])
    before, _, rest = page.read_text().partition("| architecture |")
    _, _, after = rest.partition("\n\n")
    page.write_text(f"{before}{table(found)}\n\n{after}")
