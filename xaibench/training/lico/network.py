"""What LICO trains: the image model beside prompts, a projection of text features and a scale, which are dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from xaibench.models.base import Model
from xaibench.seeds import derive
from xaibench.training.feature_map import FeatureMap
from xaibench.training.lico.losses import LOG_SCALES
from xaibench.training.lico.prompts import Prompts
from xaibench.training.lico.text import TextEncoder

HIDDEN = 512
FIRST_SCALE = 1 / 0.07


class Outputs(NamedTuple):
    """Logits (B, K), image features (B, C, P), text features (B, T, P), and the log scale of manifold matching, None
    where that is no term."""

    logits: Tensor
    images: Tensor
    texts: Tensor
    log_scale: Tensor | None


class LicoNet(nn.Module):
    """`net` is the image model; P are the positions of its CAM layer's map at the data set's image size.

    The text encoder is no part of its state, and gets no gradients of its own.
    """

    def __init__(
        self,
        model: Model,
        encoder: TextEncoder,
        names: Sequence[str],
        prompt: str,
        contexts: int,
        scaled: bool,
        seed: int,
    ):
        super().__init__()
        self.net, self.features = model.net, FeatureMap(model)
        self.prompts = Prompts(encoder, names, prompt, contexts, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "lico projection"))
            positions = model.cam_grid[0] * model.cam_grid[1]
            self.projection = nn.Sequential(nn.Linear(encoder.width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, positions))
        self.log_scale = nn.Parameter(torch.tensor(FIRST_SCALE).log()) if scaled else None
        self._encoder = (encoder,)  # in a tuple, so that it is no submodule

    def forward(self, inputs: Tensor, labels: Tensor, order: Tensor) -> Outputs:
        """All that the losses need of encoded images (B, C, H, W) with labels (B,); order (M,) permutes the context."""
        logits, _, maps = self.features(self.net, inputs)
        if self.log_scale is not None:
            with torch.no_grad():  # here and not after the step, so that the loop need not know of it
                self.log_scale.clamp_(*LOG_SCALES)
        classes, place = labels.unique(return_inverse=True)  # a text is encoded once, however many images have it
        encoder = self._encoder[0].to(inputs.device)
        texts = self.projection(encoder(self.prompts(classes, order.to(inputs.device))))
        return Outputs(logits, maps.flatten(2), texts[place], self.log_scale)
