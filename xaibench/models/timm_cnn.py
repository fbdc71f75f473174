"""Any network of timm, as `timm:NAME`, without a card of its own."""

from __future__ import annotations

import functools
import warnings
from collections import Counter
from typing import Any

import torch
from torch import nn

from xaibench.cards import ModelCard
from xaibench.errors import XaibenchError, did_you_mean, one_line
from xaibench.models.layouts import PREFIX, MapFinder
from xaibench.models.passes import Seen
from xaibench.models.tokens import plain_transformer_in, token_layer, transformer_in

STAGES = {"Mid1": 8, "Mid2": 4, "Mid3": 2, "Final": 1}  # how many times the side of the last map theirs is


def build(num_classes: int, architecture: str, **changes: Any) -> nn.Module:
    """The network `timm.create_model(architecture, **changes)` without weights.

    changes are parameters of its class, such as img_size. Raises XaibenchError where timm cannot build it with them and
    a head for so many classes.
    """
    import timm

    try:
        return timm.create_model(architecture, pretrained=False, num_classes=num_classes, **changes)
    except Exception as error:  # of timm, whose builders may raise anything
        raise XaibenchError(
            f"timm cannot build {architecture} for {num_classes} classes: {one_line(error, 300)}"
        ) from error


def card(name: str) -> ModelCard:
    """The card of `timm:NAME` or `timm:NAME.TAG`: its encoding from timm's own configuration (of the tag), its family,
    its stages by `stages_of`; its CAM layer is found by passes of the network.

    Raises XaibenchError for names and tags that timm does not have.
    """
    architecture = name.removeprefix("timm:")
    config = _config(architecture)
    family = "vit" if is_vit(architecture) else "cnn"
    return ModelCard(
        name=name, title=f"{architecture} (timm)", target=f"xaibench.models.timm_{family}:build", family=family,
        parameters={"architecture": architecture}, mean=tuple(config.mean), std=tuple(config.std), tags=("timm",),
        stages=stages_of(architecture, config.input_size[-1]),
    )  # fmt: skip


def input_side(architecture: str) -> int:
    """Pixels a side of the images that timm's configuration of a network is for."""
    return _config(architecture).input_size[-1]


def size_hint(name: str, side: int) -> str:
    """What to do where `timm:NAME` does not take images of a side: the option that makes those that it is for."""
    if not name.startswith("timm:") or input_side(name.removeprefix("timm:")) == side:
        return ""
    return f"; --image-size {input_side(name.removeprefix('timm:'))} makes images that it is for"


def _config(architecture: str) -> Any:
    """timm's configuration of a network (of its default tag, where none is named)."""
    import timm
    from timm.models import get_arch_pretrained_cfgs

    base, dot, tag = architecture.partition(".")
    if not timm.is_model(base):
        near = did_you_mean(base.lower(), timm.list_models(), most=3)
        raise XaibenchError(f"unknown timm model {base!r}; {near and near + ' '}timm.list_models() in Python lists all")
    tags = [full.partition(".")[2] for full in get_arch_pretrained_cfgs(base)]
    if dot and (not tag or tag not in tags):
        known = f"its tags are {', '.join(tags)}" if any(tags) else "it has none"
        raise XaibenchError(f"timm has no tag {tag!r} of {base}; {known}")
    config = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
    if config is None:
        raise XaibenchError(f"timm has no configuration of {architecture}, so its mean and std are unknown")
    return config


def is_vit(architecture: str) -> bool:
    """Whether a name of timm's is that of a plain vision transformer, as ViT, DeiT, DINOv2, BEiT and EVA are: all
    tokens attend to each other in all blocks."""
    from timm.models import is_model_in_modules

    from xaibench.models.timm_vit import FILES

    if is_model_in_modules(architecture.partition(".")[0], FILES):
        return True
    net = _without_numbers(architecture)
    return net is not None and bool(plain_transformer_in(net))


@functools.cache
def _without_numbers(architecture: str) -> nn.Module | None:
    """A network of timm on the device `meta`, which holds no numbers; None where it needs some to be built."""
    import timm

    try:
        with torch.device("meta"), warnings.catch_warnings(action="ignore"):
            return timm.create_model(architecture, pretrained=False)
    except Exception:  # a network may need real numbers
        return None


@functools.cache
def stages_of(architecture: str, side: int) -> dict[str, str]:
    """Paths of modules of a network of timm by the name of a stage, found by a pass of images of side x side pixels
    that computes nothing (the device `meta`).

    Of the feature maps that timm lists, the last is Final, and those of twice, four and eight times its side are Mid3,
    Mid2 and Mid1. Where all have one size, as in mixers, Mid1, Mid2 and Mid3 are those at a quarter, half and three
    quarters of the depth. In a vision transformer these are blocks, and Final is the CAM layer. Stages that are no
    maps, or no squares, are left out, and all of them where such a pass fails.
    """
    net = _without_numbers(architecture)
    if net is None:
        return {}
    if transformer_in(net) is not None:
        return _blocks(net)
    try:
        with torch.device("meta"), warnings.catch_warnings(action="ignore"):
            finder = MapFinder(net, torch.zeros(1, 3, side, side))
    except Exception:  # a network may need real numbers in its pass
        return {}
    runs = Counter(s.path for s in finder.seen)
    once = {s.path: s for s in finder.seen if runs[s.path] == 1}
    features = getattr(net, "feature_info", None) or []
    chosen = _of_one_size(features) or {
        name: [f for f in features if f["reduction"] * times == features[-1]["reduction"]]
        for name, times in STAGES.items()
    }
    found = {name: same[-1] for name, same in chosen.items() if same and same[-1]["module"] in once}
    return {
        name: feature["module"]
        for name, feature in found.items()
        if _is_square(finder, once[feature["module"]], side, feature["reduction"])
    }


def _of_one_size(features: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The feature maps at quarters of the depth, where all have one size; none otherwise."""
    depth = len(features)
    if depth < 4 or len({f["reduction"] for f in features}) > 1:
        return {}
    return {name: [features[_quarter(k, depth)]] for k, name in enumerate(STAGES, 1)}


def _is_square(finder: MapFinder, seen: Seen, side: int, reduction: int) -> bool:
    """Whether what a module gives is a map as wide as it is high, as a pass without numbers can tell: by its layout, or
    by the side that timm lists."""
    size = finder.size(seen)
    if size:
        return size[0] == size[1]
    shape, length = (seen.given or ())[1:], -(-side // reduction)
    if len(shape) == 3:
        return sum(axis == length for axis in shape) == 2
    return len(shape) == 2 and any(0 <= axis - length**2 <= PREFIX for axis in shape)


def _blocks(vit: nn.Module) -> dict[str, str]:
    """The stages of a vision transformer that is a network of its own; none where its last block has no CAM layer."""
    depth, layer = len(vit.blocks), token_layer(vit)
    if not layer or depth < 4:
        return {}
    return {f"Mid{k}": f"blocks.{_quarter(k, depth)}" for k in (1, 2, 3)} | {"Final": layer}


def _quarter(k: int, depth: int) -> int:
    """The number, from 0, of the part that ends at k quarters of the depth."""
    return int(k * depth / 4 + 0.5) - 1
