"""CLIP's text encoder from open_clip, and where its weights are. Radford et al. 2021."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from xaibench.errors import XaibenchError
from xaibench.models.clip_package import is_quick, open_clip, published_file, unknown_name
from xaibench.models.file_kinds import is_torchscript
from xaibench.models.state import load_state, read_state
from xaibench.training.lico.text import WORDS, TextSource

NO_IMAGES = {"image_size": 16, "layers": 1, "width": 64, "patch_size": 16}  # the half that is not used, made small
PARTS = ("token_embedding", "positional_embedding", "transformer", "ln_final")


class ClipText(nn.Module):
    """The text half of a CLIP network, frozen, from embedded tokens to the features of all tokens.

    net is a network of open_clip's class CLIP, tokenizer its tokenizer. What follows the last normalisation, the
    projection to the space that CLIP shares with images, is left out, as published.
    """

    def __init__(self, net: nn.Module, tokenizer: Any):
        super().__init__()
        self.token_embedding, self.transformer, self.ln_final = net.token_embedding, net.transformer, net.ln_final
        self.register_buffer("positions", net.positional_embedding.detach(), persistent=False)
        self.register_buffer("mask", net.attn_mask, persistent=False)
        self.tokenizer = tokenizer
        self.width, self.longest = self.token_embedding.embedding_dim, len(self.positions)
        self.requires_grad_(False).eval()

    def embed(self, text: str) -> Tensor:
        """Embeddings (n, width) of the tokens of a text."""
        return self._lookup(self.tokenizer.encode(text))

    def marks(self) -> Tensor:
        """Embeddings (3, width) of start, end and filling, which is token 0."""
        return self._lookup([self.tokenizer.sot_token_id, self.tokenizer.eot_token_id, 0])

    def _lookup(self, tokens: Iterable[int]) -> Tensor:
        return self.token_embedding(torch.tensor(list(tokens), device=self.positions.device)).detach()

    def forward(self, prompts: Tensor) -> Tensor:
        """Features (N, T, width) of embedded prompts (N, T, width)."""
        count = prompts.shape[1]
        mask = None if self.mask is None else self.mask[:count, :count]
        return self.ln_final(self.transformer(prompts + self.positions[:count], attn_mask=mask))


def _package() -> ModuleType:
    return open_clip(
        "CLIP's text encoder needs one more package: pip install 'xaibench[lico]'; or take --text-encoder words"
    )


def build_clip(encoder: str, weights: str) -> tuple[nn.Module, Any]:
    """A network of open_clip with random weights, and its tokenizer.

    weights name what is loaded later: OpenAI's need another activation. Raises XaibenchError for a name that open_clip
    does not have, and for networks whose text half is not a transformer as CLIP's.
    """
    package = _package()
    settings, config = package.pretrained.get_pretrained_cfg(encoder, weights), _config(package, encoder)
    net = package.CLIP(config["embed_dim"], NO_IMAGES, config["text_cfg"], quick_gelu=is_quick(config, settings))
    return net, package.get_tokenizer(encoder)


def _config(package: ModuleType, encoder: str) -> dict[str, Any]:
    """What open_clip builds by that name; raises XaibenchError as `build_clip` does."""
    config = package.get_model_config(encoder)
    if config is None:
        raise unknown_name("--text-encoder", encoder, [WORDS, *package.list_models()])
    if {"custom_text", "multimodal_cfg"} & config.keys() or "hf_model_name" in config["text_cfg"]:
        raise XaibenchError(f"the text half of {encoder} is not built as CLIP's; take ViT-B-32 or one like it")
    return config


def load_weights(net: nn.Module, file: Path) -> None:
    """Copies the text half of a file of weights into a network of `build_clip`; raises XaibenchError for others.

    The archives of TorchScript that OpenAI published first are refused: to read one is to run what is in it.
    """
    if is_torchscript(file):
        raise XaibenchError(
            f"weights {file} are an archive of TorchScript, a program that is not run here; "
            "take --text-weights openai --download, which has the same weights as safetensors"
        )
    state = read_state(file)
    own = {key: tensor for key, tensor in state.tensors.items() if key.split(".")[0] in PARTS}
    text = nn.ModuleDict({name: getattr(net, name) for name in PARTS if name != "positional_embedding"})
    text.register_parameter("positional_embedding", net.positional_embedding)
    load_state(text, type(state)(state.path, own, state.digest, state.header), "this text encoder")


def text_source(encoder: str, weights: str, download: bool) -> TextSource:
    """The text encoder of two options, with the file of its weights.

    weights: `none`, a name of published ones (openai, ...), or a path. Published weights are fetched once, where
    download allows it. Raises XaibenchError for names that there are not, for a path without a file, and for published
    weights that are not here.
    """
    if encoder == WORDS:
        return TextSource()
    if weights == "none":
        return TextSource(encoder, weights)
    if Path(weights).is_file():
        return TextSource(encoder, weights, Path(weights))
    package = _package()
    _config(package, encoder)  # before anything is fetched
    absent = (
        f"the weights {weights} of the text encoder {encoder} are not here; fetch them by --download, name a file "
        f"by --text-weights, or take --text-encoder {WORDS}, which needs none"
    )
    return TextSource(encoder, weights, published_file(package, encoder, weights, download, "--text-weights", absent))
