"""Semantic segmentation as classification of one region, by the mean logit of a class over it.

The region is a fixed set of places. It is chosen once, from the intact image, and does not move while the image is
masked, deleted or made noisy; otherwise a score would compare sums over different places. After Seg-Grad-CAM
(Vinogradova, Dibrov and Myers, AAAI 2020, https://arxiv.org/abs/2002.11434), which sums logits over a set of pixels;
here it is their mean, which differs by a constant factor and has the scale of a logit.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from xaibench.errors import XaibenchError
from xaibench.models.modes import check_modes
from xaibench.surroundings import own_surroundings

KEYS = ("out", "logits")
"""Under which networks that return a dict have their logits: those of torchvision, and of transformers."""
ENCODERS = ("backbone", "encoder")
"""What the part of a segmentation network that makes features is called, in torchvision and other packages."""


class RegionLogits(nn.Module):
    """A semantic segmentation network as a classifier of one region of one image: logits (N, K), means over the region.

    net maps images (N, C, H, W) to logits (N, K, h, w), or to a dict that has them as `out` (torchvision) or `logits`
    (transformers). region (h, w) bool says which places of its output count, None all of them. Every image that is
    passed is taken for an edit of the same image, so explain images one by one. Any method of `xaibench.attribute` and
    any protocol of `xaibench.score` that needs no annotations takes it as its network. Class activation methods use the
    last map of the part called `backbone` or `encoder`; for a network without one, name a layer by `cam_layer`. The
    network is shared, not copied.

    Raises XaibenchError for an empty region or one of another type here, and for a network that gives no such logits,
    such as one of detection or instances, or other places than the region has, when it is called.

    >>> import torch, xaibench; from torchvision.models.segmentation import lraspp_mobilenet_v3_large
    >>> net = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3).eval()
    >>> image = torch.randn(1, 3, 64, 64)
    >>> target = int(net(image)["out"].mean((2, 3)).argmax())
    >>> region = xaibench.predicted_region(net, image, target)
    >>> xaibench.attribute(xaibench.RegionLogits(net, region), image, [target], "grad-cam").shape
    torch.Size([1, 1, 64, 64])
    """

    def __init__(self, net: nn.Module, region: Tensor | None = None):
        super().__init__()
        self.net = net
        self.size = None if region is None else tuple(_checked(region).shape)
        places = None if region is None else region.detach().flatten().nonzero()[:, 0]
        self.register_buffer("places", places)
        self.train(net.training)

    @property
    def cam_part(self) -> str:
        """The path of the module whose last map class activation methods use, "" where the network has no such part.

        Without it they would take the last map of all, the logits themselves, and draw the segmentation.
        """
        return next((f"net.{name}" for name in ENCODERS if isinstance(getattr(self.net, name, None), nn.Module)), "")

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, C, H, W)."""
        logits = dense_logits(self.net(images), len(images))
        if self.size is None:
            return logits.mean((2, 3))
        if tuple(logits.shape[2:]) != self.size:
            raise XaibenchError(
                f"the region has {_sides(self.size)} places and the network gives {_sides(logits.shape[2:])}; give a "
                "region of the size of its output, such as that of xaibench.predicted_region"
            )
        return logits.flatten(2)[:, :, self.places].mean(2)


@own_surroundings()
@torch.no_grad()
def predicted_labels(net: nn.Module, image: Tensor) -> Tensor:
    """The class that a segmentation network predicts at each place of an image (1, C, H, W): (h, w) int64.

    That is the one with the highest logit; of a network with one output z, class 1 where z > 0. Raises XaibenchError
    as `predicted_region` does.
    """
    check_modes(net)
    if image.ndim != 4 or len(image) != 1:
        raise XaibenchError(f"a region is of one image (1, C, H, W), not of {tuple(image.shape)}")
    logits = dense_logits(net(image), 1)[0]
    return logits.argmax(0) if len(logits) > 1 else (logits[0] > 0).long()


def predicted_region(net: nn.Module, image: Tensor, target: int) -> Tensor:
    """Where a segmentation network predicts a class on an image: (h, w) bool, of the size of its output.

    image (1, C, H, W) is the intact one, normalised as the network expects; a class is predicted where its logit is the
    highest, with one output z class 1 where z > 0. Raises XaibenchError where the class is predicted nowhere, which
    names the classes that are, for a network in training mode, and for those that `RegionLogits` does not take.
    """
    labels = predicted_labels(net, image)
    region = labels == target
    if not region.any():
        shares = labels.flatten().bincount() / labels.numel()
        found = ", ".join(f"{index} ({shares[index]:.0%})" for index in shares.argsort(descending=True)[:5].tolist()
                          if shares[index] > 0)  # fmt: skip
        raise XaibenchError(
            f"class {target} is predicted nowhere on this image; the classes that are: {found}; give one of them, or a "
            "region of your own"
        )
    return region


def dense_logits(output: object, count: int) -> Tensor:
    """The logits (N, K, h, w) in what a segmentation network returned for N images; raises XaibenchError for others."""
    found = output
    if isinstance(output, Mapping):
        found = next((output[key] for key in KEYS if key in output), None)
        if found is None:
            raise XaibenchError(
                f"the network returns {', '.join(map(str, output))}, not logits of every place as `out` or `logits`; "
                "networks of detection and of instances are not explained: see docs/segmentation.md"
            )
    if not isinstance(found, Tensor) or found.ndim != 4 or len(found) != count or not found.is_floating_point():
        what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise XaibenchError(
            f"the network returns {what}, not logits (N, K, h, w) of every place; networks of detection and of "
            "instances are not explained: see docs/segmentation.md"
        )
    return found


def _checked(region: object) -> Tensor:
    if not isinstance(region, Tensor) or region.dtype != torch.bool or region.ndim != 2:
        what = f"{region.dtype} {tuple(region.shape)}" if isinstance(region, Tensor) else type(region).__name__
        raise XaibenchError(f"a region is a tensor (h, w) of truth values, not {what}")
    if not region.any():
        raise XaibenchError("the region is empty, so there is nothing to explain")
    return region


def _sides(shape: object) -> str:
    return "x".join(map(str, shape))
