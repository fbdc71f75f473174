"""The data set's own masks, written like any other, so that they can be shared, or used without its annotations."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from xaibench.datasets.base import Annotation, Sample
from xaibench.errors import XaibenchError
from xaibench.masks.maker import Maker, Setting


class Annotated(Maker):
    """Masks as the data set annotates them, none dropped for its size.

    Setting: level of the objects, by the data set's name, or `instances` or `classes`; `all` takes the objects of every
    level, or the instances of an image without objects, or the classes of one without either.
    """

    name: ClassVar[str] = "annotations"
    min_area: ClassVar[float] = 0.0
    parameters: ClassVar[dict[str, Setting]] = {"level": Setting("all")}

    def prepare(self) -> None:
        """Refuses a data set without masks."""
        super().prepare()
        if not {"objects", "instances", "masks"} & set(self.dataset.knows):
            raise XaibenchError(f"data set {self.dataset.name} has no masks of its own; make some --with sam or slic")

    def draw(self, sample: Sample) -> np.ndarray:
        """The masks of a level."""
        annotation = self.dataset.annotate(sample.image_id)
        found = _levels(annotation)
        level, nothing = self.settings["level"], np.zeros((0, self.side, self.side), dtype=bool)
        if level != "all":
            if level not in found:
                raise XaibenchError(f"level is all or one of {', '.join(found)}, not {level!r}")
            return np.concatenate([nothing, found[level]])
        objects = np.concatenate([nothing, *annotation.objects.values()])
        choices = (objects, found["instances"], found["classes"])
        return np.concatenate([nothing, next((masks for masks in choices if len(masks)), nothing)])


def _levels(annotation: Annotation) -> dict[str, np.ndarray]:
    """All masks of an image by level."""
    classes = [mask[None] for mask in annotation.masks.values()]
    return {
        **annotation.objects,
        "instances": annotation.instances.astype(bool),
        "classes": np.concatenate(classes).astype(bool) if classes else annotation.instances[:0].astype(bool),
    }
