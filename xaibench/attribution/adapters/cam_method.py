"""pytorch-grad-cam's CAM classes as functions of evidence."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from pytorch_grad_cam import AblationLayer, FullGrad
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor

from xaibench.attribution.adapters.full_grad import check_biases
from xaibench.attribution.adapters.library import pair_by_pair
from xaibench.attribution.adapters.prepare import prepared
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.maps import bilinear
from xaibench.attribution.reach import check_input_gradient
from xaibench.errors import XaibenchError
from xaibench.models.opened import Opaque

# They draw no random numbers and need a few passes per image, whatever the number of channels; all others run pair by
# pair, with a seed: Score-CAM, for example, has one masked image per channel in memory, and the solver of KPCA-CAM
# starts from a random vector.
BATCHED = frozenset(
    {
        "GradCAM", "GradCAMElementWise", "GradCAMPlusPlus", "XGradCAM", "LayerCAM", "HiResCAM", "EigenCAM",
        "EigenGradCAM", "SegEigenCAM", "FEM", "FullGrad",
    }
)  # fmt: skip
GIVEN = frozenset(
    {
        "self", "model", "target_layers", "reshape_transform", "ablation_layer", "batch_size", "input_tensor",
        "targets", "target_idx", "base_method", "compute_input_gradient", "uses_gradients", "tta_transforms",
        "detach", "args", "kwargs",
    }
)  # fmt: skip


class ZeroAblation(AblationLayer):
    """Sets an ablated channel to zero, as in the paper.

    The package does this only where the smallest activation is 0; elsewhere it writes increasingly negative numbers,
    which depend on how many channels share a pass.
    """

    def __call__(self, inputs: Tensor) -> Tensor:
        """(n, K, h, w): the activations, each with the next channel ablated."""
        output = self.activations
        for i in range(len(output)):
            output[i, self.indices[i]] = 0
        return output


def is_cam(kind: type) -> bool:
    """Whether a class has the interface of CAM classes: constructed with target layers, called with inputs and
    targets."""
    return "target_layers" in inspect.signature(kind.__init__).parameters and hasattr(kind, "forward")


def keep_grid(cam: object) -> bool:
    """Has a CAM object return maps at the grid of its layer instead of resizing them; False where it has a way of its
    own to resize.

    The package resizes in float32, which makes pixels that are equal by the formula unequal by rounding.
    """
    inner = getattr(cam, "base_cam", cam)
    for name in ("compute_cam_per_layer", "aggregate_multi_layers"):
        if getattr(type(inner), name, None) is not getattr(BaseCAM, name):
            return False
    inner.get_target_width_height = lambda inputs: None
    return True


def scaled(maps: Tensor) -> Tensor:
    """Maps (n, 1, H, W) scaled to [0, 1] as the package does it."""
    maps = maps - maps.amin((2, 3), keepdim=True)
    return maps / (1e-7 + maps.amax((2, 3), keepdim=True))


class CamMethod:
    """A function of evidence (P, 1, H, W) that runs a CAM class. Parameters: those of the constructor and of the call.

    Maps are those of the package: negative values are cut off, resized to the image (by `bilinear`, which agrees with
    the package's up to rounding), scaled to [0, 1].
    """

    def __init__(self, kind: type):
        self.kind, self.name = kind, kind.__name__
        self.constructor, self.call = (list(inspect.signature(f).parameters) for f in (kind.__init__, kind.forward))
        extra = ["aug_smooth"] if hasattr(kind, "forward_augmentation_smoothing") else []
        names = dict.fromkeys(name for name in [*self.constructor, *self.call, *extra] if name not in GIVEN)
        self.__signature__ = inspect.Signature(
            [inspect.Parameter("e", inspect.Parameter.POSITIONAL_ONLY)]
            + [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
        )

    def __call__(self, e: Evidence, **parameters: Any) -> Tensor:
        """Maps (P, 1, H, W) in [0, 1]; every error of the package becomes an XaibenchError in one line."""
        net = prepared(e)
        if net.opaque and (issubclass(self.kind, FullGrad) or isinstance(e.runner.net, Opaque)):
            raise XaibenchError(net.opaque)
        if issubclass(self.kind, FullGrad):  # whose terms of biases are not zero where that of the input is
            check_input_gradient(e.runner, e.images)
            check_biases(e, net)
        layers = [] if issubclass(self.kind, FullGrad) else [net.tap(e.cam_layer, e.cam_layout)]
        made = {k: v for k, v in parameters.items() if k in self.constructor}
        call_arguments = {k: v for k, v in parameters.items() if k not in self.constructor}

        def call(pairs: Tensor, chunk: int) -> Tensor:
            given = dict(made)
            if "ablation_layer" in self.constructor:
                given["ablation_layer"] = ZeroAblation()
            if "batch_size" in self.constructor:
                given["batch_size"] = chunk
            with torch.enable_grad():
                cam = self.kind(net, layers, **given)
                if "batch_size" not in self.constructor:
                    cam.batch_size = chunk  # used by Score-CAM
                # augmented images are explained one by one, and their maps scaled and averaged at the image's size
                coarse = not call_arguments.get("aug_smooth") and keep_grid(cam)
                inputs, targets = e.inputs[pairs].detach().requires_grad_(), e.targets[pairs].tolist()
                if "target_idx" in self.call:
                    found = cam(inputs, None, target_idx=targets[0], **call_arguments)
                else:
                    found = cam(inputs, [ClassifierOutputTarget(target) for target in targets], **call_arguments)
            if len(found) != len(pairs):
                raise XaibenchError(f"pytorch-grad-cam returned {len(found)} maps for {len(pairs)} pairs")
            maps = torch.from_numpy(found)[:, None]
            return scaled(bilinear(maps, tuple(inputs.shape[-2:]))) if coarse else maps

        draws = self.name not in BATCHED
        return pair_by_pair(e, f"pytorch-grad-cam's {self.name}", net, call, width=1, draws=draws)
