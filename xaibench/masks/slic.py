"""Superpixels as masks, where no network is available: SLIC, Achanta et al. 2012, by scikit-image."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from xaibench.datasets.base import Sample
from xaibench.masks.maker import Maker, Setting, needed


class Slic(Maker):
    """The superpixels of an image: each pixel is in one, of nearly the same colour. They are not objects.

    Settings: segments, the approximate number; compactness, the weight of distance in space against that of colour;
    sigma, in pixels, of the blur before.
    """

    name: ClassVar[str] = "slic"
    packages: ClassVar[tuple[str, ...]] = ("scikit-image",)
    parameters: ClassVar[dict[str, Setting]] = {
        "segments": Setting(32, 1, 10000),
        "compactness": Setting(10.0, 1e-6, 1e6),
        "sigma": Setting(1.0, 0, 100),
    }

    def prepare(self) -> None:
        """Finds scikit-image."""
        super().prepare()
        self.slic = needed("skimage.segmentation", "slic").slic

    def draw(self, sample: Sample) -> np.ndarray:
        """One mask for each superpixel."""
        settings = self.settings
        labels = self.slic(
            sample.image, n_segments=settings["segments"], compactness=settings["compactness"], sigma=settings["sigma"],
            start_label=0, channel_axis=-1,
        )  # fmt: skip
        return labels == np.arange(labels.max() + 1)[:, None, None]
