"""What a card may say: one pydantic model per kind of card. Cards are TOML files in `registry/<kind>s/`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from xaibench.errors import XaibenchError

KINDS = ("method", "model", "dataset", "protocol", "comparison")
MIN_SIDE = 16  # pixels of the shorter side of images and photos


class Part(BaseModel):
    """What all cards and parts of cards share: unknown fields are errors, and a text below a field describes it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Paper(Part):
    """Where a method, model, data set or protocol was published."""

    title: str
    """Its title."""
    year: int
    """The year of the version that is cited."""
    url: str = ""
    """Where it can be read."""


class Card(Part):
    """What every card says."""

    kind: ClassVar[str]
    name: str
    """The name on the command line: the file's, without `.toml`."""
    title: str
    """What it is, in a few words."""
    version: int = Field(1, ge=1)
    """Rises when the numbers that it leads to change; part of every key."""
    target: str = ""
    """The function or class, as `module:attribute`, or `file.py:attribute` with the path relative to the card's."""
    parameters: dict[str, Any] = {}
    """Keyword parameters of the target; part of every key."""
    tags: tuple[str, ...] = ()
    """Words to find it by; `paper` on a method makes it run by default."""
    paper: Paper | None = None
    """Where it was published."""
    notes: str = ""
    """What a user should know."""
    source: str = ""
    """Names the code of a plug-in; made by its decorator."""


class MethodCard(Card):
    """An attribution method. Its target is a function of evidence, or a class of captum or pytorch-grad-cam."""

    kind: ClassVar[str] = "method"
    role: Literal["method", "variant", "control", "oracle"] = "method"
    """How a board treats it: a method or variant is ranked, a control or oracle shown without a rank."""
    transform: Literal["raw", "abs"] = "raw"
    """What happens to the channel sum of what the target returns: its absolute value is taken, or nothing."""
    at_stage: bool = False
    """Whether its maps may be taken at a stage of the model (`--layer`), as those of a CAM layer always may."""
    families: tuple[str, ...] = ()
    """The model families that it is defined for; empty: all."""
    resize: Literal["bilinear", "nearest"] = "bilinear"
    """How its maps are enlarged to the size of the image; by `nearest`, every position stays one even block."""
    needs: tuple[Literal["cam-layer", "gradients", "relu", "completeness", "attention"], ...] = ()
    """What it needs of a model. `relu` (no other activation functions), `completeness` and `attention` (of a kind that
    the method has rules for) are tried before a run."""
    family_parameters: dict[str, dict[str, Any]] = {}
    """Parameters that are others for models of a family, by its name."""

    def for_family(self, family: str) -> MethodCard:
        """The card with the parameters that the method has for models of a family."""
        own = self.family_parameters.get(family)
        return self.model_copy(update={"parameters": self.parameters | own}) if own else self


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
    def facts(self) -> dict[str, Any]:
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


class Geometry(Part):
    """How a photo becomes the model's input."""

    resize: int = Field(ge=1)
    """The shorter side in pixels."""
    crop: int = Field(ge=1)
    """The side in pixels of the square that is cut from the centre."""
    fit: Literal["crop", "stretch"] = "crop"
    """`stretch` resizes the photo to that square without keeping its aspect, and cuts nothing off."""

    @property
    def words(self) -> str:
        """Such as `shorter side 256 px, centre crop 224 px`."""
        if self.fit == "stretch":
            return f"stretched to {self.crop} x {self.crop} px"
        return f"shorter side {self.resize} px, centre crop {self.crop} px"

    @property
    def facts(self) -> dict[str, Any]:
        """What keys hash: fields that are not as usual."""
        return self.model_dump(exclude_defaults=True)


class Profile(Part):
    """How much a run spends."""

    images: int | None = None
    """The number of images; none: all."""
    overrides: dict[str, int | float | str] = {}
    """Values for the parameters of these names, in every method that has them."""


class DatasetCard(Card):
    """A data set."""

    kind: ClassVar[str] = "dataset"
    geometry: Geometry
    """Sizes in pixels."""
    min_cam_grid: int = 0
    """A last map of fewer positions a side is enlarged by dilating the last stage."""
    needs_root: bool = True
    """Whether its images are in a folder, named by `--data-root`."""
    layout: str = ""
    """What that folder holds, as an indented list of files and folders."""
    train_parameters: dict[str, Any] = {}
    """Parameters of the images that are learnt from, over `parameters`."""
    validation_parameters: dict[str, Any] = {}
    """Parameters of the images that choose the best epoch."""
    labels: Literal["single", "several"] = "single"
    """What a model learns of an image: its `single` label, or all of its classes where there are `several`."""
    recipe: dict[str, Any] = {}
    """How models are trained on first use; empty: they are not."""
    default_profile: str = "paper"
    """The profile of a run that names none."""
    profiles: dict[str, Profile] = {}
    """Profiles by name; `paper`, the papers' own parameters, always exists."""

    def at_size(self, side: int | None) -> DatasetCard:
        """The same data set with images of side x side pixels; photos are resized in proportion. None changes nothing.

        Raises XaibenchError for sides that no image has.
        """
        if side is None:
            return self
        if side < MIN_SIDE:
            raise XaibenchError(f"--image-size {side}: images have at least {MIN_SIDE} pixels a side")
        resize = round(self.geometry.resize * side / self.geometry.crop)
        geometry = self.geometry.model_copy(update={"resize": resize, "crop": side})
        return self.model_copy(update={"geometry": geometry})

    def profile(self, name: str | None) -> tuple[str, Profile]:
        """A profile by name; `paper`, the papers' own parameters, exists for every data set (on all images, unless the
        card says how many)."""
        name, known = name or self.default_profile, {"paper": Profile(), **self.profiles}
        if name not in known:
            raise XaibenchError(f"data set {self.name} has no profile {name!r}; it has {', '.join(sorted(known))}")
        return name, known[name]


class FurtherMetric(Part):
    """A score that a protocol stores beside its main one."""

    range: tuple[float, float] | None = None
    """The lowest and the highest score; without this field it is unbounded."""
    higher_is_better: bool | None = None
    """The direction of the score; none: it only describes, and nothing is ranked by it."""
    undefined_cost: float = 0.0
    """What a map counts as that cannot be scored."""


class ProtocolCard(Card):
    """A protocol. Its target is a class; its parameters are the settings."""

    kind: ClassVar[str] = "protocol"
    weights: Literal["plain", "aligned"] = "plain"
    """The weights that it judges by default."""
    metric: str
    """The name of the score."""
    range: tuple[float, float]
    """The lowest and the highest score."""
    higher_is_better: bool
    """The direction of the score."""
    undefined_cost: float
    """What a map counts as that cannot be scored: the score of knowing nothing."""
    comparable_across_models: bool
    """Whether scores of different models may be compared."""
    further: dict[str, FurtherMetric] = {}
    """Scores that it stores beside the main one, by name; `xaibench leaderboard --metric` shows them."""


class ComparisonArm(Part):
    """One side of a comparison of designs."""

    model: str = ""
    """The model; empty: each of the comparison's models."""
    weights: str = ""
    """`plain` or `aligned`; empty: what the protocol asks for."""
    settings: dict[str, Any] = {}
    """Settings of the protocol."""
    recipe: dict[str, Any] = {}
    """How the model is trained otherwise than usual."""
    way: str = ""
    """A way of training, as in `xaibench train WAY`; empty: by the data set's recipe."""
    start: str = ""
    """The arm from whose weights it is trained further, where that is trained otherwise than usual."""
    options: dict[str, Any] = {}
    """Those of the way; of a guided one also `choose`, the epoch that is judged: `epg` or `score`."""
    training: int | None = Field(None, ge=0)
    """The seed of its one training; none: as many trainings as are asked for."""


class ComparisonJudge(Part):
    """What judges the arms of a comparison."""

    protocol: str
    settings: dict[str, Any] = {}
    """Of the protocol."""
    metric: str = ""
    """A further metric of the protocol; empty: its main one."""
    images: int | None = Field(None, ge=1)
    """How many; none: what the profile says."""

    @property
    def words(self) -> str:
        """Such as `obey, normalisation raw, intensity`."""
        settings = (f"{name} {value}" for name, value in self.settings.items())
        return ", ".join(word for word in (self.protocol, *settings, self.metric) if word)


class ComparisonCard(Card):
    """A design choice (`xaibench compare NAME`): arms that differ in it, and which of them are compared."""

    kind: ClassVar[str] = "comparison"
    question: str
    """What it asks."""
    claim: str = ""
    """What the paper says of it."""
    pairs: tuple[tuple[str, str], ...] = Field(min_length=1)
    """Arms that are compared, each with the choice that is the less and the more; changes are of the second."""
    arms: dict[str, ComparisonArm] = {}
    """What an arm is; an arm that is not here is the model of its name."""
    models: tuple[str, ...] = ()
    """The models of arms that name none, if --model does not."""
    judges: tuple[ComparisonJudge, ...] = Field((ComparisonJudge(protocol="idsds"),), min_length=1)
    """What judges the arms, if --protocol does not say."""
    dataset: str = "critters"
    """On what, if --dataset does not say."""
    methods: tuple[str, ...] = ()
    """By which methods, if --methods does not say; those that do not fit a model are left out. Empty: the paper's list
    and the controls."""

    def arm(self, name: str) -> ComparisonArm:
        """What the arm of a name is."""
        return self.arms.get(name) or ComparisonArm(model=name)

    def judged_by(self, protocols: Sequence[str] | None) -> list[ComparisonJudge]:
        """Protocols that are asked for, with the settings that the card has for them; by default the card's judges."""
        if not protocols:
            return list(self.judges)
        known = [judge for judge in self.judges if judge.protocol in protocols]
        return known + [ComparisonJudge(protocol=name) for name in protocols if name not in {j.protocol for j in known}]


CARD_TYPES: dict[str, type[Card]] = {
    c.kind: c for c in (MethodCard, ModelCard, DatasetCard, ProtocolCard, ComparisonCard)
}


def read_card(kind: str, path: Path) -> Card:
    """The card in a TOML file, whose name (without .toml) is the card's name.

    Raises XaibenchError that names the file, the line and the field for anything that a card may not say.
    """
    text = path.read_text(encoding="utf-8")
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise XaibenchError(f"{path}: not valid TOML: {error}") from None
    file, colon, attribute = str(fields.get("target", "")).rpartition(":")
    if colon and file.endswith(".py"):
        fields["target"] = f"{(path.parent / file).resolve()}:{attribute}"
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
