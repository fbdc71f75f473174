"""timm's vision transformers (ViT, DeiT, DINOv2, FlexiViT and others), by the name of their function in timm."""

from __future__ import annotations

from typing import Any

from torch import nn

from xaibench.errors import XaibenchError, one_line
from xaibench.models.tokens import transformer_in

FILES = ("vision_transformer", "vision_transformer_hybrid", "deit")  # of timm.models: one class, and blocks like it


def build(num_classes: int, architecture: str, **changes: Any) -> nn.Module:
    """The network `timm.create_model(architecture, **changes)` without weights.

    changes are parameters of timm's VisionTransformer, such as img_size, patch_size, embed_dim, depth and num_heads.
    Raises XaibenchError for changes that timm refuses, and for names that are no vision transformer.
    """
    import timm

    try:
        net = timm.create_model(architecture, pretrained=False, num_classes=num_classes, **changes)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        given = ", ".join(f"{name}={value}" for name, value in changes.items())
        raise XaibenchError(f"timm cannot build {architecture} with {given}: {one_line(error, 300)}") from error
    if transformer_in(net) is None:
        raise XaibenchError(f"{architecture} of timm is no vision transformer")
    return net
