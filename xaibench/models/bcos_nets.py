"""B-cos networks, built of the modules of the package `bcos`. Böhle et al. 2024, https://arxiv.org/abs/2306.10898.

A B-cos layer computes w.x |cos(w, x)| for unit vectors w: linear in its input if the cosine is constant. There are no
activation functions and no biases except that of the logits, so a whole network is linear in the image if all such
factors are constant.

Parameters have the names of the package, and of the weights that its authors publish (`conv1.linear.weight`). The
weights that were fine-tuned for IDSDS were saved by a copy of these networks without the package, whose layers are
convolutions themselves (`conv1.weight`); `models/names.py` takes both. The networks of B-cos v1 (2022) are others.
"""

from __future__ import annotations

import math
import warnings
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xaibench.errors import XaibenchError

MISSING = "B-cos networks need more packages: pip install 'xaibench[bcos]'"


def convolution_class(num_classes: int) -> type[nn.Module]:
    """The class of B-cos convolutions that may be dilated: their patches are those of the convolution inside.

    Raises XaibenchError for fewer than two classes, whose logit bias would be infinite, and where the package `bcos` is
    not installed.
    """
    if num_classes < 2:
        raise XaibenchError(f"B-cos networks need two or more classes, not {num_classes}")
    try:
        from bcos.modules import BcosConv2d
    except ImportError as error:
        raise XaibenchError(MISSING) from error

    class Convolution(BcosConv2d):
        def calc_patch_norms(self, in_tensor: Tensor) -> Tensor:
            return patch_norms(in_tensor, self.linear)

    return Convolution


def build(num_classes: int, builder: str) -> nn.Module:
    """The B-cos network `resnet18`, `resnet50`, `densenet121` or `simple_vit_s_patch16_224`, without weights.

    As published: six channels [x, 1 - x], B = 2, normalisation without bias (in CNNs BatchNorm without centring), logit
    bias log(1 / (classes - 1)). Raises XaibenchError for fewer than two classes, whose logit bias would be infinite,
    and where the packages are not installed.
    """
    Convolution = convolution_class(num_classes)
    try:
        from bcos.models import densenet, resnet, vit
        from bcos.modules import BcosLinear, BcosSequential, LogitLayer, norms
    except ImportError as error:
        raise XaibenchError(MISSING) from error

    bias = -math.log(num_classes - 1)
    if builder.startswith("simple_vit"):
        with warnings.catch_warnings(action="ignore"):  # that the logit layer is missing, which comes here
            net = getattr(vit, builder)(
                num_classes=num_classes, linear_layer=partial(BcosLinear, b=2), act_layer=nn.Identity,
                norm_layer=norms.NoBias(norms.DetachableLayerNorm),
            )  # fmt: skip
        return BcosSequential(net, LogitLayer(logit_bias=bias))
    family = densenet if builder.startswith("densenet") else resnet
    return getattr(family, builder)(
        num_classes=num_classes, conv_layer=partial(Convolution, b=2), logit_bias=bias,
        norm_layer=norms.NoBias(norms.BatchNormUncentered2d),
    )  # fmt: skip


def patch_norms(inputs: Tensor, convolution: nn.Conv2d) -> Tensor:
    """Norms (N, 1, h, w) of the patches of inputs (N, C, H, W) under a convolution, with 1e-6 under the root.

    In float32 at least, also under autocast, as the package's own are.
    """
    exact = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
    ones = torch.ones(1, 1, *convolution.kernel_size, dtype=exact.dtype, device=exact.device)
    placed = convolution.stride, convolution.padding, convolution.dilation
    with torch.autocast(inputs.device.type, enabled=False):
        return (F.conv2d(exact.square().sum(1, keepdim=True), ones, None, *placed) + 1e-6).sqrt()
