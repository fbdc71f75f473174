"""Frozen text encoders for LICO: tokens in, one feature per token out, differentiable in what is between them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from xaibench.models.state import file_digest
from xaibench.seeds import generator, normal

WORDS = "words"


class TextEncoder(Protocol):
    """A frozen module. A token sees itself and those before it, as in CLIP."""

    width: int
    """Of embeddings and features."""
    longest: int
    """The most tokens of a prompt."""

    def embed(self, text: str) -> Tensor:
        """Embeddings (n, width) of the tokens of a text, without start and end."""

    def marks(self) -> Tensor:
        """Embeddings (3, width) of the tokens that start a prompt, end it, and fill what is left."""

    def __call__(self, prompts: Tensor) -> Tensor:
        """Features (N, T, width) of embedded prompts (N, T, width)."""


class Words(nn.Module):
    """A stand-in without a language model and without a file: each word has a fixed random direction, derived from it.

    The feature of a token is the mean of the embeddings of itself and of all before it, brought to mean 0 and variance
    1, as the last normalisation of CLIP does.
    """

    width = 512
    longest = 256

    def _draw(self, *token: str) -> Tensor:
        return normal(generator(0, "text encoder", *token), self.width)

    def embed(self, text: str) -> Tensor:
        """Embeddings (n, 512) of the words of a text."""
        return torch.stack([self._draw("word", word) for word in text.lower().split()])

    def marks(self) -> Tensor:
        """Embeddings (3, 512) of start, end and filling."""
        return torch.stack([self._draw("mark", mark) for mark in ("start", "end", "fill")])

    def forward(self, prompts: Tensor) -> Tensor:
        """Features (N, T, 512) of embedded prompts (N, T, 512)."""
        seen = torch.arange(1, prompts.shape[1] + 1, device=prompts.device)[:, None]
        return nn.functional.layer_norm(prompts.cumsum(1) / seen, (self.width,))


@dataclass(frozen=True)
class TextSource:
    """Which text encoder, `words` or a name of open_clip, and its weights: `none` (random), a name, or a file.

    file is where the weights are, None for random ones. `clip.text_source` makes it, `encoders.load_encoder` loads it.
    """

    encoder: str = WORDS
    weights: str = "none"
    file: Path | None = None

    @property
    def key_fields(self) -> dict[str, Any]:
        """What keys hash: the weights by what is in their file."""
        return {"encoder": self.encoder, "weights": file_digest(self.file) if self.file else "none"}

    @property
    def description(self) -> str:
        """Such as `ViT-B-32 (openai)`."""
        return f"{self.encoder} ({self.weights})" if self.encoder != WORDS else "words (random directions)"
