"""Attribution maps to train by: differentiable, at the input or at a stage of the model. Rao et al. 2023.

The maps are those that the methods of the same names give when the trained model is explained. Their graph is kept, so
a loss on them reaches every parameter, also through the gradient that they are made of.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import interpolate

from xaibench.attribution.bcos import constant_once, held
from xaibench.attribution.stages import INPUT
from xaibench.errors import XaibenchError
from xaibench.models.base import Model
from xaibench.models.layouts import CHANNELS_FIRST, check_output
from xaibench.models.modes import evaluating

ATTRIBUTIONS = ("ixg", "grad-cam", "b-cos", "intgrad")
SPACE = (2, 3)


def guided_maps(
    model: Model, inputs: Tensor, targets: Tensor, attribution: str, stage: str | None, size: tuple[int, int],
    graph: bool = True,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Attribution maps (N, H, W), signed and of size (H, W), and logits (N, K), both with their graph.

    inputs (N, C, h, w) are encoded, targets (N,) the classes whose logits are explained. `ixg`: the channel sum of
    feature x gradient; `intgrad`: the same, of networks for which it is integrated gradients from zero; `b-cos`:
    feature x dynamic weights, which the gradient of the map passes; `grad-cam`: the ReLU of the channel sum of mean
    gradient x feature. The feature is the output of `stage`, or for Input (or None) the image; deeper maps are
    resized bilinearly.

    The network is taken in evaluation mode, as when it is explained: an image's map does not depend on the others, no
    statistics change, nothing is dropped; then its modules are put back. So the logits are for a classification loss
    only where the network is trained in evaluation mode too; else that takes a pass of its own, before or after. Maps
    are float32 at least. Raises XaibenchError as `check_attribution` does, and for `intgrad` where a logit is not the
    sum of its map.
    """
    check_attribution(model, attribution, stage)
    net = model.net
    holding = constant_once(net) if attribution == "b-cos" else nullcontext()
    # attention's fused kernels have no second derivative
    with torch.enable_grad(), evaluating(net), sdpa_kernel(SDPBackend.MATH), holding:
        layer = model.stages.get(stage or INPUT, "")
        feature, logits = _pass(net, inputs, layer)
        score = logits.gather(1, targets.to(logits.device)[:, None])[:, 0]
        (gradient,) = torch.autograd.grad(score.sum(), feature, create_graph=graph)
    layout = model.layout_at(layer, inputs) if layer else CHANNELS_FIRST
    check_output(feature, len(inputs), layout, f"layer {layer}")
    exact = torch.promote_types(feature.dtype, torch.float32)
    feature, gradient = (layout.to_map(part).to(exact) for part in (feature, gradient))
    if attribution == "grad-cam":
        found = (gradient.mean(SPACE, keepdim=True) * feature).sum(1, keepdim=True).relu()
    else:
        found = feature * gradient
    if attribution == "intgrad":
        _check_complete(model.name, found.detach(), score.detach())
    found = found.sum(1, keepdim=True)
    if found.shape[-2:] != tuple(size):  # as `to_map`, up to rounding, at the price of float32
        found = interpolate(found, tuple(size), mode="bilinear", align_corners=False)
    return found[:, 0], logits


def check_attribution(model: Model, attribution: str, stage: str | None) -> None:
    """Raises XaibenchError for an attribution or a stage that there is not, and for a model that does not fit it."""
    if attribution not in ATTRIBUTIONS:
        raise XaibenchError(f"{attribution!r} is no attribution to guide by; take one of {', '.join(ATTRIBUTIONS)}")
    at_input = stage in (None, INPUT)
    if not at_input and stage not in model.stages:
        near = next((name for name in (INPUT, *model.stages) if name.lower() == stage.lower()), None)
        hint = f"did you mean {near}? " if near else ""
        there = ", ".join([INPUT, *model.stages])
        raise XaibenchError(f"model {model.name} has no stage {stage!r}; {hint}it has {there} (--layer)")
    if at_input and attribution == "grad-cam":
        raise XaibenchError("grad-cam weighs the channels of a stage, not of the image; name one by --layer, as Final")
    if attribution == "b-cos":
        with held(model.net):
            return
    if attribution == "intgrad":
        # a bias, a scale of a normalisation, a scalar: nothing that multiplies a map or a vector whole
        other = next((name for name, parameter in model.net.named_parameters() if parameter.ndim < 2), None)
        if other is not None:
            raise XaibenchError(
                f"intgrad needs a network without bias and normalisation, such as x_resnet50; model {model.name} has "
                f"{other}; take --attribution ixg"
            )


def _pass(net: nn.Module, inputs: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """What a layer gives, the inputs for "", and the logits (N, K), in one pass.

    Raises XaibenchError for a layer that does not give one map (N, K, h, w), or tokens, in a pass.
    """
    # with buffers of its own: a training pass before the backward one changes the network's in place
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    if not layer:
        image = inputs.clone().requires_grad_()
        return image, functional_call(net, buffers, (image,))
    kept: list[Tensor] = []

    def keep(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
        kept.append(output.requires_grad_())
        return output.clone()  # an in-place ReLU behind the layer must not change what was kept

    handle = net.get_submodule(layer).register_forward_hook(keep)
    try:
        logits = functional_call(net, buffers, (inputs,))
    finally:
        handle.remove()
    if len(kept) != 1:
        raise XaibenchError(f"layer {layer} must run once in a pass and give a map (N, K, h, w) to guide by")
    return kept[0], logits


def _check_complete(name: str, contributions: Tensor, score: Tensor) -> None:
    """Euler: of a homogeneous network, f(a x) = a f(x), feature x gradient sums to the logit."""
    low = score.dtype in (torch.float16, torch.bfloat16) or torch.is_autocast_enabled(score.device.type)
    gap = (contributions.sum((1, 2, 3)) - score).abs()
    if bool((gap > (0.05 if low else 0.01) * contributions.abs().sum((1, 2, 3))).any()):
        raise XaibenchError(
            f"intgrad needs a network with f(2 x) = 2 f(x), such as x_resnet50, which {name} is not; "
            "take --attribution ixg"
        )
