"""`xaibench.attribute`: maps of any method for any network, in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from xaibench import registry
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.methods import check_parameters, method_maps, misfit
from xaibench.attribution.passes import Passes
from xaibench.errors import XaibenchError
from xaibench.models.probe import default_cam_layer
from xaibench.models.tokens import transformer_in


def evidence_of(
    passes: Passes,
    inputs: Tensor,
    targets: Tensor,
    *,
    cam_layer: nn.Module | str | None = None,
    image_ids: Sequence[str] | None = None,
    seed: int = 0,
    output: str = "logit",
) -> Evidence:
    """Evidence about one target per input of a plain network; raises XaibenchError for shapes that do not match."""
    if passes.net.training:
        raise XaibenchError(
            "the model is in training mode, where images of a batch influence each other; call model.eval()"
        )
    if inputs.ndim != 4 or not inputs.is_floating_point():
        raise XaibenchError(f"inputs are floating point (B, C, H, W), not {inputs.dtype} {tuple(inputs.shape)}")
    own = next((p.dtype for p in passes.net.parameters()), inputs.dtype)
    if not len(inputs) or own != inputs.dtype:
        raise XaibenchError(
            f"{len(inputs)} inputs of {inputs.dtype} for a network of {own}; give at least one, of its type"
        )
    targets = torch.as_tensor(targets)
    if targets.shape != inputs.shape[:1] or targets.is_floating_point():
        raise XaibenchError(f"targets are {len(inputs)} class indices, not {targets.dtype} {tuple(targets.shape)}")
    if isinstance(cam_layer, str):
        layers = dict(passes.net.named_modules())
        if cam_layer not in layers:
            raise XaibenchError(
                f"the model has no layer {cam_layer!r}; among its {len(layers)} are {', '.join(list(layers)[1:4])}"
            )
        cam_layer = layers[cam_layer]
    ids = [str(i) for i in range(len(inputs))] if image_ids is None else image_ids
    return Evidence(passes, inputs.detach(), targets.long(), ids, cam_layer=cam_layer, seed=seed, output=output)


def attribute(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    method: str,
    *,
    cam_layer: nn.Module | str | None = None,
    image_ids: Sequence[str] | None = None,
    seed: int = 0,
    output: Callable[[object], Tensor] | None = None,
    chunk: int = 32,
    **params: object,
) -> Tensor:
    """Attribution maps (B, 1, H, W), signed and unnormalised, of one target per input.

    model: any network in evaluation mode; output picks its logits (N, K) where it returns a tuple or a dict. inputs (B,
    C, H, W) are normalised as the model expects; targets (B,) are class indices. method is a name of `xaibench ls
    methods`, params override those of its card (`xaibench show method NAME`). cam_layer is the module, or its path,
    whose maps class activation methods use; by default the last one with a spatial output, or the first norm of a
    vision transformer's last block. image_ids name the images for the noise of stochastic methods ("0", "1", ... by
    default): same seed and id, same noise, whatever the batch. chunk bounds the inputs per pass. Raises XaibenchError
    for unknown methods, parameters and shapes.

    >>> import torch, xaibench; from torchvision.models import resnet18
    >>> maps = xaibench.attribute(resnet18().eval(), torch.randn(2, 3, 64, 64), torch.tensor([3, 5]), "grad-cam")
    >>> maps.shape
    torch.Size([2, 1, 64, 64])
    """
    card = registry.card("method", method)
    if reason := misfit(card, "cnn" if transformer_in(model) is None else "vit", has_cam_layer=True):
        raise XaibenchError(f"method {method} {reason}; use it through a model of the registry")
    parameters = card.parameters | params
    check_parameters(card, parameters)
    if cam_layer is None and "cam-layer" in card.needs:
        cam_layer = default_cam_layer(model, inputs[:1]) or None
    with Passes(model, chunk=chunk, output=output) as passes:
        e = evidence_of(passes, inputs, targets, cam_layer=cam_layer, image_ids=image_ids, seed=seed)
        return method_maps(card, e, parameters)
