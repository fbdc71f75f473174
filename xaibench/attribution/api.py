"""`xaibench.attribute`: maps of any method for any network, in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor, nn

from xaibench import registry
from xaibench.attribution.arguments import (
    call_of_network,
    check_ids,
    check_inputs,
    check_network,
    check_targets,
)
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.methods import FAMILY_NAMES, check_parameters, incompatibility, method_maps
from xaibench.attribution.reach import finder_of
from xaibench.attribution.runner import ModelRunner
from xaibench.attribution.stages import INPUT, LAYER, with_layer
from xaibench.errors import XaibenchError
from xaibench.models.bagnet import BagNet
from xaibench.models.base import NOTHING_KNOWN, Encoding, Model, ModelView
from xaibench.models.build import attention_in
from xaibench.models.opened import unseen
from xaibench.models.outputs import check_classifier
from xaibench.models.probe import default_cam_layer
from xaibench.models.sanity import check_weights, warn_once
from xaibench.models.tokens import plain_transformer_in


def evidence_of(
    runner: ModelRunner,
    inputs: Tensor,
    targets: Tensor,
    *,
    view: ModelView = NOTHING_KNOWN,
    image_ids: Sequence[str] | None = None,
    seed: int = 0,
    output: str = "logit",
) -> Evidence:
    """Evidence about one target per input of a plain network.

    view is what is known of the model besides its network. Raises XaibenchError for inputs and targets that do not
    match, and for a network that cannot be explained, such as one in training mode.
    """
    check_network(runner.net)
    images = check_inputs(inputs, runner.net)
    classes, ids = check_targets(targets, images), check_ids(image_ids, len(images))
    e = Evidence(runner, images, classes, ids, view=view, seed=seed)
    return e if output == "logit" else e.explaining(classes, output=output)


@call_of_network
def attribute(
    model: nn.Module | Model,
    inputs: Tensor,
    targets: Tensor | Sequence[int] | int,
    method: str,
    *,
    layer: nn.Module | str | None = None,
    family: str | None = None,
    cam_layer: nn.Module | str | None = None,
    image_ids: Sequence[str] | None = None,
    seed: int = 0,
    output: Callable[[object], Tensor] | None = None,
    chunk: int = 32,
    **params: object,
) -> Tensor:
    """Attribution maps (B, 1, H, W), signed and unnormalised, of one target per input.

    model: any network in float32 or float64, in evaluation mode, or a `Model`, which also has the encoding of its
    images; output is a function that selects the logits (N, K) where the network returns a tuple or a dict. inputs (B,
    C, H, W), of its dtype and on its device, are normalised as the model expects; targets are a class index for each
    input, as a tensor, an array or a list (for one input, an int will do). method is a name of `xaibench ls methods`,
    params override those of its card (`xaibench show method NAME`). layer is the module, its path, or a stage of a
    `Model`, at whose output maps are taken instead of the input. family (cnn, vit, bcos, bagnet) decides which methods
    are defined; by default that of a `Model`, or the one determined from the network's modules. Inputs of bcos are
    channels x and then 1 - x, and probabilities are sigmoids. cam_layer is the module, or its path, whose maps class
    activation methods use; by default the last one with a spatial output, or the first norm of a vision transformer's
    last block. image_ids identify the images for the noise of stochastic methods ("0", "1", ... by default): the same
    seed and id give the same noise in any batch. chunk is the largest number of inputs per pass.

    Modes and defaults of torch around a call (autocast, inference mode, default type and device) change nothing, and
    the network, the inputs and all generators are afterwards as they were. Calls of several threads that share modules
    wait for each other. Raises XaibenchError for unknown methods, parameters, layers and classes, and for networks,
    inputs and targets that cannot be explained.

    >>> import torch, xaibench; from torchvision.models import resnet18
    >>> maps = xaibench.attribute(resnet18().eval(), torch.randn(2, 3, 64, 64), torch.tensor([3, 5]), "grad-cam")
    >>> maps.shape
    torch.Size([2, 1, 64, 64])
    """
    net = model.net if isinstance(model, Model) else model
    if output is None:
        check_classifier(net)
    inputs = check_inputs(inputs, net)  # before any pass
    targets = check_targets(targets, inputs)
    family = family_of(model, family)
    view = _view(model, family, inputs)
    card = registry.card("method", method).for_family(family)
    stages = dict(view.stages)
    stage = None if LAYER in card.parameters else _stage(net, stages, layer)
    if reason := incompatibility(card, family, has_cam_layer=True, layer=stage):
        raise XaibenchError(f"method {method} {reason}; this model is {_described(net, family)}")
    if reason := unseen(net, card.needs):
        raise XaibenchError(f"method {method} {reason}")
    if LAYER in card.parameters and layer is not None:
        params = params | {LAYER: layer}
    parameters = card.parameters | params
    check_parameters(card, parameters)
    with ModelRunner(net, chunk=chunk, output=output) as runner:
        if cam_layer is None and "cam-layer" in card.needs and stage is None:
            own = model.cam_module if isinstance(model, Model) else None
            cam_layer = own or default_cam_layer(net, inputs[:1], output, finder_of(runner, inputs)) or None
        module = None if cam_layer is None else net.get_submodule(_path_of(net, cam_layer))
        view = replace(view, cam_layer=module, stages=stages)
        e = evidence_of(runner, inputs, targets, view=view, image_ids=image_ids, seed=seed)
        warn_once(net, runner.call, e.images)
        with runner.arithmetic():
            maps = method_maps(card, e, with_layer(card, parameters, stage))
            e.check_range()  # some methods give the same map for every class
        if not maps.isfinite().all():
            check_weights(net, f"model {type(net).__name__}")
        return maps


def family_of(model: nn.Module | Model, family: str | None = None) -> str:
    """The given family, or that of a model, or the one determined from the modules of a network."""
    if family is not None:
        if family not in FAMILY_NAMES:
            raise XaibenchError(f"unknown family {family!r}; it is one of {', '.join(FAMILY_NAMES)}")
        return family
    if isinstance(model, Model):
        return model.family
    if any(hasattr(module, "set_explanation_mode") for module in model.modules()):
        return "bcos"
    if isinstance(model, BagNet):
        return "bagnet"
    return "vit" if plain_transformer_in(model) else "cnn"


def _described(net: nn.Module, family: str) -> str:
    """What a network is, for a message: its family, or its type where it is none of the kinds that families name."""
    kind = attention_in(net)
    if family == "cnn" and kind:
        return f"{type(net).__name__}, whose attention ({kind}) is not that of a plain vision transformer"
    convolves = any(isinstance(m, nn.Conv2d) and max(m.kernel_size) > max(m.stride) for m in net.modules())
    return FAMILY_NAMES[family] if family != "cnn" or convolves else f"{type(net).__name__}, which has no attention"


def _view(model: nn.Module | Model, family: str, inputs: Tensor) -> ModelView:
    """What is known of a model besides its network."""
    if isinstance(model, Model):
        return model.view
    if family != "bcos":
        return NOTHING_KNOWN
    colours, odd = divmod(inputs.shape[1], 2) if inputs.ndim == 4 else (0, 1)
    if odd:
        raise XaibenchError(f"a B-cos network takes channels x and then 1 - x, not inputs {tuple(inputs.shape)}")
    encoding = Encoding((0.0,) * colours, (1.0,) * colours, complement=True)
    return ModelView(probability="sigmoid", zero=encoding.zero, encoding=encoding)


def _stage(net: nn.Module, stages: dict[str, str], layer: nn.Module | str | None) -> str | None:
    """The name of the stage at a layer; a path or a module is added to the stages. None for the input."""
    if layer is None or layer == INPUT or layer in stages:
        return None if layer == INPUT else layer
    path = _path_of(net, layer)
    stages[path] = path
    return path


def _path_of(net: nn.Module, layer: nn.Module | str) -> str:
    """The path of a layer; raises XaibenchError where the network has no such layer."""
    layers = dict(net.named_modules())
    found = layer if isinstance(layer, str) else next((path for path, module in layers.items() if module is layer), "")
    if not found or found not in layers:
        name = repr(layer) if isinstance(layer, str) else type(layer).__name__
        raise XaibenchError(
            f"the model has no layer {name}; among its {len(layers)} are {', '.join(list(layers)[1:4])}"
        )
    return found
