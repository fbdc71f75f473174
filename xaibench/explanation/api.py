"""`xaibench.explain`: the predictions of a model for some photos, and the heat maps of several methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
from xaibench.errors import XaibenchError
from xaibench.evaluation.plugin_errors import in_one_line
from xaibench.evaluation.resources import choose_chunk, choose_device
from xaibench.explanation.photos import names_of_classes, opened_data, read_photo, target_index
from xaibench.explanation.result import Explanation, Guess
from xaibench.models.base import Model
from xaibench.models.build import brings_weights
from xaibench.models.dilate import sample_input
from xaibench.models.open import model_card, open_model
from xaibench.plugins import add
from xaibench.progress import bar
from xaibench.training.find import WeightsRequest, find_weights, missing_weights

# One of each kind, quick on a CPU: two class activation maps, a plain gradient, a smoothed one, a path.
DEFAULT = ("grad-cam", "layer-cam", "saliency", "ixg-sg", "ig-u")
TOP = 3


def explain(
    photos: str | Path | Sequence[str | Path],
    *,
    model: str,
    methods: str | Sequence[str] | None = None,
    dataset: str = "imagenet",
    data_root: str | Path | None = None,
    weights: str | None = None,
    target: int | str | None = None,
    layer: str | None = None,
    profile: str | None = None,
    out: str | Path | None = None,
    style: str = "overlay",
    device: str = "auto",
    seed: int = 0,
    download: bool = False,
    plugins: Iterable[str | Path] = (),
    cards: Iterable[str | Path] = (),
    quiet: bool = True,
) -> list[Explanation]:
    """Explains what a model predicts for some photos (or another class), and draws the maps if `out` is given.

    photos: image files, or image ids of the data set if its images are drawn or data_root is given. dataset: the data
    set that defines the crop of photos, the names of classes (`imagenet` needs no data_root for these), and which
    weights are looked up. methods: names, `all`, or None for a short list of quick methods and those of plug-ins;
    methods that do not fit the model are left out, unless they are named. weights: `plain`, `aligned` or a path; None
    takes the plain ones, or the aligned ones where there are no others; nothing is trained. target: a class index or
    name; None explains the prediction. layer: the stage of the model at which maps are taken, None for its input; maps
    are then named such as `ixg@Final`. profile: of the data set, for parameters such as integration steps. out: a .png,
    .svg or .pdf file; style: `overlay` or `map`. The error of a method that raises is recorded in `failed`, and the
    other methods are drawn. device, seed, download, plugins, cards and quiet as for `xaibench.run`; noise derives from
    (seed, purpose, image id), where a photo's id is its file name.

    Raises XaibenchError for anything that the user can correct.

    >>> import xaibench
    >>> (seen,) = xaibench.explain("tench.jpg", model="resnet50", download=True)  # doctest: +SKIP
    >>> seen.prediction.name, seen.maps["grad-cam"].shape                         # doctest: +SKIP
    ('tench', torch.Size([224, 224]))
    """
    from xaibench.report.panel import check_figure, panel

    if out is not None:
        check_figure(Path(out), style)  # before a long computation for a figure that could not be drawn
    add(plugins, cards)
    photos = [photos] if isinstance(photos, (str, Path)) else list(photos)
    data: DatasetCard = registry.card("dataset", dataset)
    _, spending = data.profile(profile)
    card = model_card(model)
    methods = methods.split(",") if isinstance(methods, str) else methods
    layer = validate_stage(card, layer)
    _choose(methods, card.name, card.family, has_cam_layer=True, trial=lambda card: None, layer=layer)
    known, classes = opened_data(data, Path(data_root) if data_root else None)
    images = [read_photo(photo, data, known) for photo in photos]
    if not images:
        raise XaibenchError("no input image given: name one photo or several")
    opened = _open_model(card, data, weights, len(classes or ()), download)
    names = names_of_classes(classes, opened.classes)
    index = target_index(target, names) if target is not None else None
    trial = trial_of(opened, data.geometry.crop, ["logit"])
    chosen, skipped = _choose(methods, opened.name, opened.family, bool(opened.cam_layer), trial, layer)
    device = choose_device(device)
    opened.freeze(device, torch.float32)
    example = sample_input(opened.encoding.channels, data.geometry.crop).to(next(opened.net.parameters()))
    shown = f"{data.name}: {data.geometry.description if data.needs_root else f'{data.geometry.crop} px'}"
    found: list[Explanation] = []
    with (
        bar("explaining", len(images) * len(chosen), quiet) as progress,
        ModelRunner(opened.net, chunk=choose_chunk("auto", opened.net, example)) as runner,
    ):
        for image_id, image in images:
            top, explained, e = _predict(opened, runner, image_id, image, names, index, seed)
            seen = Explanation(image_id, image, top, explained, opened.label, shown, skipped=dict(skipped))
            for method in chosen:
                progress.advance(0, method.name)
                _draw(seen, method, e, with_layer(method, merge_parameters(method, spending.overrides), layer))
                progress.advance(1, method.name)
            found.append(seen)
    if not any(seen.maps for seen in found):
        name, reason = next(iter(found[0].failed.items()))
        raise XaibenchError(f"there is no map to draw: method {name} failed: {reason}")
    if out is not None:
        panel(found, Path(out), style=style)
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


def _open_model(card: ModelCard, data: DatasetCard, weights: str | None, classes: int, download: bool) -> Model:
    """A model with its weights, for the number of classes of the weights; classes: that of the data set, 0 if
    unknown."""
    choice, path = weights or "plain", None
    if not (choice == "plain" and brings_weights(card)):
        path = find_weights(card, data, WeightsRequest(choice), download)
        if path is None and weights is None:
            choice = "aligned"
            path = find_weights(card, data, WeightsRequest(choice), download)
        if path is None:
            raise missing_weights(card, data, WeightsRequest(weights or "plain"))
    model, _, _ = open_model(card, data, classes or 1000, choice, lambda: path, any_classes=True)
    return model


def _predict(
    model: Model, runner: ModelRunner, image_id: str, image: np.ndarray, names: list[str], index: int | None, seed: int
) -> tuple[tuple[Guess, ...], Guess, Evidence]:
    """The most probable classes of an image, the class that is explained, and the evidence about it."""
    inputs = model.encoding(image[None]).to(next(model.net.parameters()))
    base = Evidence(
        runner, inputs, torch.tensor([index or 0]), [image_id], cam_layer=model.cam_module, seed=seed,
        probability=model.probability, zero=model.encoding.zero, stages=model.stages, encoding=model.encoding,
    )  # fmt: skip
    logits = base.logits()[0]
    chances = (logits.sigmoid() if model.probability == "sigmoid" else logits.softmax(-1)).tolist()
    order = sorted(range(len(chances)), key=lambda k: -chances[k])
    top = tuple(Guess(k, names[k], chances[k]) for k in order[:TOP])
    explained = top[0] if index is None else Guess(index, names[index], chances[index])
    return top, explained, base.explaining(torch.tensor([explained.index]))


def _draw(seen: Explanation, method: MethodCard, e: Evidence, parameters: dict[str, Any]) -> None:
    """Adds a method's map to an explanation, or the reason why there is none."""
    name = placed_name(method, parameters)
    try:
        seen.maps[name] = method_maps(method, e, parameters)[0, 0].cpu()
    except Exception as error:  # a plug-in may raise anything; the other methods are drawn
        seen.failed[name] = in_one_line(error)
