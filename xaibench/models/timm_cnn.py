"""Any convolutional network of timm, as `timm:NAME`, without a card of its own; and the cards of its transformers."""

from __future__ import annotations

import functools
import warnings
from collections import Counter

import torch
from torch import nn

from xaibench.cards import ModelCard
from xaibench.errors import XaibenchError, unknown
from xaibench.models.build import attention_in
from xaibench.models.layouts import MapFinder
from xaibench.models.tokens import token_layer, transformer_in

STAGES = {"Mid1": 8, "Mid2": 4, "Mid3": 2, "Final": 1}  # how many times the side of the last map theirs is


def build(num_classes: int, architecture: str) -> nn.Module:
    """The network `timm.create_model(architecture)` without weights.

    Raises XaibenchError for a network with attention over positions, whose tokens are no convolutional map.
    """
    import timm

    net = timm.create_model(architecture, pretrained=False, num_classes=num_classes)
    if kind := attention_in(net):
        raise XaibenchError(
            f"timm:{architecture} has attention ({kind}); xaibench supports convolutional networks and plain "
            "vision transformers of timm"
        )
    return net


def card(name: str) -> ModelCard:
    """The card of `timm:NAME`: its encoding from timm's own configuration, its family, its CAM layer by a probe, its
    stages by `stages_of`.

    Raises XaibenchError for names that timm does not have.
    """
    import timm

    from xaibench.models.timm_vit import is_vit

    architecture = name.removeprefix("timm:")
    if not timm.is_model(architecture):
        raise unknown("timm model", architecture, timm.list_models())
    config = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
    mean, std = (config.mean, config.std) if config else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    family = "vit" if is_vit(architecture) else "cnn"
    return ModelCard(
        name=name, title=f"{architecture} (timm)", target=f"xaibench.models.timm_{family}:build", family=family,
        parameters={"architecture": architecture}, mean=tuple(mean), std=tuple(std), tags=("timm",),
        stages=stages_of(architecture, config.input_size[-1] if config else 224),
    )  # fmt: skip


@functools.cache
def stages_of(architecture: str, side: int) -> dict[str, str]:
    """Paths of modules of a network of timm by the name of a stage, found by a pass of images of side x side pixels
    that computes nothing (the device `meta`).

    Of the feature maps that timm lists, the last is Final, and those of twice, four and eight times its side are Mid3,
    Mid2 and Mid1. In a vision transformer, whose maps all have one size, Mid1, Mid2 and Mid3 are the blocks at a
    quarter, half and three quarters of its depth, and Final is the CAM layer. Stages that are no maps are left out, and
    all of them where such a pass fails.
    """
    import timm

    try:
        with torch.device("meta"), warnings.catch_warnings(action="ignore"):
            net = timm.create_model(architecture, pretrained=False)
            if transformer_in(net) is not None:
                return _blocks(net)
            finder = MapFinder(net, torch.zeros(1, 3, side, side))
    except Exception:  # a network may need real numbers in its pass
        return {}
    runs = Counter(s.path for s in finder.seen)
    once = {s.path: s for s in finder.seen if runs[s.path] == 1}
    features = getattr(net, "feature_info", None) or []
    found: dict[str, str] = {}
    for name, times in STAGES.items():
        same = [f["module"] for f in features if f["reduction"] * times == features[-1]["reduction"]]
        size = finder.size(once[same[-1]]) if same and same[-1] in once else None
        if size and size[0] == size[1] and not attention_in(net):
            found[name] = same[-1]
    return found


def _blocks(vit: nn.Module) -> dict[str, str]:
    """The stages of a vision transformer that is a network of its own; none where its last block has no CAM layer."""
    depth, layer = len(vit.blocks), token_layer(vit)
    if not layer or depth < 4:
        return {}
    middle = {f"Mid{k}": f"blocks.{int(k * depth / 4 + 0.5) - 1}" for k in (1, 2, 3)}
    return middle | {"Final": layer}
