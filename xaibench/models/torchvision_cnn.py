"""torchvision's classification networks, by the name of their function."""

from __future__ import annotations

from torch import nn


def build(num_classes: int, builder: str) -> nn.Module:
    """The network of `torchvision.models.<builder>` without weights.

    ResNets start with residual branches that add nothing (zero_init_residual), which trains faster from scratch.
    """
    import torchvision

    extra = {"zero_init_residual": True} if "resnet" in builder else {}
    return torchvision.models.get_model(builder, weights=None, num_classes=num_classes, **extra)


def weights_url(enum: str) -> str:
    """The address of an entry of torchvision's own list, such as ResNet50_Weights.IMAGENET1K_V1."""
    import torchvision

    return torchvision.models.get_weight(enum).url
