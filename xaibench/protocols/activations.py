"""Which images activate a channel of a model most: does the same channel react to the same things in two models?

Hesse, Schaub-Meyer, Roth, NeurIPS 2024, to see that fine-tuning on deletions hardly changes a model.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from xaibench.attribution.arguments import call_of_network, check_inputs
from xaibench.attribution.runner import ModelRunner
from xaibench.errors import XaibenchError


def top_images(activations: Tensor, channel: int, count: int) -> Tensor:
    """The images that activate a channel most.

    Args:
        activations: (images, K) floating: the activation of each channel in each image.
        channel: from 0 to K - 1.
        count: how many images.

    Returns:
        (min(count, images),) int64: indices of images, the strongest first. Of equals the earlier image comes first;
        values that are not finite come last.

    Raises:
        XaibenchError: there is no such channel.

    Examples:
        >>> import torch
        >>> from xaibench.functional import top_images
        >>> top_images(torch.tensor([[0.1, 5.0], [0.3, 2.0], [0.2, 9.0]]), channel=1, count=2).tolist()
        [2, 0]

    Source: Hesse, Schaub-Meyer, Roth, Benchmarking the Attribution Quality of Vision Models, NeurIPS 2024.
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

    def keep(module: nn.Module, args: tuple, features: object) -> None:
        if not isinstance(features, Tensor) or features.ndim != 4:
            raise XaibenchError("the layer must give a map (N, K, h, w)")
        kept.append(features.detach().amax((2, 3)))

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
            return torch.cat([part for _, part in runner.stream(len(images), step, images.device)])
        finally:
            handle.remove()


@call_of_network
def most_activating(
    net: nn.Module, layer: nn.Module | str, images: Tensor, channel: int, count: int = 9, *, chunk: int = 32,
    output: Callable[[object], Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """Indices (count,) of the images (N, C, H, W), normalised as the model expects, that activate a channel most.

    layer is a module of net, or its path, that gives a map (N, K, h, w); an image counts by the highest value of the
    channel. net is in evaluation mode; chunk and output as for `xaibench.attribute`.

    >>> import torch; from torchvision.models import resnet18
    >>> most_activating(resnet18().eval(), "layer4", torch.randn(5, 3, 64, 64), channel=7, count=3).shape
    torch.Size([3])
    """
    if count < 1 or (isinstance(images, Tensor) and images.ndim and not len(images)):
        raise XaibenchError(f"cannot choose {count} of {len(images)} images; both numbers must be at least 1")
    images = check_inputs(images, net)
    if isinstance(layer, str):
        layers = dict(net.named_modules())
        if layer not in layers:
            raise XaibenchError(f"the model has no layer {layer!r}; among its {len(layers)} is {list(layers)[-1]}")
        layer = layers[layer]
    return top_images(channel_activations(net, layer, images, chunk=chunk, output=output), channel, count)
