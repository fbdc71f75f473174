"""`xaibench.explain`: the predictions of a model for some photos, and the heat maps of several methods."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xaibench import registry
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.methods import choose_methods, incompatibility, merge_parameters, method_maps
from xaibench.attribution.runner import ModelRunner
from xaibench.attribution.stages import placed_name, validate_stage, with_layer
from xaibench.attribution.trial import trial_of
from xaibench.cards import DatasetCard, MethodCard, ModelCard
from xaibench.configuration import documented
from xaibench.datasets.photos import AUTO
from xaibench.errors import XaibenchError
from xaibench.evaluation.plugin_errors import in_one_line
from xaibench.evaluation.resources import choose_chunk, choose_device
from xaibench.explanation.config import ExplainConfig
from xaibench.explanation.photos import names_of_classes, opened_data, read_photo, target_index
from xaibench.explanation.regions import IMAGE, PREDICTED, check_region, model_of_region, read_mask
from xaibench.explanation.result import Explanation, Explanations, Guess
from xaibench.models.base import Model
from xaibench.models.build import brings_weights
from xaibench.models.clip import ZeroShot, class_names, is_clip
from xaibench.models.dilate import sample_input
from xaibench.models.open import model_card, open_model
from xaibench.models.outputs import probabilities, usable
from xaibench.models.sanity import output_warnings
from xaibench.plugins import add
from xaibench.printing import say
from xaibench.progress import bar
from xaibench.segmentation import RegionLogits
from xaibench.surroundings import own_surroundings
from xaibench.training.find import WeightsRequest, find_weights, missing_weights

# One of each kind, quick on a CPU: two class activation maps, a plain gradient, a smoothed one, a path.
DEFAULT = ("grad-cam", "layer-cam", "saliency", "ixg-sg", "ig-u")
TOP = 3


def explain(photos: Any, *, quiet: bool = True, **fields: Any) -> Explanations:
    """Explains what a model predicts for some photos (or another class of it), and draws the maps where `out` is given.

    photos: image files, or image ids of the data set where that is drawn or data_root is given. The fields are those of
    `ExplainConfig`, listed below; `imagenet` needs no data_root for the names of its classes. Maps at a stage (`layer`)
    have names such as `ixg@Final`. A method that raises is noted in `failed`, the others go on. Noise derives from
    (seed, purpose, image id), where a photo's id is its file name. quiet shows no progress.

    What is odd about the model's outputs is a Python warning, and in `warnings`. Raises XaibenchError for anything that
    the user can correct.

    >>> import xaibench
    >>> (seen,) = xaibench.explain("tench.jpg", model="resnet50", download=True)  # doctest: +SKIP
    >>> seen.prediction.name, seen.maps["grad-cam"].shape                         # doctest: +SKIP
    ('tench', torch.Size([224, 224]))
    """
    given = {name: value for name, value in fields.items() if value is not None}
    found = explain_config(ExplainConfig.parse({"photos": photos} | given), quiet)
    for line in found[0].warnings:
        warnings.warn(line, stacklevel=2)
    return found


explain.__doc__ += f"\n    Fields:\n\n{documented(ExplainConfig)}\n    "


@own_surroundings()
def explain_config(config: ExplainConfig, quiet: bool = True) -> Explanations:
    """Carries out a request; see `explain`."""
    from xaibench.report.panel import check_figure, panel

    if config.out is not None:
        check_figure(config.out, config.style)  # before minutes are spent on what could not be drawn
    add(config.plugins, config.cards)
    card = model_card(config.model, ZeroShot.of(config))
    data: DatasetCard = registry.card("dataset", config.dataset).for_model(card)
    _, profile = data.profile(config.profile)
    layer = validate_stage(card, config.layer)
    check_region(config, card)
    _choose(config.methods, card.name, card.family, has_cam_layer=True, trial=lambda card: None, layer=layer)
    known, classes = opened_data(data, config.data_root, config.dataset_options)
    exif = config.dataset_options.get("exif", AUTO)
    images = [read_photo(photo, data, known, exif) for photo in config.photos]
    model = _open_model(card, data, config, len(classes or ()))
    masked = config.region is not None and config.region not in (PREDICTED, IMAGE)
    names = list(class_names(card)) or names_of_classes(classes, model.classes)
    index = target_index(config.target, names) if config.target is not None else None
    trial = trial_of(model, data.geometry.crop, ["logit"], layer)
    chosen, skipped = _choose(config.methods, model.name, model.family, bool(model.cam_layer), trial, layer)
    model.freeze(choose_device(config.device), torch.float32)
    example = sample_input(model.encoding.channels, data.geometry.crop).to(next(model.net.parameters()))
    size = data.geometry.description if data.needs_root else f"{data.geometry.crop} px"
    chunk = choose_chunk("auto", model.net, example)
    found = Explanations()
    with (
        bar("explaining", len(images) * len(chosen), quiet) as progress,
        ModelRunner(model.net, chunk=chunk) as runner,
        ExitStack() as runners,
    ):
        sample = np.stack([image for _, image in images[:2]])
        about_model = output_warnings(model.net, runner.call, _encoded(model, sample), f"model {model.name}")
        for image_id, image in images:
            shown, places, asked = model, None, index
            if config.region is not None:
                drawn = read_mask(Path(config.region), data.geometry, image.shape[:2]) if masked else None
                inputs = _encoded(model, image[None])
                shown, asked, places = model_of_region(model, inputs, index, config.region, drawn)
                runner = runners.enter_context(ModelRunner(shown.net, chunk=chunk))
            top, explained, e = _predict(shown, runner, image_id, image, names, asked, config.seed)
            seen = Explanation(
                image_id,
                image,
                top,
                explained,
                model.label if config.region is None else f"{model.label}, mean logit over {_where(places)}",
                f"{data.name}: {size}",
                skipped=dict(skipped),
                warnings=tuple(about_model),
                region=places,
            )
            for method in chosen:
                progress.advance(0, method.name)
                with runner.arithmetic():
                    _draw(seen, method, e, with_layer(method, merge_parameters(method, profile.overrides), layer))
                progress.advance(1, method.name)
            found.append(seen)
    if not any(seen.maps for seen in found):
        name, reason = next(iter(found[0].failed.items()))
        raise XaibenchError(f"there is no map to draw: method {name} failed: {reason}")
    if config.out is not None:
        panel(found, config.out, style=config.style)
    return found


def _choose(
    methods: Sequence[str] | None,
    model: str,
    family: str,
    has_cam_layer: bool,
    trial: Callable[[MethodCard], str | None],
    layer: str | None,
) -> tuple[list[MethodCard], dict[str, str]]:
    """The cards of the methods to draw, and those that are left out with the reason."""
    if methods is None:
        cards = [registry.card("method", name).for_family(family) for name in registry.names("method")]
        order = {name: at for at, name in enumerate(DEFAULT)}
        cards = sorted(
            (c for c in cards if c.name in order or registry.plugged_in(c)), key=lambda c: order.get(c.name, len(order))
        )
        reasons = {
            c.name: reason for c in cards if (reason := incompatibility(c, family, has_cam_layer, layer) or trial(c))
        }
        chosen = [c for c in cards if c.name not in reasons]
        if not chosen:
            raise XaibenchError(f"none of the default methods fits {model}; name some by --methods")
    else:
        chosen, reasons = choose_methods(methods, model, family, has_cam_layer, trial, layer)
    oracles = {c.name: "is drawn by a protocol: see `xaibench show run`" for c in chosen if c.role == "oracle"}
    if oracles and methods is not None and list(methods) != ["all"]:
        raise XaibenchError(f"method {next(iter(oracles))} {next(iter(oracles.values()))}")
    return [c for c in chosen if c.name not in oracles], reasons | oracles


def _open_model(card: ModelCard, data: DatasetCard, config: ExplainConfig, classes: int) -> Model:
    """A model with its weights, for the number of classes of the weights; classes: that of the data set, 0 if
    unknown."""
    weights, options = None if is_clip(card) else config.weights, config.dataset_options
    choice, path = weights or "plain", None
    if not (choice == "plain" and brings_weights(card)):
        path = find_weights(card, data, WeightsRequest(choice), config.download, options)
        if path is None and weights is None:
            choice = "aligned"
            path = find_weights(card, data, WeightsRequest(choice), config.download, options)
        if path is None:
            raise missing_weights(card, data, WeightsRequest(weights or "plain"))
    wrap = None if config.region is None else RegionLogits
    model, _, _ = open_model(card, data, classes or 1000, choice, lambda: path, any_classes=True, as_classifier=wrap)
    for remark in model.remarks:
        say(remark)
    return model


def _predict(
    model: Model, runner: ModelRunner, image_id: str, image: np.ndarray, names: list[str], index: int | None, seed: int
) -> tuple[tuple[Guess, ...], Guess, Evidence]:
    """The most probable classes of an image, the class that is explained, and the evidence about it."""
    base = Evidence(
        runner, _encoded(model, image[None]), torch.tensor([index or 0]), [image_id], view=model.view, seed=seed
    )
    logits = base.logits()[0]
    if not usable(logits):
        raise XaibenchError(
            f"photo {image_id}: the logits of {model.name} are not finite, so there is nothing to explain"
        )
    chances = probabilities(logits, model.probability).tolist()
    order = sorted(range(len(chances)), key=lambda k: -chances[k])
    top = tuple(Guess(k, names[k], chances[k]) for k in order[:TOP])
    explained = top[0] if index is None else Guess(index, names[index], chances[index])
    return top, explained, base.explaining(torch.tensor([explained.index]))


def _where(places: np.ndarray | None) -> str:
    """The region in words, with its share of all places."""
    return "the whole image" if places is None else f"a region of {places.mean():.0%} of the image"


def _encoded(model: Model, images: np.ndarray) -> torch.Tensor:
    """Images (B, H, W, 3) uint8 as the model's inputs, on its device."""
    return model.encoding(images).to(next(model.net.parameters(), torch.zeros(1)))


def _draw(seen: Explanation, method: MethodCard, e: Evidence, parameters: dict[str, Any]) -> None:
    """Adds a method's map to an explanation, or the reason why there is none."""
    name = placed_name(method, parameters)
    try:
        seen.maps[name] = method_maps(method, e, parameters)[0, 0].cpu()
    except Exception as error:  # a plug-in may raise anything; the other methods are drawn
        seen.failed[name] = in_one_line(error)
