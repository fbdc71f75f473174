"""The region that `explain` explains of a segmentation network: the model of it, for one photo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xaibench.cards import Geometry, ModelCard
from xaibench.datasets.images import read_image
from xaibench.datasets.placement import Placement
from xaibench.errors import XaibenchError
from xaibench.explanation.config import ExplainConfig
from xaibench.models.base import Model
from xaibench.models.build import brings_weights
from xaibench.segmentation import RegionLogits, predicted_labels, predicted_region

PREDICTED, IMAGE = "predicted", "image"


def check_region(config: ExplainConfig, card: ModelCard) -> None:
    """Raises XaibenchError for a region that cannot be explained: of a network without its weights, or of a file that
    is none or is named for several photos."""
    if config.region is None:
        return
    if config.weights is not None or not brings_weights(card):
        raise XaibenchError(
            f"--region is of a segmentation network with its weights: a function in a file that takes no number of "
            f"classes, --model FILE.py:NAME, without --weights; {card.name} is none"
        )
    if config.region in (PREDICTED, IMAGE):
        return
    if not Path(config.region).is_file():
        raise XaibenchError(f"--region is {PREDICTED}, {IMAGE} or the file of a mask, and {config.region} is no file")
    if len(config.photos) > 1:
        raise XaibenchError(f"the mask {config.region} is of one photo, and {len(config.photos)} are named")


def read_mask(path: Path, geometry: Geometry, size: tuple[int, int]) -> np.ndarray:
    """A mask of a photo as it is displayed, (H, W) bool: true where any channel of the file is not 0.

    size is (height, width) of the displayed photo, in which a mask may also be given.
    """
    pixels = np.asarray(read_image(path)).any(2)
    if pixels.shape != size:
        pixels = Placement(pixels.shape[1], pixels.shape[0], geometry).mask(pixels)
    if pixels.shape != size or not pixels.any():
        raise XaibenchError(f"the mask {path} has no place on the displayed photo; it is white where the region is")
    return pixels


def model_of_region(
    model: Model, inputs: Tensor, index: int | None, region: str, mask: np.ndarray | None
) -> tuple[Model, int | None, np.ndarray | None]:
    """The model of a region of the image in inputs (1, C, H, W), its class, and the region (h, w) bool.

    model.net is a `RegionLogits`, index the class that is asked for. Without one it is the class that is predicted at
    most places where the predicted region is explained, else None. The region is None for the whole image.
    """
    dense = model.net.net
    if region == PREDICTED:
        index = int(predicted_labels(dense, inputs).flatten().mode().values) if index is None else index
        places = predicted_region(dense, inputs, index)
    else:
        places = None if mask is None else torch.from_numpy(mask).to(inputs.device)
    found = None if places is None else places.cpu().numpy()
    return replace(model, net=RegionLogits(dense, places)), index, found
