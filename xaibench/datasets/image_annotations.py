"""The samples of a batch with annotations of their data set, and the same scenes drawn without a part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from torch import Tensor

from xaibench.datasets.base import Annotation, Dataset, Sample
from xaibench.errors import XaibenchError


class ImageAnnotations:
    """Annotations of the images of a batch for protocols, each loaded once.

    encode turns displayed uint8 (N, H, W, 3) into inputs of the model, (N, C, H, W) on its device.
    """

    def __init__(self, samples: Sequence[Sample], dataset: Dataset, encode: Callable[[np.ndarray], Tensor]):
        self.samples, self.dataset, self.encode = list(samples), dataset, encode
        self._annotations: dict[int, Annotation] = {}

    def __getitem__(self, image: int) -> Annotation:
        """Boxes, masks and labels of image number `image` of the batch, in its displayed pixels."""
        if image not in self._annotations:
            self._annotations[image] = self.dataset.annotate(self.samples[image].image_id)
        return self._annotations[image]

    def annotation(self, image: int) -> Annotation:
        """Deprecated: `annotations[image]`."""
        return self[image]

    def redrawn(self, image: int, removals: Iterable[Sequence[str]]) -> Tensor:
        """The encoded image (n, C, H, W) without some parts, one for each of the removals; see `Dataset.draw`."""
        image_id = self.samples[image].image_id
        drawn = [self.dataset.draw(image_id, names) for names in removals]
        if not drawn:
            raise XaibenchError(f"nothing to remove from {image_id}")
        return self.encode(np.stack(drawn))
