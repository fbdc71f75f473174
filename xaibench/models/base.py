"""A model: how a displayed image is encoded, the network, and the layer whose maps class activation methods use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xaibench.models.layouts import MapFinder, MapLayout

GREY = (0.299, 0.587, 0.114)
"""What red, green and blue count in the luma of ITU-R BT.601."""


@dataclass(frozen=True)
class Encoding:
    """From displayed pixels to the encoded image, which is explained: (pixels / 255 - mean) / std per channel.

    With one mean and one std, pixels are turned to grey first: the luma of ITU-R BT.601 (`GREY`), which is mode L of
    Pillow without its rounding to 8 bits. complement appends 1 - x for each channel x, as in the input of B-cos
    networks: six channels, or two.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    complement: bool = False

    @property
    def channels(self) -> int:
        """The channels of an encoded image."""
        return len(self.mean) * (2 if self.complement else 1)

    def __call__(self, images: np.ndarray) -> Tensor:
        """Encoded float32 (B, C, H, W), channels last in memory, of displayed uint8 (B, H, W, C)."""
        pixels = torch.tensor(images).permute(0, 3, 1, 2).float() / 255
        return self.of_pixels(pixels).contiguous(memory_format=torch.channels_last)

    def of_pixels(self, pixels: Tensor) -> Tensor:
        """Encoded images (..., C, H, W) of floating point pixels (..., colours, H, W) in [0, 1], which may be grey
        already where the encoding is."""
        mean, std = (torch.tensor(v).to(pixels)[:, None, None] for v in (self.mean, self.std))
        encoded = (self._colours(pixels) - mean) / std
        return torch.cat([encoded, 1 - encoded], -3) if self.complement else encoded

    def of_change(self, change: Tensor) -> Tensor:
        """The change of the encoded image (..., C, H, W) by a change of pixels (..., colours, H, W): 1 - x changes by
        the opposite of x."""
        encoded = change / torch.tensor(self.std).to(change)[:, None, None]
        return torch.cat([encoded, -encoded], -3) if self.complement else encoded

    def _colours(self, pixels: Tensor) -> Tensor:
        """Pixels (..., colours, H, W) with as many colours as the encoding has."""
        if len(self.mean) > 1 or pixels.shape[-3] == 1:
            return pixels
        return (torch.tensor(GREY).to(pixels)[:, None, None] * pixels).sum(-3, keepdim=True)

    @property
    def zero(self) -> Tensor:
        """The zero baseline (C,) in encoded space: the mean colour (black, where that is 0)."""
        zero = torch.zeros(len(self.mean))
        return torch.cat([zero, 1 - zero]) if self.complement else zero

    @property
    def key_fields(self) -> dict[str, Any]:
        """The part of keys."""
        complement = {"complement": True} if self.complement else {}
        return {"mean": list(self.mean), "std": list(self.std)} | complement


@dataclass(frozen=True)
class ModelView:
    """What evidence knows of a model besides its network.

    cam_layer: the module whose maps class activation methods use. probability: what makes a logit a probability,
    `softmax` or `sigmoid`. zero (C,): the zero baseline in encoded space, by default zeros. stages: paths of modules by
    the name of a stage. encoding: how pixels became inputs, None where that is unknown.
    """

    cam_layer: nn.Module | None = None
    probability: str = "softmax"
    zero: Tensor | None = None
    stages: Mapping[str, str] = field(default_factory=dict)
    encoding: Encoding | None = None


NOTHING_KNOWN = ModelView()
"""Of a network about which nothing but its passes is known."""


@dataclass
class Model:
    """A network ready to be explained: evaluation mode, parameters frozen.

    cam_layer is a module path inside net, "" where there is no spatial map; cam_grid is the height and width of its map
    at the data set's image size. classes is the number of its logits: 2 where it has one output (one_logit), whose
    probability is a sigmoid. notes describe changes of the architecture (a dilated last stage), and that images are
    turned to grey. stages are module paths by the name of a stage, where attributions may be taken. remarks are what
    the user should know of how a file was taken for the weights, a line each. zero_shot is what keys say of the texts
    of a zero-shot classifier.
    """

    name: str
    net: nn.Module
    encoding: Encoding
    cam_layer: str
    cam_grid: tuple[int, int]
    classes: int
    family: str = "cnn"
    probability: str = "softmax"
    notes: tuple[str, ...] = ()
    stages: dict[str, str] = field(default_factory=dict)
    version: int = 1
    source: str = ""
    weights: dict = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    one_logit: bool = False
    zero_shot: dict[str, Any] = field(default_factory=dict)
    _layouts: dict = field(default_factory=dict, repr=False, compare=False)

    @property
    def cam_module(self) -> nn.Module | None:
        """The module of the CAM layer."""
        return self.net.get_submodule(self.cam_layer) if self.cam_layer else None

    def layout_at(self, layer: str, inputs: Tensor) -> MapLayout | None:
        """How what a layer gives for inputs (N, C, H, W) is a map, None where it is none; found out once per size."""
        key = layer, *inputs.shape[1:]
        if key not in self._layouts:
            self._layouts[key] = MapFinder(self.net, inputs).layout_at(layer)
        return self._layouts[key]

    @property
    def view(self) -> ModelView:
        """What evidence knows of this model besides its network."""
        return ModelView(self.cam_module, self.probability, self.encoding.zero, self.stages, self.encoding)

    @property
    def label(self) -> str:
        """A description of the model: its name, its weights, the size of its last map, changes of the architecture."""
        return label_of(self.name, self.weights.get("label"), self.cam_layer, self.cam_grid, self.notes)

    def freeze(self, device: torch.device | str, dtype: torch.dtype) -> Model:
        """Moves to a device and dtype, into evaluation mode, and turns off gradients of the parameters."""
        self.net.to(device=device, dtype=dtype, memory_format=torch.channels_last).eval().requires_grad_(False)
        return self


def label_of(
    name: str, weights: str | None, cam_layer: str, cam_grid: Sequence[int], notes: Sequence[str]
) -> str:  # fmt: skip
    """A model in words: its name, its weights, the size of its last map, changes of the architecture."""
    grid = [f"last map {cam_grid[0]}x{cam_grid[1]}"] if cam_layer else []
    details = [*([weights] if weights else []), *grid, *notes]
    return f"{name} ({', '.join(details)})" if details else name
