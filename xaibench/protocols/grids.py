"""Grids of images of different classes: which image is in which cell, and the grids as inputs of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.datasets.base import Dataset, validate_sample
from xaibench.datasets.loading import load_sample
from xaibench.errors import XaibenchError
from xaibench.models.disconnected import joined
from xaibench.seeds import generator


@dataclass(frozen=True)
class Layout:
    """The cell of an image in its grid, counted row by row, and the image ids of the other cells in that order."""

    own: int
    companions: list[str]


@dataclass(frozen=True)
class Grids:
    """Encoded grids (P, C, cells * H, cells * W), one for each pair, and the cell (P,) int64 of the pair's image."""

    images: Tensor
    own: Tensor


def draw_layout(
    dataset: Dataset, ids: Sequence[str], image_id: str, label: int, cells: int, seed: int = 0
) -> Layout:  # fmt: skip
    """The grid of an image, drawn from (seed, image id) among `ids`, all images of the data set.

    The classes of the cells differ, and where the data set has boxes, no companion shows an object of the class
    `label`. Raises XaibenchError where there are too few classes.
    """
    dice = generator(seed, "grid pointing", image_id)
    own, needed = int(torch.randint(cells**2, (), generator=dice)), cells**2 - 1
    companions, classes = [], {label}
    for index in torch.randperm(len(ids), generator=dice).tolist():
        theirs = dataset.label(ids[index])
        if theirs in classes or ("boxes" in dataset.knows and label in dataset.annotate(ids[index]).labels):
            continue
        companions.append(ids[index])
        classes.add(theirs)
        if len(companions) == needed:
            return Layout(own, companions)
    raise XaibenchError(
        f"a grid of {cells}x{cells} shows as many classes as cells; data set {dataset.name} has images of "
        f"{len(classes)} classes to show with {image_id}"
    )


def make_grids(e: Evidence, cells: int) -> Grids:
    """The grid of every pair, once for all methods and protocols; raises XaibenchError for evidence without a data set.

    Companions come from the data set's one list whichever images are run.
    """
    return e.once(("grids", cells), lambda: _grids(e, cells))


def _grids(e: Evidence, cells: int) -> Grids:
    annotations = e.annotations
    if annotations is None:
        raise XaibenchError("grids need other images of the data set; use `xaibench.run`")
    dataset, ids, made, own = annotations.dataset, annotations.dataset.image_list(), [], []
    for image in e.owner.tolist():
        sample = annotations.samples[image]
        layout = draw_layout(dataset, ids, sample.image_id, sample.label, cells, e.seed)
        others = []
        for image_id in layout.companions:
            loaded = load_sample(dataset, image_id)
            others.append(validate_sample(loaded, len(sample.image), len(dataset.classes), dataset.name).image)
        before, after = annotations.encode(np.stack(others)).tensor_split([layout.own])
        made.append(joined(torch.cat([before, e.images[image : image + 1], after]), cells))
        own.append(layout.own)
    return Grids(torch.cat(made), torch.tensor(own, device=e.images.device))
