"""A pass in training that gives the map of a layer beside the logits, both with their graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xaibench.errors import XaibenchError
from xaibench.models.base import Model
from xaibench.models.layouts import check_output


class FeatureMap:
    """Passes through a model's network as it is, in training mode too, that keep what its CAM layer gives.

    Raises XaibenchError for a model without such a layer.
    """

    def __init__(self, model: Model):
        if model.cam_module is None:
            raise XaibenchError(f"model {model.name} has no layer with a spatial map (cam_layer), which this needs")
        self.model, self.layer = model, model.cam_layer

    def __call__(self, net: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, K), what the layer gave, to take gradients at, and that as a map (N, C, h, w).

        The map of tokens is that of the patches. Raises XaibenchError where the layer gives no one map in a pass.
        """
        kept: list[Tensor] = []

        def keep(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
            kept.append(output)
            return output.clone()  # an in-place ReLU behind the layer must not change what was kept

        handle = net.get_submodule(self.layer).register_forward_hook(keep)
        try:
            logits = net(inputs.contiguous(memory_format=torch.channels_last))
        finally:
            handle.remove()
        if len(kept) != 1:
            raise XaibenchError(f"layer {self.layer} must run once in a pass and give a map (N, C, h, w)")
        return logits, kept[0], self.as_map(kept[0], inputs)

    def as_map(self, given: Tensor, inputs: Tensor) -> Tensor:
        """What the layer gave, or a gradient there, as a map (N, C, h, w)."""
        layout = self.model.layout_at(self.layer, inputs)
        check_output(given, len(inputs), layout, f"layer {self.layer}")
        return layout.to_map(given)
