"""CLIP of open_clip as a zero-shot classifier, `clip:NAME`. Radford et al., ICML 2021.

Logits are the cosines of an image's embedding and of the embeddings of one text per class, times the learned scale. The
image half is built with the parts of timm's vision transformer, so whatever explains such a network explains CLIP.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from xaibench.cards import ModelCard
from xaibench.errors import XaibenchError
from xaibench.hashing import digest
from xaibench.models.class_names import PROMPT, has_control, read_class_names
from xaibench.models.clip_package import is_quick, open_clip, published_file, unknown_name
from xaibench.models.state import file_digest, load_state, read_state
from xaibench.seeds import derive

PREFIX = "clip:"
ZERO_SHOT = "xaibench.models.clip:build_zero_shot"
USUAL = "openai"  # the weights where none are named
VISION = {"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio", "ls_init_value"}  # of a plain ViT
TEXT = {"context_length", "vocab_size", "width", "heads", "layers"}
BATCH = 64  # texts in one pass
OF_BLOCKS = {
    "ln_1": "norm1", "ln_2": "norm2", "attn.in_proj_": "attn.qkv.", "attn.out_proj": "attn.proj",
    "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2", "ls_1": "ls1", "ls_2": "ls2",
}  # fmt: skip


class Request(Protocol):
    """What is read of the request of a run, or of an explanation."""

    classes_file: Path | None
    prompt: str
    weights: str | None
    download: bool


@dataclass(frozen=True)
class ZeroShot:
    """The classes of a zero-shot classifier and its weights: a file of class names, the prompt that each is put into,
    and weights: `none` (random), a name that open_clip knows, a file, or None for OpenAI's; download allows to fetch
    them."""

    classes_file: Path | None = None
    prompt: str = PROMPT
    weights: str | None = None
    download: bool = False

    @classmethod
    def of(cls, request: Request) -> ZeroShot:
        """What a request says."""
        return cls(request.classes_file, request.prompt, request.weights, request.download)


class UnitLength(nn.Module):
    """Vectors (N, D) divided by their length."""

    def forward(self, x: Tensor) -> Tensor:
        """Vectors of length 1."""
        return nn.functional.normalize(x, dim=-1)


def is_clip(card: ModelCard) -> bool:
    """Whether a card is that of a zero-shot classifier, which `card` made."""
    return card.target == ZERO_SHOT


def class_names(card: ModelCard) -> tuple[str, ...]:
    """The class names of a zero-shot classifier, none for other models."""
    return tuple(card.parameters["classes"]) if is_clip(card) else ()


def key_fields(card: ModelCard) -> dict[str, Any]:
    """The part of keys: the texts of a zero-shot classifier; nothing for other models."""
    if not is_clip(card):
        return {}
    return {"prompt": card.parameters["prompt"], "classes": digest(card.parameters["classes"])}


def card(name: str, request: ZeroShot | None) -> ModelCard:
    """The card of `clip:NAME`, whose builder gives a finished network; without a request, the card of its architecture,
    to be looked at.

    Raises XaibenchError for names that open_clip does not have, for architectures whose halves are not CLIP's plain
    transformers, for classes and prompts that do not fit, and for weights that are not here.
    """
    package, architecture = _package(), name.removeprefix(PREFIX)
    config = _config(package, architecture)
    settings = package.pretrained.get_pretrained_cfg(architecture, (request and request.weights) or USUAL)
    constants = package.constants
    depth = config["vision_cfg"]["layers"]
    parameters: dict[str, Any] = {"architecture": architecture}
    if request is not None:
        parameters |= _texts(package, architecture, config, request) | _weights(package, architecture, request)
    return ModelCard(
        name=name, title=f"CLIP {architecture} (open_clip), zero-shot", family="vit", tags=("clip",),
        target="xaibench.models.clip:build" if request is None else ZERO_SHOT, parameters=parameters,
        mean=tuple(settings.get("mean") or constants.OPENAI_DATASET_MEAN),
        std=tuple(settings.get("std") or constants.OPENAI_DATASET_STD),
        cam_layer=f"blocks.{depth - 1}.norm1", stages=_stages(depth), image_size=config["vision_cfg"]["image_size"],
        notes="Logits are scaled cosines of the image and of one text per class: --classes-file and --prompt.",
    )  # fmt: skip


def build(num_classes: int, architecture: str) -> nn.Module:
    """The network of an architecture with random weights, also in place of texts."""
    package = _package()
    config = _config(package, architecture)
    return _network(config, is_quick(config, {}), num_classes)


def build_zero_shot(architecture: str, weights: str, file: str, classes: list[str], prompt: str) -> nn.Module:
    """The zero-shot classifier of some classes: the image half of CLIP, and the embeddings of the classes' texts.

    weights `none` with file "" are random ones, always the same. Raises XaibenchError for files that do not fit.
    """
    package = _package()
    config, settings = _config(package, architecture), package.pretrained.get_pretrained_cfg(architecture, weights)
    quick = is_quick(config, settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(0, "random CLIP", architecture))
        clip = package.CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"], quick_gelu=quick).eval()
        net = _network(config, quick, len(classes))
    if file:
        load_state(clip, read_state(Path(file)), f"{PREFIX}{architecture}")
    net.load_state_dict(
        _image_half(clip) | {"head.classes.weight": _embedded(package, architecture, clip, classes, prompt)}
    )
    net.xaibench_identity = identity(architecture, weights, file, classes, prompt)
    return net


def identity(architecture: str, weights: str, file: str, classes: list[str], prompt: str) -> str:
    """What names a zero-shot classifier in keys: what it is made of, wherever the file lies. Its numbers do not, since
    texts are embedded by arithmetic that rounds, on each machine in its own way."""
    return digest([architecture, file_digest(Path(file)) if file else weights, list(classes), prompt])


def _package() -> ModuleType:
    return open_clip("CLIP needs one more package: pip install 'xaibench[clip]'")


def _config(package: ModuleType, architecture: str) -> dict[str, Any]:
    """What open_clip builds by a name."""
    # by other names, such as hf-hub:OWNER/NAME, open_clip would read files and fetch them
    config = package.get_model_config(architecture) if architecture in package.list_models() else None
    if config is None:
        raise unknown_name("CLIP architecture", architecture, package.list_models())
    vision, text = config["vision_cfg"], config["text_cfg"]
    if isinstance(vision.get("layers"), list):
        raise XaibenchError(
            f"{PREFIX}{architecture} is a ResNet whose last map is pooled by attention, which is not explained here; "
            "take clip:ViT-B-32 or one like it"
        )
    others = sorted(
        (vision.keys() - VISION) | (text.keys() - TEXT) | (config.keys() & {"custom_text", "multimodal_cfg"})
    )
    if others:
        raise XaibenchError(
            f"{PREFIX}{architecture} is not built as CLIP's plain transformers ({', '.join(others[:3])}); take "
            "clip:ViT-B-32 or one like it"
        )
    return config


def _texts(package: ModuleType, architecture: str, config: dict[str, Any], request: ZeroShot) -> dict[str, Any]:
    """The classes and the prompt of a request, checked."""
    if request.classes_file is None:
        raise XaibenchError(f"{PREFIX}{architecture} needs the names of the classes: --classes-file FILE, one a line")
    if request.prompt.count("{}") != 1 or set(request.prompt.replace("{}", "")) & set("{}"):
        raise XaibenchError(f"--prompt is a text with one {{}} for the class name, such as {PROMPT!r}")
    if has_control(request.prompt):
        raise XaibenchError("--prompt has a control character; it is plain text")
    names = read_class_names(request.classes_file)
    tokenizer, most = package.get_tokenizer(architecture), config["text_cfg"]["context_length"] - 2
    special, first = {*getattr(tokenizer, "all_special_ids", ())}, {}
    for name in names:
        tokens = tuple(tokenizer.encode(request.prompt.replace("{}", name)))
        if len(tokens) > most:
            raise XaibenchError(
                f"the text of class {name!r} has {len(tokens)} tokens, {architecture} reads {most}; shorten it"
            )
        if special & {*tokens}:
            raise XaibenchError(f"the text of class {name!r} has a mark that ends or begins texts; leave it out")
        if first.setdefault(tokens, name) != name:
            raise XaibenchError(
                f"{architecture} reads classes {first[tokens]!r} and {name!r} as the same text (upper case and spaces "
                "make no difference); give them other names"
            )
    return {"classes": list(names), "prompt": request.prompt}


def _weights(package: ModuleType, architecture: str, request: ZeroShot) -> dict[str, str]:
    """The name of the weights, and their file: "" for random ones."""
    wanted = request.weights or USUAL
    if wanted == "none":
        return {"weights": wanted, "file": ""}
    if Path(wanted).is_file():
        return {"weights": Path(wanted).name, "file": str(Path(wanted).resolve())}
    tags = package.pretrained.list_pretrained_tags_by_model(architecture)
    if request.weights is None and wanted not in tags:
        names = f"one of {', '.join(tags[:4])}, " if tags else ""
        raise XaibenchError(
            f"{PREFIX}{architecture} has no weights of OpenAI; name some by --weights: {names}a file, or none"
        )
    absent = (
        f"the weights {wanted} of {PREFIX}{architecture} are not here; fetch them by --download, name a file by "
        "--weights, or take --weights none, which are random"
    )
    file = published_file(package, architecture, wanted, request.download, "--weights", absent)
    return {"weights": wanted, "file": str(file)}


def _stages(depth: int) -> dict[str, str]:
    """The stages of a vision transformer of so many blocks: quarters of its depth, and the CAM layer."""
    if depth < 4:
        return {}
    middle = {f"Mid{k}": f"blocks.{int(k * depth / 4 + 0.5) - 1}" for k in (1, 2, 3)}
    return middle | {"Final": f"blocks.{depth - 1}.norm1"}


def _network(config: dict[str, Any], quick: bool, classes: int) -> nn.Module:
    """The image half, with a head of projection, unit length and cosines."""
    from timm.layers import QuickGELU
    from timm.models.vision_transformer import VisionTransformer

    vision = config["vision_cfg"]
    net = VisionTransformer(
        img_size=vision["image_size"], patch_size=vision["patch_size"], embed_dim=vision["width"],
        depth=vision["layers"], num_heads=vision["width"] // vision.get("head_width", 64),
        mlp_ratio=vision.get("mlp_ratio", 4.0), init_values=vision.get("ls_init_value"), num_classes=0, pre_norm=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-5), act_layer=QuickGELU if quick else nn.GELU,
    )  # fmt: skip
    parts = {
        "projection": nn.Linear(vision["width"], config["embed_dim"], bias=False),
        "unit": UnitLength(),
        "classes": nn.Linear(config["embed_dim"], classes, bias=False),
    }
    net.head, net.num_classes = nn.Sequential(OrderedDict(parts)), classes
    return net.eval()


def _image_half(clip: nn.Module) -> dict[str, Tensor]:
    """The tensors of open_clip's image half by the names of timm's transformer."""
    found = {}
    for name, tensor in clip.visual.state_dict().items():
        if name.startswith("transformer.resblocks."):
            _, _, number, rest = name.split(".", 3)
            ours = next((rest.replace(k, v, 1) for k, v in OF_BLOCKS.items() if rest.startswith(k)), rest)
            found[f"blocks.{number}.{ours}"] = tensor
        elif name.startswith(("ln_pre", "ln_post")):
            found[name.replace("ln_pre", "norm_pre").replace("ln_post", "norm")] = tensor
    return found | {
        "cls_token": clip.visual.class_embedding[None, None],
        "pos_embed": clip.visual.positional_embedding[None],
        "patch_embed.proj.weight": clip.visual.conv1.weight,
        "head.projection.weight": clip.visual.proj.T,
    }


def _embedded(package: ModuleType, architecture: str, clip: nn.Module, classes: list[str], prompt: str) -> Tensor:
    """(K, D): the unit embeddings of the classes' texts, times the scale of the cosines."""
    tokens = package.get_tokenizer(architecture)([prompt.replace("{}", name) for name in classes])
    with torch.no_grad():
        parts = [clip.encode_text(part, normalize=True) for part in tokens.split(BATCH)]
        return torch.cat(parts) * clip.logit_scale.exp()
