"""The description of a model: its size, its preprocessing, the sizes of its maps, and which methods fit it."""

from __future__ import annotations

from collections.abc import Iterator

from xaibench import registry
from xaibench.attribution.methods import incompatibility
from xaibench.cards import Geometry, ModelCard
from xaibench.models.base import Model
from xaibench.models.build import brings_weights, build_network
from xaibench.models.dilate import sample_input
from xaibench.models.layouts import MapFinder
from xaibench.models.open import build_model
from xaibench.models.passes import Seen
from xaibench.models.tokens import transformer_in
from xaibench.printing import clean

CLASSES = 1000  # where a model does not fix their number
KINDS = ("cam", "gradient", "perturbation", "attention", "intrinsic")


def model_text(card: ModelCard, side: int | None = None) -> str:
    """Lines about a model, whose network is built for them: parameters, preprocessing, CAM layer, stages, methods.

    side: pixels a side of the images that maps are measured at; None: those that its published weights are for. Raises
    XaibenchError where the network cannot be built, or cannot take such images.
    """
    geometry = _geometry(card, side)
    model = build_model(card, CLASSES, geometry)
    count, own = sum(p.numel() for p in model.net.parameters()), brings_weights(card)
    lines = [
        f"size: {count:,} parameters ({model.classes} classes{', its own weights' if own else ''})",
        f"preprocessing: {geometry.description}; {_encoding(model)}",
        f"maps: {', '.join(_maps(model, geometry.crop))}",
        *_methods(model),
    ]
    return "\n".join(map(clean, lines))


def _geometry(card: ModelCard, side: int | None) -> Geometry:
    """How photos are cut for a model: as for the data set of its weights, at another size where one is given or where
    its position embeddings need it."""
    published = card.plain or card.aligned
    usual = registry.card("dataset", published.dataset if published else "imagenet")
    if side is None and card.family == "vit":
        made = transformer_in(build_network(card, CLASSES))
        side = made.patch_embed.img_size[0] if made is not None else None
    return usual.for_model(card, side).geometry


def _encoding(model: Model) -> str:
    mean, std = (", ".join(f"{value:g}" for value in part) for part in (model.encoding.mean, model.encoding.std))
    further = "; then 1 - x for each channel" if model.encoding.complement else ""
    pixels = "grey pixels (0.299 R + 0.587 G + 0.114 B)" if len(model.encoding.mean) == 1 else "pixels"
    return f"({pixels} / 255 - mean) / std with mean {mean} and std {std}{further}"


def _maps(model: Model, side: int) -> Iterator[str]:
    """The input, the stages and the CAM layer, each with the size of its maps."""
    image = sample_input(model.encoding.channels, side).to(next(model.net.parameters()))
    finder = MapFinder(model.net, image)
    given = {seen.path: seen for seen in finder.seen}
    yield f"Input {side} x {side}"
    for name, path in model.stages.items():
        yield f"{name} {path} {_size(finder, given.get(path))}"
    yield (
        f"CAM layer {model.cam_layer} {_size(finder, given.get(model.cam_layer))}"
        if model.cam_layer
        else "no CAM layer"
    )


def _size(finder: MapFinder, seen: Seen | None) -> str:
    size = finder.size(seen) if seen else None
    return f"{size[0]} x {size[1]}" if size else "(no map)"


def _methods(model: Model) -> Iterator[str]:
    """The methods that fit by their cards, kind by kind, and why others do not."""
    fitting: dict[str, list[str]] = {}
    lacking: dict[str, list[str]] = {}
    for card in (registry.card("method", name) for name in registry.names("method")):
        if card.role in ("control", "oracle"):
            continue
        if reason := incompatibility(card, model.family, bool(model.cam_layer)):
            lacking.setdefault(reason, []).append(card.name)
        else:
            kind = next((kind for kind in KINDS if kind in card.tags), "other")
            fitting.setdefault(kind, []).append(card.name)
    for kind in (*KINDS, "other"):
        if kind in fitting:
            yield f"{kind} methods: {', '.join(fitting[kind])}"
    for reason, names in lacking.items():
        yield f"left out: {', '.join(names)} ({reason})"
