"""Architectures of timm, how what they give is a map as their own code says, and explanations of them by hand."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xaibench.cards import Geometry
from xaibench.models.base import Model
from xaibench.models.open import build_model, model_card
from xaibench.models.timm_cnn import input_side

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
# of these only Grad-CAM is compared, with images of timm's size; all others are in the table of docs/timm.md
MORE = [
    "ghostnet_050",
    "edgenext_xx_small",
    "mobilevitv2_050",
    "hrnet_w18_small",
    "levit_conv_128s",
    "resmlp_12_224",
    "mambaout_femto",
    "efficientformerv2_s0",
    "tiny_vit_5m_224",
    "poolformer_s12",
    "visformer_tiny",
    "vit_relpos_small_patch16_224",
    "deit3_small_patch16_224",
    "vitamin_small_224",
    "coatnet_nano_rw_224",
    "davit_tiny",
    "focalnet_tiny_srf",
    "swinv2_tiny_window8_256",
    "swinv2_cr_tiny_ns_224",
    "efficientformer_l1",
    "hiera_tiny_224",
    "beit_base_patch16_224",
    "caformer_s18",
    "inception_v3",
    "gcvit_xxtiny",
    "sequencer2d_s",
    "nest_tiny",
    "mvitv2_tiny",
    "twins_svt_small",
    "coat_lite_tiny",
    "convit_tiny",
    "repvit_m0_9",
    "inception_next_atto",
]
SWEPT = [name for name in NETWORKS if name not in MORE]
# pixels a side of the images, smaller than timm's to be quick: all others get 96
SIDES = {
    "swin_tiny_patch4_window7_224": 128, "maxvit_rmlp_pico_rw_256": 128, "mixer_s32_224": 128,
    "coatnet_nano_rw_224": 128, "swinv2_tiny_window8_256": 128, "swinv2_cr_tiny_ns_224": 128, "davit_tiny": 128,
    "focalnet_tiny_srf": 128, "sequencer2d_s": 128, "mvitv2_tiny": 128, "twins_svt_small": 128, "coat_lite_tiny": 128,
    "inception_v3": 128, "efficientformer_l1": 224, "hiera_tiny_224": 224, "levit_conv_128s": 224, "nest_tiny": 224,
    "gcvit_xxtiny": 224, "tiny_vit_5m_224": 224, "visformer_tiny": 224, "efficientformerv2_s0": 224,
    "eva02_tiny_patch14_224": 84, "vit_small_patch14_dinov2": 84, "vit_small_patch14_reg4_dinov2": 84,
}  # fmt: skip


def side_of(name: str) -> int:
    """Pixels a side of the images that an architecture is tried with."""
    return input_side(name) if name in MORE else SIDES.get(name, 96)


def changes_of(name: str) -> dict[str, int]:
    """What timm is told so that a network takes such images: nothing, where it takes any."""
    import timm

    try:
        with torch.device("meta"):
            timm.create_model(name, img_size=side_of(name))
    except TypeError:  # takes images of any size
        return {}
    return {"img_size": side_of(name)}


def opened(name: str) -> tuple[Model, Tensor]:
    """The model `timm:NAME` for ten classes with random weights, none of which is zero, and an image for it."""
    side, card = side_of(name), model_card(f"timm:{name}")
    with warnings.catch_warnings(action="ignore"):
        card = card.model_copy(update={"parameters": card.parameters | changes_of(name)})
        torch.manual_seed(0)
        model = build_model(card, 10, Geometry(resize=side, crop=side))
    for parameter in model.net.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape)
    return model.freeze("cpu", torch.float32), torch.randn(1, 3, side, side)


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


@contextmanager
def softmaxes() -> Iterator[list[Tensor]]:
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


def rollout_by_hand(net: nn.Module, image: Tensor, name: str) -> Tensor:
    """Attention Rollout (1, 1, H, W) from the second block on, of all softmaxes of a pass without fused attention."""
    fused = {module: module.fused_attn for module in net.modules() if hasattr(module, "fused_attn")}
    for module in fused:
        module.fused_attn = False
    with softmaxes() as kept, torch.no_grad():
        net(image)
    for module, was in fused.items():
        module.fused_attn = was
    prefix, length = NETWORKS[name]
    grid = side_of(name) // length
    count = prefix + grid**2
    assert [tuple(a.shape[2:]) for a in kept] == [(count, count)] * len(net.blocks)
    product = torch.eye(count).double()
    for attention in kept[1:]:
        mixed = attention[0].double().mean(0) + torch.eye(count).double()
        product = mixed / mixed.sum(1, keepdim=True) @ product
    pooled = net.global_pool == "avg"
    patches = (product[prefix:].mean(0) if pooled else product[0])[prefix:]
    return F.interpolate(patches.reshape(1, 1, grid, grid).float(), image.shape[2:], mode="nearest")
