"""The card of a model, with its published weights and the deletions that they were trained on."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from xaibench.cards.part import Card, Part


class Alignment(Part):
    """The deletions that a model has been trained on."""

    kind: Literal["cell", "pixels", "parts"] = "cell"
    """What is deleted: one cell of a grid, a random share of the pixels, or parts of the object."""
    grid: int | None = Field(None, ge=1)
    """Cells a side of the grid, where a cell is deleted."""
    baseline: Literal["zero", "random", "blur"] | None = None
    """What replaces a deleted cell or pixel; behind deleted parts the background becomes visible."""
    probability: float = Field(gt=0, le=1)
    """For cells: the share of images that lose a cell. For pixels: the largest share of an image's pixels that is
    deleted. For parts: the probability that a part is deleted."""
    teacher: Literal["labels", "self"] = "labels"
    """What is learnt of an image: its label, or the network's own answer to the intact image."""
    images: int | None = Field(None, ge=1)
    """On how many unlabelled images, where the network is its own teacher."""

    @model_validator(mode="after")
    def _complete(self) -> Alignment:
        needed = {"cell": {"grid", "baseline"}, "pixels": {"baseline"}, "parts": set()}[self.kind]
        for name in ("grid", "baseline"):
            if (getattr(self, name) is not None) != (name in needed):
                raise ValueError(f"deletion of {self.kind} {'needs a' if name in needed else 'has no'} {name}")
        if (self.teacher == "self") != (self.images is not None):
            raise ValueError("a network that is its own teacher has a number of images, others have none")
        if self.teacher == "self" and self.kind != "cell":
            raise ValueError("a network is its own teacher for the deletion of cells only")
        return self

    @property
    def key_fields(self) -> dict[str, Any]:
        """The part of keys and of headers of weights; defaults, such as the deletion of a cell, are left out."""
        return self.model_dump(exclude_defaults=True)

    def suits(self, other: Alignment) -> bool:
        """Whether both are the same deletions; the share of images that lose a cell, or of parts, does not matter, nor
        does the teacher."""
        same = (self.kind, self.grid, self.baseline) == (other.kind, other.grid, other.baseline)
        return same and (self.kind != "pixels" or self.probability == other.probability)

    def __str__(self) -> str:
        if self.kind == "parts":
            return f"parts dropped with probability {self.probability:g}"
        if self.kind == "pixels":
            return f"up to {self.probability:.0%} of the pixels replaced, {self.baseline} baseline"
        taught = f", taught by itself on {self.images} unlabelled images" if self.teacher == "self" else ""
        return f"grid {self.grid}, {self.baseline} baseline, probability {self.probability:g}{taught}"


class PublishedWeights(Part):
    """Weights that can be fetched, from a URL or from torchvision's own list, that are in an installed package, or that
    are in a file."""

    dataset: str
    """The data set whose classes they are for."""
    url: str = ""
    """The address of the file."""
    enum: str = ""
    """Its entry in torchvision's list, such as `ResNet50_Weights.IMAGENET1K_V1`."""
    package: str = ""
    """The Python package that brings them, by the name that is imported; it needs `file` and `sha256`."""
    extra: str = ""
    """The extra of xaibench that installs the package."""
    file: str = ""
    """A file of the package; without a package a file on this machine, absolute or relative to XAIBENCH_HOME, as a
    training with `--name` writes it."""
    sha256: str = ""
    """The SHA-256 of the file, or the beginning of it (all of it for a file of a package)."""
    by_order: bool = False
    """Whether the tensors of the file have other names than the network's, and are told apart by their order."""
    licence: str = ""
    """The licence of the weights."""
    alignment: Alignment | None = None
    """The deletions that they were fine-tuned on."""

    @model_validator(mode="after")
    def _one_source(self) -> PublishedWeights:
        if self.extra and not self.package:
            raise ValueError("extra is of weights that a package brings: name the package")
        if self.by_order and not re.fullmatch("[0-9a-fA-F]{64}", self.sha256):
            raise ValueError("by_order needs the whole sha256 (64 hexadecimal digits), by which the file is known")
        if not self.package:
            return self
        if self.url or self.enum:
            raise ValueError("weights come from one of url, enum and package")
        if not re.fullmatch(r"[A-Za-z_]\w*", self.package, re.ASCII):
            raise ValueError(f"package {self.package!r} is no name that can be imported")
        path = PurePosixPath(self.file)
        if not self.file or path.is_absolute() or ".." in path.parts or "\\" in self.file:
            raise ValueError(f"file {self.file!r} is no path inside package {self.package}")
        if not re.fullmatch("[0-9a-fA-F]{64}", self.sha256):
            raise ValueError("weights of a package need the whole sha256 (64 hexadecimal digits)")
        return self

    @property
    def is_local(self) -> bool:
        """Whether they are in a file on this machine that no package brings."""
        return bool(self.file) and not self.package


class ModelCard(Card):
    """A model. Its target builds a network from a number of classes."""

    kind: ClassVar[str] = "model"
    family: str = "cnn"
    """`cnn`, `vit`, `bcos` or `bagnet`; it decides which methods are defined for the model."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """The mean of each colour of pixels in [0, 1], which the encoding subtracts.

    A single one is that of all colours, or of grey pixels where the network takes one channel: 0.299 red + 0.587 green
    + 0.114 blue (ITU-R BT.601)."""
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    """The standard deviation of each channel, by which the encoding divides afterwards."""
    image_size: int | None = Field(None, ge=16)
    """The side in pixels of the images that it was trained on, where that is not 224: photos are shown to it at this
    side unless --image-size gives another."""
    complement: bool = False
    """Whether the channels 1 - x follow those of x, as in the input of B-cos networks."""
    stages: dict[Literal["Mid1", "Mid2", "Mid3", "Final"], str] = {}
    """The paths of the modules at whose outputs attributions may be taken, besides `Input`, from shallow to deep."""
    cam_layer: str = ""
    """The path of the module whose maps class activation methods use; empty: the last with a spatial output."""
    probability: Literal["softmax", "sigmoid"] = "softmax"
    """The function from logits to probabilities."""
    recipe: dict[str, Any] = {}
    """Fields that replace those of the data set's recipe where the model is trained from scratch."""
    plain: PublishedWeights | None = None
    """Published weights."""
    aligned: PublishedWeights | None = None
    """Published weights that were fine-tuned on deletions."""

    @model_validator(mode="after")
    def _of_colours(self) -> ModelCard:
        for name in ("mean", "std"):
            if (count := len(getattr(self, name))) not in (1, 3):
                raise ValueError(
                    f"{name} has {count} numbers; give one for each colour (3), or one for all or for grey"
                )
        return self
