"""A data set of a Python session: anything with a length and items (image, label)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor, bfloat16, nn

from xaibench.datasets.base import Dataset, Sample, check_names
from xaibench.errors import XaibenchError, one_line
from xaibench.exclusive import exclusive
from xaibench.hashing import content_hash
from xaibench.models.build import validate_classes
from xaibench.models.dilate import sample_input
from xaibench.models.inputs import input_channels
from xaibench.models.modes import evaluating
from xaibench.models.opened import opened

MORE_THAN_8_BITS = ("I", "F")  # modes of Pillow, which it would cut off at 255
CHANNELS = (1, 2, 3, 6)  # of networks that can be explained: grey or colour, and the same with channels 1 - x
SLACK = 1e-4  # by which values may leave [0, 1] through rounding


class ObjectDataset(Dataset):
    """Items of a map-style data set as samples: each is (image, label), or a `Sample` of its own.

    An image is a tensor (3, H, W) or (1, H, W), an array (H, W, 3), (H, W, 1) or (H, W), either uint8 or floating point
    in [0, 1], or a PIL image; all are squares of one size. It is displayed in 8 bits, to which floating point values
    are rounded, and grey images with three equal colours. Ids are the numbers of the items, such as `000012`, or those
    of the samples.
    """

    on_disk = True  # another list may be given under the same name: images are compared with those that were stored

    def __init__(self, data: Any, name: str, classes: Sequence[str], side: int):
        self.data, self.name, self.classes, self.side = data, name, list(classes), side
        count = length_of(data, name)
        if isinstance(_item(data, 0, name), Sample):
            self._numbers = {_id(_item(data, number, name), number, name): number for number in range(count)}
        else:
            self._numbers = {f"{number:06d}": number for number in range(count)}
        if len(self._numbers) != count:
            raise XaibenchError(f"data set {name} gives two samples with one image id")
        self.ids = list(self._numbers)

    def load(self, image_id: str) -> Sample:
        """The sample of an id; raises XaibenchError for an item that is none."""
        if image_id not in self._numbers:
            raise XaibenchError(f"data set {self.name}: no image {image_id!r}; ids go from {self.ids[0]} on")
        item = _item(self.data, self._numbers[image_id], self.name)
        if isinstance(item, Sample):
            return item
        image, label = _pair(item, self.name)
        pixels = displayed(image, f"data set {self.name}: image {image_id}")
        return Sample(image_id, pixels, label, content_hash(pixels.tobytes()))

    def digest(self, image_id: str) -> str:
        """The hash of the displayed pixels."""
        return self.load(image_id).digest


def length_of(data: Any, name: str) -> int:
    """The number of items of a data set; raises XaibenchError where it gives none."""
    try:
        return len(data)
    except Exception as error:
        raise XaibenchError(f"data set {name} has no length: {type(error).__name__}: {one_line(error)}") from error


def _item(data: Any, number: int, name: str) -> Any:
    """An item of a data set; what that raises becomes one line."""
    try:
        return data[number]
    except Exception as error:
        raise XaibenchError(
            f"data set {name} failed at item {number} of {length_of(data, name)}: {type(error).__name__}: "
            f"{one_line(error)}"
        ) from error


def _id(item: Any, number: int, name: str) -> str:
    if not isinstance(item, Sample):
        raise XaibenchError(f"data set {name} begins with a Sample, but item {number} is a {type(item).__name__}")
    return item.image_id


def side_of(data: Any, name: str) -> int:
    """Height and width of the images of a data set in pixels, by its first item.

    Raises XaibenchError for an empty data set, and for images that are not square.
    """
    if not length_of(data, name):
        raise XaibenchError(f"data set {name} is empty")
    item = _item(data, 0, name)
    pixels = item.image if isinstance(item, Sample) else displayed(_pair(item, name)[0], f"data set {name}: image 0")
    height, width = pixels.shape[:2]
    if height != width:
        raise XaibenchError(f"data set {name}: image 0 has {height}x{width} pixels; crop images to squares of one size")
    return height


def class_names(data: Any, name: str, classes: Sequence[str] | None, model: Any) -> list[str]:
    """The names of the classes: those that are given, the data set's own `classes`, or numbers as many as the logits
    of a network that is given. Raises XaibenchError where none of these says how many there are."""
    found = classes if classes is not None else getattr(data, "classes", None)
    try:
        names = [] if isinstance(found, str) else [str(each) for each in found or ()]
    except (TypeError, ValueError, RuntimeError):
        names = []
    if names:
        check_names(names, f"data set {name}: the class")
        return names
    if classes is not None:
        raise XaibenchError(f"classes are a list of names, one for each class, not {classes!r}")
    if isinstance(model, nn.Module):
        with opened(model):
            return [str(index) for index in range(_logits(model, side_of(data, name)))]
    raise XaibenchError(f"data set {name} has no names of classes; give them as classes=[...]")


def _logits(net: nn.Module, side: int) -> int:
    """How many logits a network gives, 2 where it has one output; it stays as it is, also where it is in training
    mode."""
    import torch

    weight, channels = next(net.parameters(), torch.zeros(1)), input_channels(net)
    inputs = sample_input(channels if channels in CHANNELS else 3, side).to(weight)
    with exclusive(net.modules()), evaluating(net):
        return max(2, validate_classes(type(net).__name__, net, inputs))


def displayed(image: Any, what: str) -> np.ndarray:
    """An image as uint8 (H, W, 3), a grey one with three equal colours; raises XaibenchError that says what came, for
    anything else."""
    if isinstance(image, Image.Image):
        if image.mode in MORE_THAN_8_BITS or image.mode.startswith("I;"):
            raise XaibenchError(f"{what} is of mode {image.mode}, with more than 8 bits; give an array in [0, 1]")
        return np.asarray(image.convert("RGB"))
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        array = (image.float() if image.dtype == bfloat16 else image).numpy()
        array = array.transpose(1, 2, 0) if array.ndim == 3 else array
    else:
        array = np.asarray(image)
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in (1, 3) or 0 in array.shape:
        raise XaibenchError(
            f"{what} has shape {tuple(np.shape(image))}; images are tensors (3, H, W) or arrays (H, W, 3), grey ones "
            "(1, H, W) or (H, W)"
        )
    array = np.repeat(array, 3, 2) if array.shape[2] == 1 else array
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype.kind != "f":
        raise XaibenchError(f"{what} holds {array.dtype}; values are uint8, or floating point in [0, 1]")
    if not np.isfinite(array).all() or array.min() < -SLACK or array.max() > 1 + SLACK:
        raise XaibenchError(
            f"{what} has values from {array.min():g} to {array.max():g}; give images in [0, 1], before they are "
            "normalised, and say by mean and std how the network normalises them"
        )
    return np.round(np.clip(array, 0, 1) * 255).astype(np.uint8)


def _pair(item: Any, name: str) -> tuple[Any, int]:
    """Image and label of an item."""
    try:
        image, label = item
        number = int(label)
        if number != label:
            raise ValueError
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise XaibenchError(
            f"data set {name} gives {type(item).__name__} for an item, not (image, label) with a class index"
        ) from None
    return image, number
