"""The request of a training: the one list of its options, from a file, the command line or Python."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from xaibench.configuration import Argument, Config
from xaibench.errors import XaibenchError
from xaibench.training.options import TaskOptions
from xaibench.training.tasks import TASKS, parse_options

if TYPE_CHECKING:
    from xaibench.training.task import Task


def _whole_or_auto(value: Any) -> Any:
    """`auto`, or a number from 0, which may be given as text."""
    number = -1
    if not isinstance(value, bool) and str(value).isdecimal():
        number = int(value)
    if value != "auto" and number < 0:
        raise ValueError(f"--workers is auto or a number from 0, not {value!r}")
    return value if value == "auto" else number


Workers = Annotated[int | str, BeforeValidator(_whole_or_auto)]
"""How many processes load images; `auto` depends on the device."""


class TrainingConfig(Config):
    """What is trained, on what, for which task, and how.

    Device, precision, workers, name, download, plugins and cards change no key of a training; every other field does
    where it changes what is learnt.
    """

    task: Annotated[str, Argument(hidden=True)] = "classifier"
    """What the model is trained for, as in `xaibench train TASK`."""
    model: str
    """A name of `xaibench ls models`, timm:NAME, or FILE.py:BUILDER."""
    dataset: str
    """A name of `xaibench ls datasets`."""
    data_root: Annotated[Path | None, Argument(metavar="DIR")] = None
    """The folder with its images, in train/ and val/."""
    task_options: Annotated[dict[str, Any], Argument(hidden=True)] = Field(default_factory=dict)
    """The options of the task that are not as by default; `xaibench train TASK --help` lists them."""
    image_size: Annotated[int | None, Argument(metavar="PIXELS", default="the data set's")] = Field(None, ge=1)
    """The side of images."""
    weights: Annotated[str, Argument(metavar="plain|PATH")] = "plain"
    """Where a fine-tuning starts."""
    download: bool = False
    """Allow published weights to be fetched."""
    recipe: dict[str, Any] = Field(default_factory=dict)
    """Fields of the recipe to change, such as weight_decay=0."""
    dataset_options: Annotated[dict[str, Any], Argument("--dataset-option")] = Field(default_factory=dict)
    """Such as rule=one:beak."""
    device: str = "auto"
    """auto, cpu, cuda, ..."""
    precision: str = "float32"
    """float32, bfloat16 or float16."""
    workers: Annotated[Workers, Argument(metavar="auto|N")] = "auto"
    """Processes that load images."""
    seed: int = Field(0, ge=0)
    """Of initial weights, order and augmentation."""
    name: Annotated[str | None, Argument(metavar="NAME")] = None
    """Makes it a model: xaibench run epg --model NAME."""
    plugins: Annotated[tuple[Path, ...], Argument("--plugin", metavar="FILE.py")] = ()
    """A file with functions that @xaibench.method, @xaibench.model, ... register."""
    cards: Annotated[tuple[Path, ...], Argument(metavar="DIR")] = ()
    """A folder with methods/NAME.toml, models/, datasets/, protocols/."""

    @field_validator("task")
    @classmethod
    def _known_task(cls, value: str) -> str:
        if value not in TASKS:
            _as_value_error(value, {})
        return value

    @field_validator("task_options")
    @classmethod
    def _normalised(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Checked by the options class of the task; options that are as by default are left out."""
        task = info.data.get("task")  # missing where it is wrong itself
        return value if task is None else _as_value_error(task, value).changed_keys()

    @property
    def options(self) -> TaskOptions:
        """The options of the task, with defaults."""
        return parse_options(self.task, self.task_options)

    def make_task(self) -> Task:
        """The task, as an object; raises XaibenchError for options that are out of range."""
        return self.options.make_task(self.download)

    def with_fields(self, **fields: Any) -> Self:
        """The same request with other fields; raises XaibenchError for values that no field takes."""
        return type(self).parse(dict(self) | fields)

    def to_arguments(self) -> list[str]:
        """The arguments of `xaibench train TASK` that ask for the same; defaults are left out."""
        return [*super().to_arguments(), *self.options.to_arguments()]


def _as_value_error(task: str, options: dict[str, Any]) -> TaskOptions:
    """`parse_options`, whose error pydantic reports with the field."""
    try:
        return parse_options(task, options)
    except XaibenchError as error:
        raise ValueError(str(error)) from None
