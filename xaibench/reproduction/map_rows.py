"""Figures of maps: the same images, explained by networks that differ in their training.

Rao, Boehle, Parchami-Araghi, Schiele 2023 (Figures 1, 2, 9, 11, 13), and the galleries of the other papers.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xaibench import registry
from xaibench.attribution.api import attribute
from xaibench.cards import ComparisonProtocol, Sheet
from xaibench.comparison.config import ComparisonConfig
from xaibench.comparison.steps import steps
from xaibench.comparison.stored import request_of
from xaibench.comparison.weights import prepare
from xaibench.errors import XaibenchError
from xaibench.evaluation.resources import training_resources
from xaibench.printing import say
from xaibench.report.heatmap import PERCENTILE, heatmap, scale_of
from xaibench.reproduction.networks import ImageRow, Network, attacked, displayed, open_network
from xaibench.training.adversarial import pixels_of

LEGEND = (
    f"below an image: its class; below a map: what the network says. Each map is of the image's class, and has its own "
    f"scale, which ends at the {PERCENTILE:g}th percentile of |map|: red speaks for the class, blue against it."
)


def networks_of_arms(sheet: Sheet, quiet: bool, **changes: object) -> dict[str, Network]:
    """The networks of a sheet's arms by their names, each of the first training, on the images of the comparison.

    An arm that is left out, as no epoch of its training can be chosen, is said on standard error. changes: fields of
    the comparison that replace those of the card. Raises XaibenchError for an arm that the comparison does not have,
    and what trainings raise.
    """
    given = {"trainings": 1, "images": sheet.columns, "methods": [sheet.method]}
    config = ComparisonConfig.parse({**sheet.comparison, **changes, **given}, "comparison of a sheet")
    card = registry.card("comparison", config.comparison)
    every = {step.name: step for step in steps(card, config)[0]}
    if lacking := [name for name in sheet.arms if name not in every]:
        raise XaibenchError(f"comparison {card.name} has no arm {lacking[0]!r}; it has {', '.join(every)}")
    resources = training_resources(config.device, config.workers, quiet)
    report = (lambda line: None) if quiet else say
    prepared, notes = prepare(card, [every[name] for name in sheet.arms], config, resources, report)
    for note in notes:
        say(note)
    found = {}
    for one in prepared:
        # weights of a task are shown as they are; the protocol decides which weights other arms have
        judge = ComparisonProtocol(protocol="sds") if one.step.training else card.judges[0]
        found[one.step.name] = open_network(request_of(card, judge, config, one.arguments), quiet)
    return found


def map_rows(sheet: Sheet, networks: dict[str, Network]) -> list[ImageRow]:
    """The images, and for each network the maps of their labels; with an attack also those of the attacked images.

    Captions: the label of an image, and below maps what the network says of it. Each map has its own scale. Raises
    XaibenchError where no network is left, and what the method raises.
    """
    if not networks:
        raise XaibenchError("no network is left to show maps of: no epoch of any training could be chosen")
    first = next(iter(networks.values()))
    rows = [ImageRow("image", first.images, tuple(first.classes[label] for label in first.labels))]
    for name, one in networks.items():
        rows.append(_row(name, one, sheet, one.inputs, one.images))
        if sheet.attack:
            moved = attacked(one, torch.tensor(one.labels, device=one.device), **sheet.attack)
            shown = displayed(pixels_of(moved, one.model.encoding).cpu())
            rows.append(_row(f"{name}, attacked", one, sheet, moved, shown))
    return rows


def _row(label: str, one: Network, sheet: Sheet, inputs: Tensor, photos: np.ndarray) -> ImageRow:
    """Maps of inputs (N, C, H, W) over faint photos (N, H, W, 3)."""
    maps = attribute(one.model, inputs, list(one.labels), sheet.method, layer=sheet.layer, image_ids=one.ids)
    with torch.no_grad():
        said = one.model.net(inputs).argmax(1).tolist()
    arrays = maps[:, 0].detach().cpu().double().numpy()
    pictures = [heatmap(values, scale_of(values), photo) for values, photo in zip(arrays, photos, strict=True)]
    return ImageRow(label, np.stack(pictures), tuple(one.classes[k] for k in said))
