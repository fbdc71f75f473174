"""What `xaibench explain` asks for: the one list of its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from xaibench.configuration import Argument, Config, path_text, split_names
from xaibench.models.class_names import PROMPT


class ExplainConfig(Config):
    """Which photos are explained, what a model says of them, by which methods, and how the maps are drawn."""

    photos: Annotated[tuple[str, ...], Argument(hidden=True)]
    """Image files, or image ids of the data set."""
    model: str
    """A name of `xaibench ls models`, timm:NAME, clip:NAME, or FILE.py:BUILDER."""
    methods: Annotated[tuple[str, ...] | None, Argument(default="five quick ones of different kinds")] = None
    """Names of `xaibench ls methods`, or `all`; those that do not fit the model are left out, unless they are named."""
    out: Annotated[Path | None, Argument(default="PHOTO-explained.png")] = None
    """A .png, .svg or .pdf file."""
    dataset: str = "imagenet"
    """How photos are cut, what classes are called, whose weights are meant."""
    data_root: Annotated[Path | None, Argument(metavar="DIR")] = None
    """Its folder, for names of classes and image ids."""
    dataset_options: Annotated[dict[str, Any], Argument("--dataset-option")] = Field(default_factory=dict)
    """Such as split=train; exif=raw shows photos as they are stored, also files, which are else turned upright."""
    weights: Annotated[str | None, Argument(metavar="plain|aligned|PATH")] = None
    """By default plain, else aligned with deletions; nothing is trained."""
    classes_file: Annotated[Path | None, Argument(metavar="FILE")] = None
    """Of clip:NAME: the names of the classes, one a line, in the order of the data set's."""
    prompt: Annotated[str, Argument(metavar="TEXT")] = PROMPT
    """Of clip:NAME: the text of a class, whose name is put in place of {}."""
    target: Annotated[int | str | None, Argument(metavar="CLASS", default="prediction")] = None
    """Index or name of the class that is explained."""
    region: Annotated[str | None, Argument(metavar="predicted|image|FILE")] = None
    """Of a segmentation network: explain the class over the places where it is predicted, over the whole image, or over
    the white places of a mask."""
    layer: Annotated[str | None, Argument(metavar="STAGE", default="Input")] = None
    """Take maps there: Mid1, Mid2, Mid3 or Final."""
    style: Annotated[Literal["overlay", "map"], Argument(metavar="overlay|map")] = "overlay"
    """overlay (over the faint photo) or map."""
    profile: str | None = None
    """`paper`: the papers' parameters; `fast`: fewer passes at the same error; the data set may have a lighter one."""
    plugins: Annotated[tuple[Path, ...], Argument(flag="--plugin", metavar="FILE.py")] = ()
    """A file with @xaibench.method functions, or other decorated ones."""
    cards: Annotated[tuple[Path, ...], Argument(metavar="DIR")] = ()
    """A folder with methods/NAME.toml, models/, datasets/, protocols/."""
    download: bool = False
    """Allow published weights to be fetched."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of noise and masks."""

    @field_validator("photos", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """One photo, or several; a path is its text."""
        several = [value] if isinstance(value, (str, Path)) else list(value)
        if not several:
            raise ValueError("no input image is given; name one photo or several")
        return [str(photo) for photo in several]

    _names = field_validator("methods", mode="before")(split_names)
    _text = field_validator("weights", mode="before")(path_text)
