"""captum's attribution classes as functions of evidence."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import LRP, Attribution, DeepLift, FeaturePermutation, GuidedGradCam
from captum.attr._core.guided_backprop_deconvnet import ModifiedReluGradientAttribution
from captum.attr._core.lime import get_exp_kernel_similarity_function
from captum.attr._utils.attribution import LayerAttribution, PerturbationAttribution
from torch import Tensor

from xaibench.attribution.adapters import deep_lift
from xaibench.attribution.adapters.library import pair_by_pair
from xaibench.attribution.adapters.prepare import Prepared, prepared
from xaibench.attribution.adapters.regions import cell_labels, window_size
from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError

HOOKED = (LRP, DeepLift, GuidedGradCam, ModifiedReluGradientAttribution)  # captum hooks every module for these
DRAWS_NOTHING = frozenset(
    {
        "Saliency", "InputXGradient", "IntegratedGradients", "DeepLift", "DeepLiftShap", "Deconvolution",
        "GuidedBackprop", "GuidedGradCam", "Occlusion", "FeatureAblation", "LRP", "LayerActivation",
        "LayerConductance", "LayerDeepLift", "LayerDeepLiftShap", "LayerGradCam", "LayerFeatureAblation",
        "LayerGradientXActivation", "LayerIntegratedGradients", "LayerLRP", "InternalInfluence",
    }
)  # fmt: skip
# given by the adapter, or not useful for images and one network
GIVEN = frozenset(
    {
        "self", "model", "forward_func", "layer", "device_ids", "inputs", "target", "additional_forward_args",
        "feature_mask", "perturbations_per_eval", "internal_batch_size", "sliding_window_shapes", "strides",
        "show_progress", "verbose", "return_convergence_delta", "kwargs", "return_input_shape",
        "interpretable_model", "similarity_func", "perturb_func", "custom_attribution_func", "grad_kwargs",
        "layer_mask", "layer_baselines", "nt_samples_batch_size",
    }
)  # fmt: skip


class CaptumMethod:
    """A function of evidence (P, C, h, w) that runs an attribution class of captum; raises XaibenchError for classes
    that do not explain the score of a class, or that explain images by other images of the batch.

    Parameters: those of the constructor and of `attribute`; `baselines` is the name of a baseline or a list of names.
    In addition, Occlusion takes `window` and `stride` (shares of the image's side), methods with a feature mask take
    `cells` (per side), and LIME takes `ridge` (its penalty) and `kernel_width`.
    """

    def __init__(self, kind: type[Attribution]):
        self.kind, self.name = kind, kind.__name__
        self.constructor = _parameters(kind.__init__)
        self.call = _parameters(getattr(kind, "attribute", None))
        self._check()
        own = {"sliding_window_shapes": ("window", "stride"), "feature_mask": ("cells",)}
        names = [name for given, owns in own.items() if given in self.call for name in owns]
        names += ["ridge", "kernel_width"] if "interpretable_model" in self.constructor else []
        names += [name for name in (*self.constructor, *self.call) if name not in GIVEN]
        self.__signature__ = inspect.Signature(
            [inspect.Parameter("e", inspect.Parameter.POSITIONAL_ONLY)]
            + [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
        )

    def _check(self) -> None:
        first = next(iter(self.constructor), None)
        if not self.call or "neuron_selector" in self.call:
            raise XaibenchError(f"captum's {self.name} does not explain the score of a class")
        if issubclass(self.kind, FeaturePermutation):
            raise XaibenchError(f"captum's {self.name} permutes images of a batch, so its maps depend on the batch")
        if first not in ("model", "forward_func"):
            raise XaibenchError(f"captum's {self.name} wraps another method, which a card cannot name")

    def __call__(self, e: Evidence, **parameters: Any) -> Tensor:
        """Raw attributions (P, C, h, w); every error of captum becomes an XaibenchError in one line."""
        net = prepared(e, routed=not issubclass(self.kind, LRP))
        if net.opaque and (issubclass(self.kind, HOOKED) or "layer" in self.constructor):
            raise XaibenchError(net.opaque)
        if issubclass(self.kind, (ModifiedReluGradientAttribution, GuidedGradCam)):
            _check_relus(net)
        if issubclass(self.kind, DeepLift):
            deep_lift.check(net)
        perturbs = issubclass(self.kind, PerturbationAttribution)

        def call(pairs: Tensor, chunk: int) -> Tensor:
            inputs = e.inputs[pairs].detach().requires_grad_(not perturbs)
            arguments = self._arguments(e, pairs, chunk, parameters)
            with torch.set_grad_enabled(not perturbs):
                found = self._make(e, net, parameters).attribute(inputs, **arguments)
            return _tensor(found)

        width = deep_lift.width(net) if issubclass(self.kind, DeepLift) else 1
        draws = self.name not in DRAWS_NOTHING
        attributions = pair_by_pair(e, f"captum's {self.name}", net, call, width=width, draws=draws)
        if issubclass(self.kind, DeepLift) and parameters.get("multiply_by_inputs", True):
            deep_lift.check_completeness(e, net, attributions, self._baselines(e, parameters))
        return attributions

    def _make(self, e: Evidence, net: Prepared, parameters: dict[str, Any]) -> Attribution:
        given: dict[str, Any] = {k: v for k, v in parameters.items() if k in self.constructor}
        if "layer" in self.constructor:
            given["layer"] = net.tap(e.cam_layer, e.cam_layout)
        if "interpretable_model" in self.constructor:
            given["interpretable_model"] = SkLearnRidge(alpha=parameters.get("ridge", 1.0))
            width = parameters.get("kernel_width", 0.25)
            given["similarity_func"] = get_exp_kernel_similarity_function("cosine", width)
        return self.kind(net, **given)

    def _arguments(self, e: Evidence, pairs: Tensor, chunk: int, parameters: dict[str, Any]) -> dict[str, Any]:
        """Arguments of `attribute` for some pairs; they keep every pass within the chunk where captum allows this."""
        size, channels, count = tuple(e.images.shape[-2:]), e.images.shape[1], len(pairs)
        given: dict[str, Any] = {k: v for k, v in parameters.items() if k in self.call}
        given |= {
            "target": e.targets[pairs],
            # captum's ablation of a layer's units loses the targets when several units share a pass
            "perturbations_per_eval": 1 if issubclass(self.kind, LayerAttribution) else max(1, chunk // count),
            "internal_batch_size": max(chunk, count),
        }
        if "baselines" in self.call:
            baselines = self._baselines(e, parameters)
            given["baselines"] = baselines.expand(count, -1, -1, -1) if len(baselines) == 1 else baselines
        if "feature_mask" in self.call:
            given["feature_mask"] = cell_labels(size, parameters.get("cells", 7)).to(e.images.device)[None, None]
        if "sliding_window_shapes" in self.call:
            if not {"window", "stride"} <= set(parameters):
                raise XaibenchError(f"captum's {self.name} needs the parameters window and stride")
            given["sliding_window_shapes"] = (channels, *window_size(parameters["window"], size))
            given["strides"] = (channels, *window_size(parameters["stride"], size))
        return {name: value for name, value in given.items() if name in self.call}

    def _baselines(self, e: Evidence, parameters: dict[str, Any]) -> Tensor:
        names = parameters.get("baselines", "zero")
        return torch.stack([e.baseline(name) for name in ([names] if isinstance(names, str) else names)])


def _check_relus(net: Prepared) -> None:
    """Guided gradients are defined for ReLUs; with other activation functions the map would be a mixture with plain
    gradients."""
    if not len(net.relus) or net.activations:
        others = f"; this one has {', '.join(sorted(net.activations))}" if net.activations else ""
        raise XaibenchError(f"needs a network whose activation functions are ReLUs{others}")


def _parameters(function: object) -> list[str]:
    """The names of a function's parameters, through captum's decorators."""
    return list(inspect.signature(inspect.unwrap(function)).parameters)[1:] if function else []


def _tensor(found: object) -> Tensor:
    """The attributions of the one input, or of the one layer."""
    while isinstance(found, tuple) and len(found) == 1:
        found = found[0]
    if not isinstance(found, Tensor):
        raise XaibenchError(f"captum returned {type(found).__name__}, not one tensor of attributions")
    return found
