"""The description of a model: its size, its preprocessing, the sizes of its maps, and which methods fit it."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from xaibench import registry
from xaibench.attribution.methods import incompatibility
from xaibench.attribution.trial import trial_of
from xaibench.cards import Geometry, ModelCard
from xaibench.models.base import Model
from xaibench.models.build import brings_weights, build_network
from xaibench.models.dilate import sample_input
from xaibench.models.layouts import AxisOrder, MapFinder, MapLayout
from xaibench.models.open import build_model
from xaibench.models.passes import Seen
from xaibench.models.timm_cnn import input_side
from xaibench.models.tokens import Layout, transformer_in
from xaibench.printing import clean
from xaibench.seeds import generator, normal

CLASSES = 1000  # where a model does not fix their number
KINDS = ("cam", "gradient", "perturbation", "attention", "intrinsic")
NOISE = 0.02  # what is added to random weights


def model_text(card: ModelCard, side: int | None = None) -> str:
    """Lines about a model, whose network is built for them: size, preprocessing, maps, tokens, and the methods that fit
    and that do not, which are tried on the network with random weights (or its own).

    side: pixels a side of the images that maps are measured at; None: those that its published weights are for. Raises
    XaibenchError where the network cannot be built, or cannot take such images.
    """
    geometry = _geometry(card, side)
    model = build_model(card, CLASSES, geometry)
    count, own = sum(p.numel() for p in model.net.parameters()), brings_weights(card)
    if not own:
        _stir(model.net)
    image = sample_input(model.encoding.channels, geometry.crop).to(next(model.net.parameters()))
    finder = MapFinder(model.net, image)
    lines = [
        f"size: {count:,} parameters ({model.classes} classes{', its own weights' if own else ''})",
        f"preprocessing: {geometry.description}; {_encoding(model)}",
        f"input: {model.encoding.channels} x {geometry.crop} x {geometry.crop}",
        f"CAM layer: {_place(finder, model.cam_layer) if model.cam_layer else 'none'}",
        f"stages: {', '.join(f'{name} {_place(finder, path)}' for name, path in model.stages.items()) or 'none'}",
        f"tokens: {tokens_text(finder, model.cam_layer, model.net)}",
        *_methods(model, geometry.crop),
    ]
    return "\n".join(map(clean, lines))


def _geometry(card: ModelCard, side: int | None) -> Geometry:
    """How photos are cut for a model: as for the data set of its weights, at another size where one is given, where
    timm's configuration has another, or where its position embeddings need it."""
    published = card.plain or card.aligned
    usual = registry.card("dataset", published.dataset if published else "imagenet")
    if side is None and card.name.startswith("timm:"):
        side = input_side(card.parameters["architecture"])
    elif side is None and card.family == "vit":
        made = transformer_in(build_network(card, CLASSES))
        side = made.patch_embed.img_size[0] if made is not None else None
    return usual.for_model(card, side).geometry


def _stir(net: nn.Module) -> None:
    """Adds noise to all parameters: heads and branches that begin with zeros, or nearly, would hide what a network
    does once it is trained."""
    for path, parameter in net.named_parameters():
        noise = normal(generator(0, "noise of weights", path), *parameter.shape).to(parameter)
        parameter.data.add_(noise, alpha=NOISE)


def _encoding(model: Model) -> str:
    mean, std = (", ".join(f"{value:g}" for value in part) for part in (model.encoding.mean, model.encoding.std))
    further = "; then 1 - x for each channel" if model.encoding.complement else ""
    pixels = "grey pixels (0.299 R + 0.587 G + 0.114 B)" if len(model.encoding.mean) == 1 else "pixels"
    return f"({pixels} / 255 - mean) / std with mean {mean} and std {std}{further}"


def _place(finder: MapFinder, path: str) -> str:
    """The path of a module, with channels, rows and columns of its map."""
    seen = next((s for s in finder.seen if s.path == path), None)
    layout = finder.layout(seen) if seen else None
    if layout is None:
        return f"{path} (no map)"
    return f"{path} {' x '.join(map(str, (_channels(seen, layout), *layout.size(seen.given))))}"


def _channels(seen: Seen, layout: MapLayout) -> int:
    return seen.given[layout.axes[0] if isinstance(layout, AxisOrder) else 3 - layout.axis]


def tokens_text(finder: MapFinder, layer: str, net: nn.Module) -> str:
    """What the tokens at the CAM layer of a network are, and in which order."""
    layout = finder.layout_at(layer) if layer else None
    if not isinstance(layout, Layout):
        return "none at the CAM layer, which gives maps" if layout else "unknown"
    vit = transformer_in(net)
    registers = min(getattr(vit, "num_reg_tokens", 0) or 0, layout.prefix)
    named = {"class": min(layout.prefix - registers, 1), "register": registers}
    named["other"] = layout.prefix - sum(named.values())
    first = [f"{n} {name} token{'s' if n > 1 else ''}" for name, n in named.items() if n]
    patches = f"{layout.grid[0]} x {layout.grid[1]} patches, row by row"
    return ", then ".join([*([", ".join(first)] if first else []), patches])


def _methods(model: Model, side: int) -> Iterator[str]:
    """The methods that explain the network in a trial, kind by kind, and why others do not."""
    fitting: dict[str, list[str]] = {}
    lacking: dict[str, list[str]] = {}
    trial = trial_of(model, side)
    for card in (registry.card("method", name) for name in registry.names("method")):
        if card.role in ("control", "oracle"):
            continue
        if reason := incompatibility(card, model.family, bool(model.cam_layer)) or trial(card):
            lacking.setdefault(reason, []).append(card.name)
        else:
            kind = next((kind for kind in KINDS if kind in card.tags), "other")
            fitting.setdefault(kind, []).append(card.name)
    kinds = [f"{kind}: {', '.join(fitting[kind])}" for kind in (*KINDS, "other") if kind in fitting]
    yield f"methods that fit ({sum(map(len, fitting.values()))}): {'; '.join(kinds)}"
    left = [f"{', '.join(names)} ({reason})" for reason, names in lacking.items()]
    yield f"left out ({sum(map(len, lacking.values()))}): {'; '.join(left)}"
