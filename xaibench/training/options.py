"""Options of training tasks: those of classification with and without deletions, of CGC, and of adversarial training.

The fields of an options class are the options of the task on the command line (`xaibench train TASK`), in the table
`task_options` of a file, and in the table `options` of an arm of a comparison. What is heavy is imported when a task is
made.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from xaibench.cards import Alignment
from xaibench.configuration import Argument, Config
from xaibench.errors import XaibenchError

if TYPE_CHECKING:
    from xaibench.training.task import Task


USUAL_IMAGES = 256  # of an alignment without labels


class TaskOptions(Config):
    """The options of a task; subclasses list them."""

    @classmethod
    def keys(cls) -> dict[str, str]:
        """What each field is called in files, by its name; `lambda` is a word of Python's own, and so an alias."""
        return {name: info.alias or name for name, info in cls.model_fields.items()}

    def changed_keys(self) -> dict[str, Any]:
        """The options that are not as by default, by their keys, in plain JSON values."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)

    def make_task(self, download: bool = False) -> Task:
        """The task; raises XaibenchError for values that are out of range. download: whether files may be fetched."""
        raise NotImplementedError


class ClassifierOptions(TaskOptions):
    """Classification of intact images."""

    fit: Annotated[str, Argument(metavar="normal|over|under")] = "normal"
    """over: a tenth of the images, twice the epochs; under: one epoch."""

    def make_task(self, download: bool = False) -> Task:
        """`Classification`, or `FitLevel` for over- and underfitting."""
        from xaibench.training.classifier import Classification
        from xaibench.training.fit_level import FitLevel

        return Classification() if self.fit == "normal" else FitLevel(self.fit)


class PatchDeletionOptions(TaskOptions):
    """Classification of images that lose a cell of a grid."""

    grid: int = Field(4, ge=2)
    """Cells a side."""
    baseline: str = "zero"
    """zero, random or blur."""
    probability: float = 0.5
    """Share of images that lose a cell."""
    teacher: Annotated[Literal["labels", "self"], Argument(metavar="labels|self")] = "labels"
    """self: learn, without labels, the network's own answers to the intact images."""
    images: Annotated[int | None, Field(ge=1), Argument(default="256")] = None
    """How many, with --teacher self."""
    photos: Annotated[str | None, Argument(metavar="DIR", default="the training images of the data set")] = None
    """A folder of photos, with --teacher self."""

    def make_task(self, download: bool = False) -> Task:
        """`Classification` with this alignment, or `SelfAlignment`; raises XaibenchError for options without effect."""
        deletions = {"grid": self.grid, "baseline": self.baseline, "probability": self.probability}
        if self.teacher == "labels":
            for name in ("images", "photos"):
                if getattr(self, name) is not None:
                    raise XaibenchError(f"--{name} is for unlabelled images; add --teacher self, or leave it out")
            return _classification(**deletions)
        from xaibench.training.self_alignment import SelfAlignment

        alignment = _alignment(**deletions, teacher="self", images=self.images or USUAL_IMAGES)
        return SelfAlignment(alignment, photos=None if self.photos is None else Path(self.photos))


class RandomMasksOptions(TaskOptions):
    """Classification of images that lose random pixels."""

    share: float = 0.1
    """The largest share of an image's pixels that go."""
    baseline: str = "zero"
    """zero, random or blur."""

    def make_task(self, download: bool = False) -> Task:
        """`Classification` with this alignment."""
        return _classification(kind="pixels", baseline=self.baseline, probability=self.share)


class PartDeletionOptions(TaskOptions):
    """Classification of images whose objects lack parts."""

    probability: float = 0.2
    """With which each part is dropped."""

    def make_task(self, download: bool = False) -> Task:
        """`Classification` with this alignment."""
        return _classification(kind="parts", probability=self.probability)


class CgcOptions(TaskOptions):
    """CGC: the map of a moved image is to be the moved map."""

    weight: Annotated[float, Argument("--lambda")] = Field(0.5, alias="lambda")
    """The weight of the contrastive loss."""
    temperature: float = 0.01
    """Of the contrastive loss."""
    crop: float = 0.08
    """The smallest share of the area that a crop keeps."""

    def make_task(self, download: bool = False) -> Task:
        """`Cgc`."""
        from xaibench.training.cgc import Cgc

        return Cgc(self.weight, self.temperature, self.crop)


class AdversarialOptions(TaskOptions):
    """Training on attacked images."""

    norm: Annotated[str, Argument(metavar="linf|l2")] = "linf"
    """How a change is measured."""
    epsilon: Annotated[float | str, Argument(metavar="NUMBER", default="2/255")] = 2 / 255
    """The largest change, of pixels in [0, 1]: a number or a fraction."""
    steps: int = 7
    """Of an attack."""
    step_size: Annotated[float | str | None, Argument(metavar="NUMBER")] = None
    """Of a step; by default 2.5 epsilon / steps."""

    @field_validator("epsilon", "step_size", mode="before")
    @classmethod
    def _number(cls, value: Any, info: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return float(Fraction(value.replace(" ", "")))
        except (ValueError, ZeroDivisionError, OverflowError):
            option = f"--{info.field_name.replace('_', '-')}"
            raise ValueError(f"{option} {value!r} is no number; give one such as 0.3 or 2/255") from None

    def make_task(self, download: bool = False) -> Task:
        """`Adversarial`."""
        from xaibench.training.adversarial import Adversarial

        return Adversarial(self.norm, self.epsilon, self.steps, self.step_size)


def _classification(**fields: Any) -> Task:
    """Classification on images with deletions; raises XaibenchError as `_alignment` does."""
    from xaibench.training.classifier import Classification

    return Classification(_alignment(**fields))


def _alignment(**fields: Any) -> Alignment:
    """Deletions; raises XaibenchError that names the option that is wrong."""
    try:
        return Alignment(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = first["loc"][0]
        option = "share" if (name, fields.get("kind")) == ("probability", "pixels") else name
        raise XaibenchError(f"--{option}: {first['msg']}") from None
