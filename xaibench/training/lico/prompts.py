"""Prompts of trainable context vectors and a class's name, as embedded tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xaibench.errors import XaibenchError
from xaibench.seeds import generator, normal
from xaibench.training.lico.text import TextEncoder

PROMPTS = ("shared", "class-specific", "label-first")


class Prompts(nn.Module):
    """Start, context, name, end, one prompt per class, filled to the length T of the longest.

    The context is trained: `shared` by all classes, `class-specific`, or shared and behind the name (`label-first`),
    where tokens that see only those before them know the class. Vectors begin as N(0, 1), drawn from the seed. T and
    the embeddings of the names come from the encoder. Raises XaibenchError for names that are too long for it.
    """

    def __init__(self, encoder: TextEncoder, names: Sequence[str], kind: str, contexts: int, seed: int):
        super().__init__()
        texts = [_embedded(encoder, name) for name in names]
        count, longest = contexts + 2, max(len(text) for text in texts)
        if count + longest > encoder.longest:
            name = max(zip(texts, names, strict=True), key=lambda pair: len(pair[0]))[1]
            raise XaibenchError(
                f"a prompt for class {name!r} has {count + longest} tokens, the text encoder takes {encoder.longest}; "
                "take fewer --contexts or shorter names"
            )
        first = [len(text) if kind == "label-first" else 0 for text in texts]  # what stands before the context
        marks = encoder.marks()
        rows = []
        for text, before in zip(texts, first, strict=True):
            gap = torch.zeros(contexts, encoder.width)
            used = torch.cat([marks[:1], text[:before], gap, text[before:], marks[1:2]])
            rows.append(torch.cat([used, marks[2:].expand(count + longest - len(used), -1)]))
        rows_of_contexts = len(names) if kind == "class-specific" else 1
        draws = normal(generator(seed, "lico contexts"), rows_of_contexts, contexts, encoder.width)
        self.contexts = nn.Parameter(draws)
        self.register_buffer("template", torch.stack(rows), persistent=False)
        places = torch.arange(contexts) + 1 + torch.tensor(first)[:, None]
        self.register_buffer("places", places, persistent=False)

    def forward(self, classes: Tensor, order: Tensor) -> Tensor:
        """Embedded prompts (U, T, width) of classes (U,), with the context in an order (M,) of its vectors."""
        own = self.contexts[classes if len(self.contexts) > 1 else torch.zeros_like(classes)][:, order]
        places = self.places[classes][:, :, None].expand_as(own)
        return self.template[classes].scatter(1, places, own)


def _embedded(encoder: TextEncoder, name: str) -> Tensor:
    text = " ".join(name.replace("_", " ").split())
    if not text:
        raise XaibenchError("a class without a name has no prompt; LICO needs the names of all classes")
    return encoder.embed(text)
