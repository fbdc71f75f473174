"""From a model's name to a model with weights: built, its last stage dilated for small images, weights loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from xaibench import registry
from xaibench.cards import DatasetCard, Geometry, ModelCard
from xaibench.errors import XaibenchError
from xaibench.models import clip
from xaibench.models.base import Model
from xaibench.models.build import attention_in, brings_weights, build_network, is_finished, own_state
from xaibench.models.dilate import dilate_last_stage, sample_input
from xaibench.models.inputs import fit_encoding
from xaibench.models.layouts import MapFinder
from xaibench.models.probe import default_cam_layer, map_size
from xaibench.models.published import has_file_name, named_as_network
from xaibench.models.state import WEIGHTS_FILE, StateFile, class_count, load_state, read_state
from xaibench.models.tokens import check_size, plain_transformer_in
from xaibench.printing import logger


def model_card(name: str, zero_shot: clip.ZeroShot | None = None) -> ModelCard:
    """The card of a registered model, of `timm:NAME`, of `clip:NAME` with the classes that zero_shot names, or of a
    builder in a Python file, `path/to/file.py:make`."""
    if name.startswith(clip.PREFIX):
        if zero_shot is None:
            raise XaibenchError(f"{name} is a zero-shot classifier, which only run and explain take (--classes-file)")
        return clip.card(name, zero_shot)
    if zero_shot is not None and zero_shot.classes_file is not None:
        raise XaibenchError(f"--classes-file names the classes of clip:NAME; leave it out for model {name}")
    if name.rpartition(":")[0].endswith(".py"):
        from xaibench.plugins import model_in_file

        return model_in_file(name)
    if name.startswith("timm:"):
        from xaibench.models import timm_cnn

        return timm_cnn.card(name)
    return registry.card("model", name)


def build_model(
    card: ModelCard, num_classes: int, geometry: Geometry, min_cam_grid: int = 0,
    as_classifier: Callable[[nn.Module], nn.Module] | None = None,
) -> Model:  # fmt: skip
    """A model for a data set's class count and image size, without weights unless its builder returns them.

    as_classifier makes a classifier of a network that is none, such as one of segmentation. Where the map of the CAM
    layer is smaller than min_cam_grid, the last stage is dilated, which the notes record.
    Raises XaibenchError where the network cannot be built, does not accept such images or has another number of classes
    (unless it is finished).
    """
    net = build_network(card, num_classes)
    net = net if as_classifier is None else as_classifier(net)
    check_size(net, (geometry.crop, geometry.crop), card.name)
    encoding, outputs = fit_encoding(card, net, geometry.crop)
    look = sample_input(encoding.channels, geometry.crop)
    one_logit, classes = outputs == 1, max(outputs, 2)
    if num_classes not in (outputs, classes) and not is_finished(card):
        raise XaibenchError(f"model {card.name} gives {outputs} logits where it was built for {num_classes} classes")
    finder = MapFinder(net, look)
    layer = card.cam_layer or default_cam_layer(net, look, finder=finder)
    if layer and not any(path == layer for path, _ in net.named_modules()):
        raise XaibenchError(f"model {card.name} has no layer {layer!r}, which its cam_layer names")
    lost = [path for path in card.stages.values() if all(path != known for known, _ in net.named_modules())]
    if lost:
        raise XaibenchError(f"model {card.name} has no layer {lost[0]!r}, which its stages name")
    # tokens and windows of attention are of fixed sizes
    fixed = bool(attention_in(net) or plain_transformer_in(net))
    times = dilate_last_stage(net, layer, look, min_cam_grid) if layer and min_cam_grid and not fixed else 0
    notes = ("last stage dilated" if times == 1 else f"last {times} stages dilated",) if times else ()
    notes += ("grey images",) if len(encoding.mean) == 1 else ()
    return Model(
        name=card.name, net=net, encoding=encoding, cam_layer=layer, classes=classes,
        cam_grid=map_size(net, layer, look, None if times else finder), family=card.family, notes=notes,
        one_logit=one_logit, probability="sigmoid" if one_logit else card.probability, version=card.version,
        source=registry.source(card), stages=card.stages, zero_shot=clip.key_fields(card),
    )  # fmt: skip


def open_model(
    card: ModelCard, dataset: DatasetCard, classes: int, choice: str, weights: Callable[[], Path], any_classes: bool,
    as_classifier: Callable[[nn.Module], nn.Module] | None = None,
) -> tuple[Model, StateFile, int | None]:  # fmt: skip
    """The model with its weights, the file of the weights, and their number of classes where it is not `classes`.

    weights returns the file of the weights of `choice`; it is not called for a finished network where the choice is
    `plain`. Raises XaibenchError where the weights are for other classes, unless any_classes allows that.
    """
    own = choice == "plain" and brings_weights(card)
    # a finished network is not changed: larger last maps would change its function
    geometry, grid = dataset.geometry, 0 if own else dataset.min_cam_grid
    model = build_model(card, classes, geometry, grid, as_classifier)
    state = own_state(card, model.net) if own else named_as_network(read_state(weights()), model.net, card)
    rows = class_count(model.net, state)
    if rows == 1:  # weights of one logit, in a network that was built for two
        model = build_model(card, 1, geometry, grid, as_classifier)
    other = max(rows or model.classes, 2)
    other = other if other != classes else None
    if other and not any_classes and clip.is_clip(card):
        raise XaibenchError(f"--classes-file names {other} classes, {dataset.name} has {classes}; name each of them")
    if other and not any_classes:
        raise XaibenchError(
            f"weights {state.path} are for {other} classes, {dataset.name} has {classes}; "
            "name weights for these classes, or explain the prediction by --target prediction"
        )
    if other and other != model.classes:
        model = build_model(card, other, geometry, grid, as_classifier)
    return load_weights(model, state, "own" if own else choice, card), state, other


def load_weights(model: Model, state: StateFile, choice: str, card: ModelCard) -> Model:
    """Loads weights that were read, and records in model.weights their digest, alignment (or None) and label for
    titles, and in model.remarks what the user should know of them.

    The alignment is the one that xaibench wrote into the file after training, or, for a file with the published name,
    that of the model's card. A network that was trained by xaibench has the probability of its loss.
    """
    model.remarks = load_state(model.net, state, model.name).remarks
    if not model.one_logit and (loss := state.header.get("recipe", {}).get("loss")):
        model.probability = "sigmoid" if loss == "binary-cross-entropy" else "softmax"
    alignment = state.header.get("alignment")
    if card.aligned and card.aligned.alignment and has_file_name(card.aligned, state.path):
        alignment = card.aligned.alignment.key_fields
    kind = alignment_words(alignment)
    made = state.header["task"]["name"] if state.header.get("task") else kind or "plain"
    known = {"plain": made, "aligned": kind, "self-aligned": kind, "own": "its own weights"}
    if clip.is_clip(card):
        known["own"] = f"zero-shot, weights {card.parameters['weights']}, prompt {card.parameters['prompt']!r}"
    said = f"{kind} " if "aligned" in kind else ""
    label = known.get(choice) or f"{said}weights {_file_title(state)}"
    model.weights = {"digest": state.digest, "alignment": alignment, "label": label}
    logger.info("weights of %s (%s): %s", model.name, label, state.path)
    return model


def _file_title(state: StateFile) -> str:
    """What titles call a file of weights: the folder of one that xaibench trained, since all of those have one name."""
    trained = bool(state.header) and state.path.name == WEIGHTS_FILE
    return state.path.absolute().parent.name if trained else state.path.name


def alignment_words(alignment: Mapping[str, Any] | None) -> str:
    """What labels say of the deletions that weights were trained on, given by their `key_fields`; "" for none."""
    if not alignment:
        return ""
    if alignment.get("teacher") == "self":
        return f"self-aligned on {alignment['images']} unlabelled images"
    kinds = {"cell": "aligned", "pixels": "trained on random masks", "parts": "trained on dropped parts"}
    return kinds[alignment.get("kind", "cell")]
