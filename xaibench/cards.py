"""What a card may say: one pydantic model per kind of card. Cards are TOML files in `registry/<kind>s/`."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xaibench.errors import XaibenchError

KINDS = ("method", "model", "dataset", "protocol")


class Paper(BaseModel):
    """Where a method, model, data set or protocol was published."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    title: str
    year: int
    url: str = ""


class Card(BaseModel):
    """What every card says. `target` is `module:attribute`; `version` rises when the numbers it leads to change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: ClassVar[str]
    name: str
    title: str
    version: int = Field(1, ge=1)
    target: str = ""
    parameters: dict[str, Any] = {}
    tags: tuple[str, ...] = ()
    paper: Paper | None = None
    notes: str = ""
    source: str = ""  # digest of the file that defines a plug-in; empty for what ships with xaibench


class MethodCard(Card):
    """An attribution method: a function of evidence, its parameters, and what it needs of a model.

    transform is applied to the channel sum of what the function returns (`abs` or none); role says how a board treats
    it: `method` is ranked and runs by default when tagged `paper`, `variant` is ranked and runs when named, `control`
    and `oracle` are shown without a rank. families are the model families it is defined for (empty: all).
    """

    kind: ClassVar[str] = "method"
    role: Literal["method", "variant", "control", "oracle"] = "method"
    transform: Literal["raw", "abs"] = "raw"
    families: tuple[str, ...] = ()
    needs: tuple[Literal["cam-layer", "gradients"], ...] = ()


class Alignment(BaseModel):
    """What deletions a model has been fine-tuned on: the grid of cells, what replaces a cell, and how often."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    grid: int = Field(ge=1)
    baseline: Literal["zero", "random", "blur"]
    probability: float = Field(gt=0, le=1)

    def __str__(self) -> str:
        return f"grid {self.grid}, {self.baseline} baseline, probability {self.probability:g}"


class PublishedWeights(BaseModel):
    """Weights that can be fetched: from a URL, or from torchvision's own list (`enum`, such as a Weights entry)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    dataset: str
    url: str = ""
    enum: str = ""
    sha256: str = ""  # of the whole file, or its beginning
    licence: str = ""
    alignment: Alignment | None = None


class ModelCard(Card):
    """A model: the builder's target and parameters, the encoding of its input, its CAM layer, and published weights."""

    kind: ClassVar[str] = "model"
    family: str = "cnn"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    cam_layer: str = ""  # empty: the last module with a spatial output, found by a probe
    probability: Literal["softmax", "sigmoid"] = "softmax"
    plain: PublishedWeights | None = None
    aligned: PublishedWeights | None = None


class Geometry(BaseModel):
    """How a photo becomes the model's input: shorter side to `resize`, centre crop of `crop` (pixels)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    resize: int = Field(ge=1)
    crop: int = Field(ge=1)


class Profile(BaseModel):
    """How much a run spends: the number of images (none: all), and overrides of parameters of that name in methods."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    images: int | None = None
    overrides: dict[str, int | float | str] = {}


class DatasetCard(Card):
    """A data set: how to open it, its geometry, its profiles and, where models are trained on first use, the recipe."""

    kind: ClassVar[str] = "dataset"
    geometry: Geometry
    min_cam_grid: int = 0  # a smaller last map is enlarged by dilating the last stage
    needs_root: bool = True
    train_parameters: dict[str, Any] = {}
    validation_parameters: dict[str, Any] = {}
    recipe: dict[str, Any] = {}  # empty: models are not trained on first use
    default_profile: str = "paper"
    profiles: dict[str, Profile] = {}

    def profile(self, name: str | None) -> tuple[str, Profile]:
        """A profile by name; `paper`, the papers' own parameters, exists for every data set (on all images, unless the
        card says how many)."""
        name, known = name or self.default_profile, {"paper": Profile(), **self.profiles}
        if name not in known:
            raise XaibenchError(f"data set {self.name} has no profile {name!r}; it has {', '.join(sorted(known))}")
        return name, known[name]


class ProtocolCard(Card):
    """A protocol: its class and settings, the weights it judges, and how its score is read."""

    kind: ClassVar[str] = "protocol"
    weights: Literal["plain", "aligned"] = "plain"
    metric: str
    range: tuple[float, float]
    higher_is_better: bool
    undefined_cost: float  # what a map that cannot be scored counts as: the score of knowing nothing
    comparable_across_models: bool


CARD_TYPES: dict[str, type[Card]] = {c.kind: c for c in (MethodCard, ModelCard, DatasetCard, ProtocolCard)}


def read_card(kind: str, path: Path) -> Card:
    """The card in a TOML file, whose name (without .toml) is the card's name.

    Raises XaibenchError that names the file, the line and the field for anything that a card may not say.
    """
    text = path.read_text(encoding="utf-8")
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise XaibenchError(f"{path}: not valid TOML: {error}") from None
    try:
        return CARD_TYPES[kind].model_validate({"name": path.name.removesuffix(".toml"), **fields})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        line = _line_of(text, [str(part) for part in first["loc"]])
        reason = "no such field" if first["type"] == "extra_forbidden" else first["msg"]
        raise XaibenchError(f"{path}:{line}: {field}: {reason}; fields: {_field_names(kind)}") from None


def _line_of(text: str, location: list[str]) -> int:
    """The line (from 1) where the deepest named key of a location stands; 1 where it is missing."""
    for key in reversed(location):
        for number, line in enumerate(text.splitlines(), 1):
            if re.search(rf"(^|[\s{{,\[.]){re.escape(key)}\s*[=.\]]", line.split("#")[0]):
                return number
    return 1


def _field_names(kind: str) -> str:
    return ", ".join(CARD_TYPES[kind].model_fields)
