"""What a model can be trained for, by name, and the options of each task.

The fields of an options class are the options of the task on the command line (`xaibench train TASK`), in the table
`task_options` of a file, and in the table `options` of an arm of a comparison. What is heavy is imported when a task is
made.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError, field_validator

from xaibench.cards import Alignment
from xaibench.configuration import Argument, Config
from xaibench.errors import XaibenchError

if TYPE_CHECKING:
    from xaibench.training.guidance.request import Search
    from xaibench.training.task import Task

INPUT = "Input"


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

    def make_task(self, download: bool = False) -> Task:
        """`Classification` with this alignment."""
        return _classification(grid=self.grid, baseline=self.baseline, probability=self.probability)


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


class GuidedOptions(TaskOptions):
    """Guidance by a localisation loss; several lambdas, seeds and subsets are several trainings."""

    loss: str = "energy"
    """energy, energy-star, l1, ppce or rrr."""
    attribution: str = "ixg"
    """ixg, grad-cam, b-cos (of B-cos networks) or intgrad."""
    layer: Annotated[str, Argument(metavar="STAGE")] = INPUT
    """Input, Mid1, Mid2, Mid3 or Final."""
    lambdas: Annotated[tuple[float, ...], Argument("--lambda", metavar="NUMBER,...", default="1e-3")] = Field(
        (1e-3,), alias="lambda"
    )
    """Weights of the loss, by commas; each is a training, 0 the control without."""
    match: Annotated[str | None, Argument(metavar="LOSS")] = None
    """Lambdas are this loss's; match its gradient norm."""
    alpha: float = Field(0.5, ge=0)
    """Exponent of the box size in energy-star."""
    over: str = "annotated"
    """annotated or batch: which images of a step the mean loss is over."""
    annotations: str = "boxes"
    """boxes, masks or mixture."""
    share_masks: float = 0.1
    """Share of masks in a mixture."""
    fraction: float = 1.0
    """Share of the images that is annotated."""
    dilate: float = 0.0
    """By which boxes grow on each side."""
    subset: int = Field(0, ge=0)
    """Seed of the annotated images."""
    subsets: int = Field(1, ge=1)
    """Draws of the annotated images."""
    repeats: int = Field(1, ge=1)
    """Seeds, from --seed on."""
    choose: str = "epg"
    """epg: the highest within 5 points of the baseline's score; or score."""
    test_images: Annotated[int | None, Argument(default="all")] = Field(None, ge=1)
    """The first so many test images."""

    @field_validator("lambdas", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        numbers = [value] if isinstance(value, (int, float, str)) else value
        try:
            return tuple(float(number) for number in numbers)
        except (TypeError, ValueError):
            given = ",".join(map(str, numbers)) if isinstance(numbers, (list, tuple)) else numbers
            raise ValueError(f"--lambda {given!r} is not a list of numbers such as 1e-3,5e-3") from None

    @field_validator("layer")
    @classmethod
    def _stage(cls, value: str) -> str:
        return INPUT if value.lower() == INPUT.lower() else value

    def make_task(self, download: bool = False) -> Task:
        """`Guided` with the one lambda that is given; raises XaibenchError for several, which are several tasks."""
        if len(self.lambdas) != 1:
            raise XaibenchError(f"{len(self.lambdas)} lambdas are several trainings; give one --lambda")
        return self._guided()

    def search(self) -> Search:
        """The trainings of all lambdas, seeds and subsets, and how one model is chosen."""
        from xaibench.training.guidance.request import Search

        more = self.repeats, self.subsets, self.choose, self.test_images
        return Search(self._guided(), self.lambdas, *more)

    def _guided(self) -> Any:
        from xaibench.training.guidance.guided import Guided
        from xaibench.training.guidance.targets import Annotations

        guides = Annotations(self.annotations, self.fraction, self.dilate, self.subset, self.share_masks)
        weight = self.lambdas[0] if self.lambdas else 0.0
        return Guided(self.loss, self.attribution, self.layer, weight, guides, self.alpha, self.over, self.match)


class LicoOptions(TaskOptions):
    """LICO: image features are matched to those of a text about the class."""

    terms: Annotated[tuple[str, ...], Argument(metavar="NAME,...", default="mm,ot")] = ("mm", "ot")
    """mm (manifold matching), ot (transport), or both."""
    prompt: str = "shared"
    """shared, class-specific or label-first."""
    contexts: int = 12
    """Trainable vectors in a prompt."""
    alpha: float = 10.0
    """The weight of manifold matching."""
    beta: float = 1.0
    """The weight of transport."""
    epsilon: float = 0.1
    """Of Sinkhorn; published 1e-4."""
    iterations: int = 1000
    """Of Sinkhorn, at most; published 100."""
    text_encoder: Annotated[str, Argument(metavar="NAME")] = "ViT-B-32"
    """Of open_clip, or words, which needs no file."""
    text_weights: Annotated[str, Argument(metavar="NAME|PATH|none")] = "openai"
    """Published ones need --download once."""

    @field_validator("terms", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    def make_task(self, download: bool = False) -> Task:
        """`Lico`; raises XaibenchError where the text encoder is not here and download does not allow to fetch it."""
        from xaibench.training.lico.clip import text_source
        from xaibench.training.lico.task import Lico

        numbers = self.alpha, self.beta, self.contexts, self.epsilon, self.iterations
        Lico(self.terms, self.prompt, *numbers)  # mistakes are found before a file is fetched
        return Lico(self.terms, self.prompt, *numbers, text_source(self.text_encoder, self.text_weights, download))


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


TASKS: dict[str, type[TaskOptions]] = {
    "classifier": ClassifierOptions, "patch-deletion": PatchDeletionOptions, "random-masks": RandomMasksOptions,
    "part-deletion": PartDeletionOptions, "guided": GuidedOptions, "lico": LicoOptions, "cgc": CgcOptions,
    "adversarial": AdversarialOptions,
}  # fmt: skip
"""The options of every task, by its name on the command line."""


def parse_options(task: str, options: Mapping[str, Any]) -> TaskOptions:
    """The options of a task from a table of plain values.

    Raises XaibenchError, with the nearest name, for a task or an option that does not exist, and for values of another
    type.
    """
    if task not in TASKS:
        raise XaibenchError(f"no training task is called {task!r}; {_nearest(task, TASKS, 'take')}")
    known = list(TASKS[task].keys().values())
    for option in options:
        if option not in known:
            hint = _nearest(option, known, "it has")
            raise XaibenchError(f"training task {task} has no option {option!r}; {hint}")
    return TASKS[task].parse(options, f"training task {task}")


def make_task(task: str, options: Mapping[str, Any], download: bool = False) -> Task:
    """The task of a name with options; raises XaibenchError as `parse_options` and `TaskOptions.make_task` do."""
    return parse_options(task, options).make_task(download)


def alignment_fields(alignment: Alignment | None) -> dict[str, Any]:
    """The fields `task` and `task_options` of a `TrainingConfig` that train on these deletions; None: on intact images.

    A card's alignment without a field that the task's options have, such as a grid, cannot be made.
    """
    if alignment is None:
        return {"task": "classifier"}
    probability, baseline = alignment.probability, alignment.baseline
    if alignment.kind == "parts":
        return {"task": "part-deletion", "task_options": {"probability": probability}}
    if alignment.kind == "pixels":
        return {"task": "random-masks", "task_options": {"share": probability, "baseline": baseline}}
    options = {"grid": alignment.grid, "baseline": baseline, "probability": probability}
    return {"task": "patch-deletion", "task_options": options}


def _classification(**fields: Any) -> Task:
    """Classification on images with deletions; raises XaibenchError that names the option that is wrong."""
    from xaibench.training.classifier import Classification

    try:
        return Classification(Alignment(**fields))
    except ValidationError as error:
        first = error.errors()[0]
        name = first["loc"][0]
        option = "share" if (name, fields.get("kind")) == ("probability", "pixels") else name
        raise XaibenchError(f"--{option}: {first['msg']}") from None


def _nearest(name: str, known: Any, otherwise: str) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"{otherwise} {', '.join(known)}"
