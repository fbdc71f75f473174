"""Figures of images that networks give: those that activate a channel most, attacked ones, and maps.

Hesse, Schaub-Meyer, Roth 2024 (Figure 10): the same channels before and after a fine-tuning. Schulze, Ho, Zemel 2023
(Figure 4): images and the same after projected gradient descent.
"""

from __future__ import annotations

import torch

from xaibench.cards import Sheet
from xaibench.errors import XaibenchError
from xaibench.evaluation.config import RunConfig
from xaibench.protocols.activations import channel_activations, top_images
from xaibench.reproduction.map_rows import map_rows, networks_of_arms
from xaibench.reproduction.networks import ImageRow, Network, attacked, displayed, open_network
from xaibench.seeds import generator
from xaibench.training.adversarial import pixels_of

SHOWN_CHANGE = 0.5  # of the range of pixels, to which the largest change of an attack is stretched


def sheet_rows(sheet: Sheet, quiet: bool, **changes: object) -> list[ImageRow]:
    """The rows of a sheet; networks are trained where their weights are not here, as by a run or a comparison.
    changes: fields of the runs that replace those of the card. Raises what runs and comparisons raise, and
    XaibenchError for images of other sizes."""
    if sheet.comparison:
        networks = networks_of_arms(sheet, quiet, **changes)
    else:
        requests = {
            name: RunConfig.parse({**one, **changes}, f"network {name}") for name, one in sheet.networks.items()
        }
        networks = {name: open_network(request, quiet) for name, request in requests.items()}
    if sheet.kind == "maps":
        return map_rows(sheet, networks)
    if sheet.kind == "channels":
        return channel_rows(networks, sheet.rows, sheet.columns)
    return [row for name, one in networks.items() for row in attack_rows(name, one, sheet.columns, **sheet.attack)]


def channel_rows(networks: dict[str, Network], rows: int, columns: int) -> list[ImageRow]:
    """For each of `rows` random channels, and each network, its `columns` images with the highest value of the channel.

    Channels are of the layer whose maps class activation methods use, and the same for all networks that have as many;
    they are drawn from (0, "channels"). Raises XaibenchError for a network without such maps, or with fewer channels.
    """
    values = {}
    for name, one in networks.items():
        if one.model.cam_module is None:
            raise XaibenchError(f"network {name} has no layer with a spatial map, so no channel to look at")
        values[name] = channel_activations(one.model.net, one.model.cam_module, one.inputs).cpu()
    counts = {name: value.shape[1] for name, value in values.items()}
    if min(counts.values()) < rows:
        raise XaibenchError(f"{rows} channels are asked for, where there are {min(counts.values())}")
    found = []
    drawn = {n: torch.randperm(n, generator=generator(0, "channels"))[:rows].tolist() for n in set(counts.values())}
    for place in range(rows):
        for name, one in networks.items():
            channel = drawn[counts[name]][place]
            best = top_images(values[name], channel, columns).tolist()
            captions = tuple(f"{float(values[name][image, channel]):.2g}" for image in best)
            found.append(ImageRow(f"{name}, channel {channel}", one.images[best], captions))
    return found


def attack_rows(name: str, one: Network, columns: int, **attack: object) -> list[ImageRow]:
    """The first images, the same attacked, and the change; captions: what the network says of them.

    The attack raises the loss of the class that the network predicts of the intact image. A change of 0 is grey, and
    the largest one is half of the range of pixels away from it.
    """
    inputs = one.inputs[:columns]
    with torch.no_grad():
        labels = one.model.net(inputs).argmax(1)
    moved = attacked(one, labels, **attack)
    with torch.no_grad():
        after = one.model.net(moved).argmax(1)
    before, changed = (pixels_of(x, one.model.encoding).cpu() for x in (inputs, moved))
    change = changed - before
    stretched = 0.5 + change * (SHOWN_CHANGE / change.abs().max().clamp_min(1e-12))
    said = [tuple(one.classes[k] for k in found.tolist()) for found in (labels, after)]
    # pixels of the display are whole numbers: what is drawn of an attack is rounded, the change is not
    return [
        ImageRow(f"{name}, intact", one.images[:columns], said[0]),
        ImageRow(f"{name}, attacked", displayed(changed), said[1]),
        ImageRow("change, enlarged", displayed(stretched), ("",) * len(labels)),
    ]
