"""Grad-CAM of networks of timm at their default layer, against pytorch-grad-cam with the layout that each family is
written with."""

from __future__ import annotations

import warnings

import pytest
import torch

import xaibench
from xaibench.models.layouts import MapFinder
from xaibench.models.probe import default_cam_layer

pytestmark = pytest.mark.slow

FIRST, LAST = None, "channels last"
# (prefix, rows, columns) of tokens, as the networks' own code says
NETWORKS = {
    "swin_tiny_patch4_window7_224": LAST, "swinv2_tiny_window8_256": LAST, "mambaout_femto": LAST,
    "sequencer2d_s": LAST, "nest_tiny": LAST, "swinv2_cr_tiny_ns_224": FIRST, "focalnet_tiny_srf": FIRST,
    "gcvit_xxtiny": FIRST, "maxvit_rmlp_pico_rw_256": FIRST, "davit_tiny": FIRST, "tiny_vit_5m_224": FIRST,
    "edgenext_xx_small": FIRST, "mobilevit_xxs": FIRST, "poolformer_s12": FIRST, "convnext_atto": FIRST,
    "caformer_s18": FIRST, "pvt_v2_b0": FIRST, "visformer_tiny": FIRST, "fastvit_t8": FIRST, "repvit_m0_9": FIRST,
 "inception_next_atto": FIRST, "resnet10t": FIRST,
    "mixer_s32_224": (0, 7, 7), "resmlp_12_224": (0, 14, 14), "gmlp_ti16_224": (0, 14, 14),
    "mvitv2_tiny": (0, 7, 7), "hiera_tiny_224": (0, 7, 7), "twins_svt_small": (0, 7, 7),
    "coat_lite_tiny": (1, 7, 7), "xcit_nano_12_p16_224": (1, 14, 14), "cait_xxs24_224": (1, 14, 14),
    "convit_tiny": (1, 14, 14), "beit_base_patch16_224": (1, 14, 14),
    "eva02_tiny_patch14_224": (1, 16, 16), "vit_relpos_small_patch16_224": (0, 14, 14),
    "efficientformer_l1": (0, 7, 7), "deit_tiny_distilled_patch16_224": (2, 14, 14),
}  # fmt: skip


def network(name: str) -> tuple[torch.nn.Module, torch.Tensor]:
    """A network of timm for ten classes, with random weights in its head too, and an image."""
    import timm

    torch.manual_seed(0)
    with warnings.catch_warnings(action="ignore"):
        net = timm.create_model(name, num_classes=10).eval()
    for parameter in net.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape)
    side = timm.get_pretrained_cfg(name, allow_unregistered=True).input_size[-1]
    return net.requires_grad_(False), torch.randn(1, 3, side, side)


def as_map(kind):
    if kind is FIRST:
        return None
    if kind == LAST:
        return lambda x: x.permute(0, 3, 1, 2)
    prefix, rows, columns = kind
    return lambda x: x[:, prefix:].transpose(1, 2).reshape(len(x), -1, rows, columns)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_default_map_is_that_of_pytorch_grad_cam(name, peer_cam):
    (net, image), target = network(name), torch.tensor([3])
    layer = default_cam_layer(net, image, finder=MapFinder(net, image))
    expected = peer_cam(net, layer, image, target, as_map(NETWORKS[name]))
    ours = xaibench.attribute(net, image, target, "grad-cam", cam_layer=layer)
    print(f"{name} | {layer} | {float((ours - expected).abs().max() / expected.amax()):.1e}")
    assert expected.amax() > 0 and torch.allclose(ours, expected, rtol=1e-3, atol=1e-4 * float(expected.amax()))
