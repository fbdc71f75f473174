"""Frozen text encoders from their sources."""

from __future__ import annotations

import torch

from xaibench.seeds import derive
from xaibench.training.lico.clip import ClipText, build_clip, load_weights
from xaibench.training.lico.text import WORDS, TextEncoder, TextSource, Words


def load_encoder(source: TextSource) -> TextEncoder:
    """The encoder of a source, frozen; raises XaibenchError for weights that do not fit, and where open_clip is not
    installed."""
    if source.encoder == WORDS:
        return Words()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(0, "text encoder", source.encoder))
        net, tokenizer = build_clip(source.encoder, source.weights)
    if source.file:
        load_weights(net, source.file)
    return ClipText(net, tokenizer)
