"""Attributions at a stage of the model: class activation maps of another layer, gradients at a layer.

In Rao et al. 2023 this is Input x Gradient: feature x gradient at the output of a stage, summed over channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from xaibench.attribution.evidence import Evidence
from xaibench.attribution.reach import gradient_of
from xaibench.cards import MethodCard, ModelCard
from xaibench.errors import XaibenchError
from xaibench.models.base import ModelView
from xaibench.models.disconnected import Disconnected
from xaibench.models.layouts import check_output

INPUT = "Input"  # the stage that needs no name: the image itself
LAYER = "layer"  # the parameter with the stage of the model at which a method takes its maps


class LayerEvidence(Evidence):
    """Evidence about the same pairs for the network after a layer: `inputs` are the maps (P, K, h, w) of the layer.

    whole is evidence whose CAM layer is that layer. The zero baseline is a map of zeros. Noise and the uniform
    baseline, which are defined for images, raise XaibenchError.
    """

    def __init__(self, whole: Evidence):
        view = ModelView(whole.cam_layer, whole.view.probability, encoding=whole.encoding)
        super().__init__(
            whole.runner, whole.images, whole.targets.new_zeros(len(whole.images)), whole.image_ids, view=view,
            seed=whole.seed, annotations=whole.annotations,
        )  # fmt: skip
        self._explain(whole.targets, whole.owner, whole.output)
        self._whole = whole

    @property
    def inputs(self) -> Tensor:
        """The layer's maps of each pair, (P, K, h, w)."""
        return self._whole.activations_and_gradients().activations

    def gradient(self) -> Tensor:
        """Gradient (P, K, h, w) of each pair's score at the layer's maps."""
        return self._whole.activations_and_gradients().gradients

    def baseline(self, name: str, space: str = "encoded") -> Tensor:
        """The zero baseline (K, h, w)."""
        if name != "zero":
            raise XaibenchError(f"the {name} baseline is one of images; at a stage there is only the zero baseline")
        return torch.zeros_like(self.inputs[0])

    def noisy(self, sample: int | None, sigma: float, space: str = "encoded") -> Tensor:
        """The layer's maps of each pair; noise is for images."""
        if sample is not None:
            raise XaibenchError("noise is added to images, not at a stage of the model")
        return self.inputs

    def _gradients(
        self, count: int, inputs: Callable[[Tensor], Tensor], pair: Callable[[Tensor], Tensor]
    ) -> Iterator[tuple[slice, Tensor]]:
        """Gradients (n, K, h, w), a chunk at a time, at maps that replace the output of the layer."""
        layout = self._whole.cam_layout()

        def step(index: Tensor) -> Tensor:
            at = inputs(index).detach().requires_grad_()

            def replace(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
                check_output(output, len(at), layout, "the layer")
                with torch.inference_mode(False), torch.enable_grad():
                    return layout.with_map(output, at.to(output.dtype, copy=True))

            handle = self.cam_layer.register_forward_hook(replace)
            try:
                with torch.enable_grad():
                    images = self._whole.inputs[pair(index)]
                    score = self.objective(self.runner.call(images), pair(index)).sum()
            finally:
                handle.remove()
            return gradient_of(self.runner, score, at, images, self.cam_layer)

        return self.runner.stream(count, step, self._whole.images.device)


def at_stage(e: Evidence, stage: str, card: MethodCard) -> Evidence:
    """Evidence about the same pairs for a method at a stage of the model, made once for the evidence.

    Raises XaibenchError where the network of the evidence has no such stage.
    """
    layer = _module_at(e.runner.net, e.stages.get(stage, ""))
    if layer is None:
        raise XaibenchError(f"the network that is explained here has no stage {stage}")
    whole = e.once(("at stage", stage), lambda: e.with_model(e.runner, layer))
    return whole if "cam-layer" in card.needs else e.once(("behind stage", stage), lambda: LayerEvidence(whole))


def _module_at(net: nn.Module, path: str) -> nn.Module | None:
    """The module whose output is a network's map at a path; None where there is none."""
    whole = net.net if isinstance(net, Disconnected) else net
    if not path or all(path != known for known, _ in whole.named_modules()):
        return None
    return net.joined_at(path) if whole is not net else net.get_submodule(path)


def validate_stage(card: ModelCard, stage: str | None) -> str | None:
    """A stage of the model by the user's name, None for the input; raises XaibenchError with the stages that exist."""
    if stage in (None, INPUT) or stage in card.stages:
        return None if stage == INPUT else stage
    if not card.stages:
        raise XaibenchError(f"--layer {stage}: the card of model {card.name} names no stages; leave --layer out")
    near = next((name for name in card.stages if name.lower() == stage.lower()), None)
    hint = f"did you mean {near}? " if near else ""
    raise XaibenchError(f"model {card.name} has no stage {stage!r}; {hint}it has {', '.join([INPUT, *card.stages])}")


def off_stage(card: MethodCard) -> str | None:
    """Why a method has no map at a stage; None where it has one, and for controls, which do not use the model."""
    if card.at_stage or "cam-layer" in card.needs or card.role in ("control", "oracle"):
        return None
    return "is not defined at a stage of the model (--layer)"


def with_layer(card: MethodCard, parameters: dict[str, Any], layer: str | None) -> dict[str, Any]:
    """The parameters of a method whose maps are taken at a stage of the model; those of controls stay as they are."""
    return parameters if layer is None or card.role in ("control", "oracle") else parameters | {LAYER: layer}


def layer_of(card: MethodCard, parameters: dict[str, Any]) -> str | None:
    """The stage at which a method takes its maps, None for the input."""
    return None if LAYER in card.parameters else parameters.get(LAYER)  # a plug-in may have a parameter of that name


def placed_name(card: MethodCard, parameters: dict[str, Any]) -> str:
    """The name of a method on boards and figures, with the stage at which it takes its maps, such as ixg@Final."""
    layer = layer_of(card, parameters)
    return f"{card.name}@{layer}" if layer else card.name
