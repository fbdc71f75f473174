"""What the card of a model may say, with its published weights and the deletions that they were trained on."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from xaibench.cards.part import Card, Part


class Alignment(Part):
    """What deletions a model has been trained on."""

    kind: Literal["cell", "pixels", "parts"] = "cell"
    """What goes: one cell of a grid, a random share of the pixels, or parts of the object."""
    grid: int | None = Field(None, ge=1)
    """Cells a side, where a cell goes."""
    baseline: Literal["zero", "random", "blur"] | None = None
    """What replaces a deleted cell or pixel; parts are replaced by what is behind them."""
    probability: float = Field(gt=0, le=1)
    """The share of images that lose a cell; the largest share of an image's pixels that go; or of parts that go."""

    @model_validator(mode="after")
    def _complete(self) -> Alignment:
        needed = {"cell": {"grid", "baseline"}, "pixels": {"baseline"}, "parts": set()}[self.kind]
        for name in ("grid", "baseline"):
            if (getattr(self, name) is not None) != (name in needed):
                raise ValueError(f"deletion of {self.kind} {'needs a' if name in needed else 'has no'} {name}")
        return self

    @property
    def key_fields(self) -> dict[str, Any]:
        """What keys and headers of weights hold; they take it for granted that a cell goes."""
        return self.model_dump(exclude_defaults=True)

    def suits(self, other: Alignment) -> bool:
        """Whether both are the same deletions; how many images lose a cell, or parts, does not matter."""
        same = (self.kind, self.grid, self.baseline) == (other.kind, other.grid, other.baseline)
        return same and (self.kind != "pixels" or self.probability == other.probability)

    def __str__(self) -> str:
        if self.kind == "parts":
            return f"parts dropped with probability {self.probability:g}"
        if self.kind == "pixels":
            return f"up to {self.probability:.0%} of the pixels replaced, {self.baseline} baseline"
        return f"grid {self.grid}, {self.baseline} baseline, probability {self.probability:g}"


class PublishedWeights(Part):
    """Weights that can be fetched, from a URL or from torchvision's own list, or that are in a file."""

    dataset: str
    """The data set whose classes they are for."""
    url: str = ""
    """Where the file is."""
    enum: str = ""
    """Its entry in torchvision's list, such as `ResNet50_Weights.IMAGENET1K_V1`."""
    file: str = ""
    """A file of this machine, absolute or relative to XAIBENCH_HOME: what a training with `--name` writes."""
    sha256: str = ""
    """Of the whole file, or its beginning."""
    licence: str = ""
    """Under which it may be used."""
    alignment: Alignment | None = None
    """Which deletions they were fine-tuned on."""


class ModelCard(Card):
    """A model. Its target builds a network from a number of classes."""

    kind: ClassVar[str] = "model"
    family: str = "cnn"
    """`cnn`, `vit`, `bcos` or `bagnet`: which methods are defined for it."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """Of each channel of pixels in [0, 1], subtracted by the encoding."""
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    """Of each channel, divided by afterwards."""
    complement: bool = False
    """Whether the channels 1 - x follow those of x, as B-cos networks want them."""
    stages: dict[Literal["Mid1", "Mid2", "Mid3", "Final"], str] = {}
    """The paths of the modules at whose outputs attributions may be taken, beside `Input`, from shallow to deep."""
    cam_layer: str = ""
    """The path of the module whose maps class activation methods use; empty: the last with a spatial output."""
    probability: Literal["softmax", "sigmoid"] = "softmax"
    """What makes a logit a probability."""
    recipe: dict[str, Any] = {}
    """How it is trained from scratch otherwise than the data set's recipe says."""
    plain: PublishedWeights | None = None
    """Published weights."""
    aligned: PublishedWeights | None = None
    """Published weights that were fine-tuned on deletions."""
