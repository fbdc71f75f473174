"""What a run asks for: the one list of its options, from TOML, JSON, the command line or Python.

The text below each field is its help, in `xaibench run --help`, in the reference and in `xaibench.run`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from xaibench.configuration import Argument, Config, path_text, split_names
from xaibench.models.class_names import PROMPT

PRECISIONS = ("float32", "tf32", "float64", "bfloat16", "float16")
Size = Annotated[int, Field(ge=1)] | Literal["auto"]


class RunConfig(Config):
    """A run of `xaibench run`: which methods are evaluated on which model and images, under which protocols, and how.

    Names are those of `xaibench ls`. Fields that are None take what the data set's card and its profile say.
    """

    protocols: Annotated[tuple[str, ...], Field(min_length=1), Argument(flag="", metavar="PROTOCOL[,PROTOCOL]")]
    """Names of `xaibench ls protocols`."""
    model: Annotated[str, Argument(metavar="MODEL[,MODEL]")]
    """A name of `xaibench ls models`, timm:NAME, clip:NAME, or FILE.py:BUILDER. Several, or 'resnet*'."""
    dataset: str = "critters"
    """A name of `xaibench ls datasets`."""
    data_root: Annotated[Path | None, Argument(metavar="DIR")] = None
    """The folder with its images."""
    weights: Annotated[str | None, Argument(metavar="aligned|self-aligned|plain|PATH")] = None
    """By default what the protocol asks for; self-aligned: without labels."""
    classes_file: Annotated[Path | None, Argument(metavar="FILE")] = None
    """Of clip:NAME: the names of the classes, one a line, in the order of the data set's."""
    prompt: Annotated[str, Argument(metavar="TEXT")] = PROMPT
    """Of clip:NAME: the text of a class, whose name is put in place of {}."""
    reference_model: Annotated[str | None, Argument(default="--model")] = None
    """The second model, where a protocol compares two."""
    reference_weights: Annotated[str | None, Argument(metavar="aligned|self-aligned|plain|PATH", default="plain")] = (
        None
    )
    """Of the second model."""
    masks: Path | None = None
    """Masks of `xaibench masks make`: one more level of objects."""
    methods: Annotated[tuple[str, ...] | None, Argument(default="the paper's list and the controls")] = None
    """Names of `xaibench ls methods`, or `all`."""
    layer: Annotated[str | None, Argument(metavar="STAGE", default="Input")] = None
    """Take maps there: Mid1, Mid2, Mid3 or Final."""
    images: Annotated[int | None, Field(ge=1), Argument(default="the profile's")] = None
    """How many images of the data set's one list."""
    until_stable: Annotated[str | None, Argument(metavar="top-K|all")] = None
    """Stop once the order is settled: of all methods, or which are the first K and in which order. At most --images."""
    confidence: Annotated[float, Field(gt=0, lt=1), Argument(metavar="P")] = 0.95
    """With which --until-stable calls an order settled, under each protocol."""
    margin: Annotated[float | None, Field(gt=0), Argument(metavar="SCORE")] = None
    """Of --until-stable: methods whose means differ by this much at most are equivalent; then they need no order."""
    image_size: Annotated[int | None, Argument(metavar="PIXELS", default="the data set's")] = None
    """The side of images."""
    profile: str | None = None
    """`paper`: the papers' parameters; `fast`: half of the passes at the same error; the data set's card may have a
    lighter default."""
    out: Annotated[Path, Argument(metavar="DIR")] = Path("results")
    """The results folder."""
    training_seed: Annotated[int | None, Field(ge=0), Argument(default="0")] = None
    """Of weights that a run trains itself."""
    recipe: dict[str, Any] = {}
    """Train them otherwise, such as epochs=4."""
    dataset_options: Annotated[dict[str, Any], Argument(flag="--dataset-option")] = {}
    """Of the data set, such as rule=one:beak."""
    settings: Annotated[dict[str, Any], Argument(flag="--setting")] = {}
    """Of protocols, as in `xaibench show protocol NAME`: grid=2 for all that have it, sds.grid=2 for one."""
    plugins: Annotated[tuple[Path, ...], Argument(flag="--plugin", metavar="FILE.py")] = ()
    """A file with @xaibench.method functions, or other decorated ones."""
    cards: Annotated[tuple[Path, ...], Argument(metavar="DIR")] = ()
    """A folder with methods/NAME.toml, models/, datasets/, protocols/."""
    download: bool = False
    """Allow published weights to be fetched."""
    keep_maps: bool = False
    """Also keep the attribution maps."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    precision: str = "float32"
    """float32, tf32 (NVIDIA GPUs), float64, bfloat16 or float16."""
    batch_size: Annotated[Size, Argument(metavar="auto|N")] = "auto"
    """Images that are worked on together."""
    chunk_size: Annotated[Size, Argument(metavar="auto|N")] = "auto"
    """Inputs in one pass of the network."""
    workers: Annotated[Annotated[int, Field(ge=0)] | Literal["auto"], Argument(metavar="auto|N")] = "auto"
    """Processes that load images."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of noise, masks and baselines."""
    shard: Annotated[str | None, Argument(metavar="I/N")] = None
    """Compute part I of N of the images; N processes with the same --out share one run."""
    engine: Annotated[Literal["local", "ray"], Argument(metavar="local|ray")] = "local"
    """Where images are computed: in this process, or as tasks of Ray, on all cores or on the machines of a cluster."""
    address: Annotated[str | None, Argument(metavar="HOST:PORT", default="a Ray of its own here")] = None
    """Of a Ray cluster."""
    gpus_per_task: Annotated[float | None, Field(gt=0), Argument(metavar="N", default="1 on GPUs")] = None
    """Of Ray: .5 puts two tasks on one GPU."""

    _names = field_validator("protocols", "methods", mode="before")(split_names)

    @field_validator("methods")
    @classmethod
    def _some(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value == ():
            raise ValueError("a list of names is empty")
        return value

    _text = field_validator("weights", "reference_weights", "model", "reference_model", mode="before")(path_text)

    @field_validator("image_size", "images", "training_seed", "seed", "confidence", "margin", mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        """Booleans are no numbers."""
        if isinstance(value, bool):
            raise ValueError(f"{value} is no number")
        return value

    @field_validator("batch_size", "chunk_size", "workers", mode="before")
    @classmethod
    def _size(cls, value: Any, info: Any) -> Any:
        least = 0 if info.field_name == "workers" else 1
        if value == "auto":
            return value
        try:
            number = int(value)
        except (TypeError, ValueError):
            number = least - 1
        if number < least:
            raise ValueError(f"--{info.field_name.replace('_', '-')} is auto or a number from {least}, not {value!r}")
        return number

    @field_validator("precision")
    @classmethod
    def _precision(cls, value: str) -> str:
        if value not in PRECISIONS:
            raise ValueError(f"unknown precision {value!r}; it is one of {', '.join(PRECISIONS)}")
        return value

    @field_validator("shard")
    @classmethod
    def _part(cls, value: str | None) -> str | None:
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", value or "1/1")
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise ValueError(f"--shard is I/N, part I of N such as 1/4, not {value!r}")
        return value

    @field_validator("until_stable")
    @classmethod
    def _places(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"all|top-[1-9][0-9]{0,5}", value):
            raise ValueError(f"--until-stable is all, or top-K such as top-3, not {value!r}")
        return value

    @model_validator(mode="after")
    def _one_stop(self) -> RunConfig:
        if self.until_stable and self.shard:
            raise ValueError("--until-stable looks at all images so far, which no part of them has; leave out --shard")
        if not self.until_stable and (self.margin is not None or self.confidence != 0.95):
            raise ValueError("--confidence and --margin are of --until-stable; give it, or leave them out")
        return self

    @model_validator(mode="after")
    def _of_ray(self) -> RunConfig:
        if self.engine != "ray" and (self.address is not None or self.gpus_per_task is not None):
            raise ValueError("--address and --gpus-per-task are of Ray; add --engine ray, or leave them out")
        if self.address is not None and not re.fullmatch(r"[^:/\s]+:[0-9]{1,5}|auto", self.address):
            raise ValueError(f"--address is HOST:PORT of a Ray cluster, such as 10.0.0.1:6379, not {self.address!r}")
        if (self.gpus_per_task or 0) > 1:
            raise ValueError("--gpus-per-task is at most 1: a task computes on one GPU")
        return self

    @property
    def part(self) -> tuple[int, int]:
        """Which part of the images is computed, counted from 0, and how many parts there are."""
        number, count = map(int, (self.shard or "1/1").split("/"))
        return number - 1, count

    @property
    def whole(self) -> RunConfig:
        """The request of the whole run that this one is a part of."""
        return self.model_copy(update={"shard": None})
