"""How alike two models are: what they say of the target, where Grad-CAM sees it, and which images move a channel most.

The checks of Hesse, Schaub-Meyer, Roth, NeurIPS 2024, that fine-tuning on deletions left a model much as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from xaibench.attribution.cam import grad_cam
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.maps import to_map
from xaibench.attribution.runner import ModelRunner
from xaibench.errors import XaibenchError
from xaibench.protocols.base import Protocol, Scores, status_of
from xaibench.protocols.settings import OUTPUTS, TARGETS, check_choices


def softmax_difference(probabilities: Tensor, others: Tensor) -> Tensor:
    """|p - q|, (P,) float64 in [0, 1], lower is more alike, of the target's softmax (P,) in two models.

    NaN where either is not finite. Hesse et al. 2024 report the mean over images.
    """
    difference = (probabilities.double() - others.double()).abs()
    return torch.where(difference.isfinite(), difference, torch.nan)


def map_difference(maps: Tensor, others: Tensor) -> Tensor:
    """Mean over pixels of |a - b|, (P,) float64 in [0, 1], lower is more alike, of two sets of maps (P, 1, H, W).

    a and b are the maps scaled to [0, 1], each by its own minimum and maximum. NaN where either map is constant or not
    finite. Hesse et al. 2024, of Grad-CAM.
    """
    return (_scaled(maps) - _scaled(others)).abs().mean(1)


def _scaled(maps: Tensor) -> Tensor:
    """(P, pixels) float64 in [0, 1]; NaN throughout where a map is constant or not finite."""
    values = maps.flatten(1).double()
    low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    usable = values.isfinite().all(1, keepdim=True) & (high > low)
    return torch.where(usable, (values - low) / torch.where(usable, high - low, 1.0), torch.nan)


def top_images(activations: Tensor, channel: int, count: int) -> Tensor:
    """Indices (min(count, images),) int64 of the images that activate a channel most, the strongest first.

    activations (images, K). Of equals the earlier image comes first; what is not finite comes last. Raises
    XaibenchError for a channel that is not there.
    """
    if not 0 <= channel < activations.shape[1]:
        raise XaibenchError(f"channel {channel} is none of {activations.shape[1]}, from 0")
    values = activations[:, channel]
    values = torch.where(values.isfinite(), values, -torch.inf)
    return values.sort(descending=True, stable=True).indices[:count]


def channel_activations(
    net: nn.Module, layer: nn.Module, images: Tensor, *, chunk: int = 32,
    output: Callable[[object], Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """(images, K): the highest value of each channel of a layer's map (N, K, h, w), in images (N, C, H, W)."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, args: tuple, given: object) -> None:
        if not isinstance(given, Tensor) or given.ndim != 4:
            raise XaibenchError("the layer must give a map (N, K, h, w)")
        kept.append(given.detach().amax((2, 3)))

    def step(index: Tensor) -> Tensor:
        kept.clear()
        with torch.no_grad():
            runner.call(images[index])
        if len(kept) != 1:
            raise XaibenchError(f"the layer must run once in a pass, not {len(kept)} times")
        return kept[0]

    with ModelRunner(net, chunk=chunk, output=output) as runner:
        handle = layer.register_forward_hook(keep)
        try:
            return torch.cat([part for _, part in runner.stream(len(images), step)])
        finally:
            handle.remove()


def most_activating(
    net: nn.Module, layer: nn.Module | str, images: Tensor, channel: int, count: int = 9, *, chunk: int = 32,
    output: Callable[[object], Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """Indices (count,) of the images (N, C, H, W), normalised as the model expects, that activate a channel most.

    layer is a module of net, or its path, that gives a map (N, K, h, w); an image counts by the highest value of the
    channel. net is in evaluation mode; chunk and output as for `xaibench.attribute`. Shown side by side, the images of
    the same channel in two models say whether it reacts to the same things (Hesse et al. 2024).

    >>> import torch; from torchvision.models import resnet18
    >>> most_activating(resnet18().eval(), "layer4", torch.randn(5, 3, 64, 64), channel=7, count=3).shape
    torch.Size([3])
    """
    if net.training:
        raise XaibenchError(
            "the model is in training mode, where images of a batch influence each other; call model.eval()"
        )
    if not len(images) or count < 1:
        raise XaibenchError(f"{count} of {len(images)} images; ask for at least one of at least one")
    if isinstance(layer, str):
        layers = dict(net.named_modules())
        if layer not in layers:
            raise XaibenchError(f"the model has no layer {layer!r}; among its {len(layers)} is {list(layers)[-1]}")
        layer = layers[layer]
    return top_images(channel_activations(net, layer, images, chunk=chunk, output=output), channel, count)


@dataclass(frozen=True)
class Compared:
    """The target's probability (P,) in both models, and their Grad-CAM maps (P, 1, H, W) if both have a CAM layer."""

    probabilities: tuple[Tensor, Tensor]
    maps: tuple[Tensor, Tensor] | None


@dataclass(frozen=True)
class ModelSimilarity(Protocol):
    """Settings: target (label, or the first model's prediction), attribution_output (what Grad-CAM explains: logit,
    probability)."""

    without_method: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = True
    target: str = "label"
    attribution_output: str = "logit"

    def __post_init__(self):
        check_choices(self, target=TARGETS, attribution_output=OUTPUTS)

    @property
    def description(self) -> str:
        """Such as `label, logit`."""
        return f"{self.target}, {self.attribution_output}"

    def prepare(self, e: Evidence) -> Compared:
        """Probabilities and Grad-CAM maps in both models; raises XaibenchError without a second one."""
        if e.reference is None:
            raise XaibenchError("model-similarity compares two models; use `xaibench.run` with reference_model")
        both, size = (e, e.reference), tuple(e.images.shape[-2:])
        probabilities = tuple(side.scores(side.logits(), "probability") for side in both)
        if any(side.cam_layer is None for side in both):
            return Compared(probabilities, None)
        return Compared(probabilities, tuple(to_map(grad_cam(side), size) for side in both))

    def score(self, prepared: Compared, maps: Tensor | None) -> Scores:
        """The difference (P,) of probabilities, and `grad-cam-difference` where both models have a CAM layer.

        Undefined, for nobody's fault, where a logit is not finite; the latter where a Grad-CAM map is constant.
        """
        scores = _scores(softmax_difference(*prepared.probabilities))
        if prepared.maps is None:
            return scores
        return replace(scores, also={"grad-cam-difference": _scores(map_difference(*prepared.maps))})


def _scores(values: Tensor) -> Scores:
    return status_of(values, torch.zeros_like(values, dtype=torch.bool), values.isnan())
