"""Any convolutional network of timm, as `timm:NAME`, without a card of its own; and the cards of its transformers."""

from __future__ import annotations

from torch import nn

from xaibench.cards import ModelCard
from xaibench.errors import XaibenchError, unknown
from xaibench.models.build import attention_in


def build(num_classes: int, architecture: str) -> nn.Module:
    """The network `timm.create_model(architecture)` without weights.

    Raises XaibenchError for a network with attention over positions, whose tokens are no convolutional map.
    """
    import timm

    net = timm.create_model(architecture, pretrained=False, num_classes=num_classes)
    if kind := attention_in(net):
        raise XaibenchError(
            f"timm:{architecture} has attention ({kind}); xaibench takes convolutional networks and plain "
            "vision transformers from timm"
        )
    return net


def card(name: str) -> ModelCard:
    """The card of `timm:NAME`: its encoding from timm's own configuration, its family, its CAM layer by a probe.

    Raises XaibenchError for names that timm does not know.
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
    )  # fmt: skip
