"""What is known of a network: its rule, the scenes that it is for, their features, and where these are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from xaibench.judging.badges import Badged
from xaibench.judging.law import State
from xaibench.judging.networks import MEAN, STD
from xaibench.models.base import Encoding


@dataclass(frozen=True)
class Known:
    """A network whose function is known, and the data set whose images it is for.

    network: images (N, 3, 64, 64) float32, encoded as (pixel / 255 - 0.5) / 0.25, to logits (N, K); in evaluation mode,
    without gradients of parameters. rule: the class that it gives a combination of features (0 or 1 for each of
    `features`). cam_layer: the path of the layer with the last spatial map, "" where there is none. fits: which
    families of methods can be right about it, and which cannot, in words.
    """

    name: str
    network: nn.Module
    dataset: Badged
    rule: Callable[[State], int]
    cam_layer: str
    fits: str
    encoding: Encoding = field(default=Encoding(MEAN, STD))

    @property
    def features(self) -> tuple[str, ...]:
        """The names of all features of the scenes, those that the network ignores too."""
        return self.dataset.law.features

    def target(self, image_id: str) -> int:
        """The class that is explained: the one that the network predicts, which its rule says."""
        return self.rule(self.dataset.state(image_id))

    def masks(self, image_id: str) -> dict[str, np.ndarray]:
        """The pixels (64, 64) bool of each feature that the image shows; disjoint."""
        return self.dataset.masks(image_id)

    def encode(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        """The network's inputs (N, 3, 64, 64) float32 of displayed images (N, 64, 64, 3) uint8."""
        return self.encoding(np.stack(list(images))).contiguous()

    def inputs(self, image_ids: Iterable[str]) -> Tensor:
        """The network's inputs (N, 3, 64, 64) float32 of images by their ids."""
        return self.encode([self.dataset.load(image_id).image for image_id in image_ids])

    @torch.no_grad()
    def logits_of(self, image_id: str, sets: Sequence[Iterable[str]]) -> Tensor:
        """The logits (len(sets), K) float64 of an image drawn again with each of some sets of features."""
        return self.network(self.encode([self.dataset.show(image_id, features) for features in sets])).double()
