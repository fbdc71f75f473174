"""The card of a data set."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from xaibench.cards.model import ModelCard
from xaibench.cards.part import Card, Part
from xaibench.errors import XaibenchError

MIN_SIDE = 16  # pixels of the shorter side of images and photos
USUAL_SIDE = 224  # pixels a side of photos, for networks whose card says nothing else


class Geometry(Part):
    """How a photo becomes the model's input."""

    resize: int = Field(ge=1)
    """The shorter side in pixels."""
    crop: int = Field(ge=1)
    """The side in pixels of the square that is cut from the centre."""
    fit: Literal["crop", "stretch"] = "crop"
    """`stretch` resizes the photo to that square without keeping its aspect, and cuts nothing off."""

    @property
    def description(self) -> str:
        """Such as `shorter side 256 px, centre crop 224 px`."""
        if self.fit == "stretch":
            return f"stretched to {self.crop} x {self.crop} px"
        return f"shorter side {self.resize} px, centre crop {self.crop} px"

    @property
    def key_fields(self) -> dict[str, Any]:
        """The part of keys: fields that differ from their defaults."""
        return self.model_dump(exclude_defaults=True)


class Profile(Part):
    """How much computation a run uses."""

    images: int | None = None
    """The number of images; none: all."""
    overrides: dict[str, int | float | str] = {}
    """Values by the name of a parameter, for every method that has this parameter, or by `METHOD.PARAMETER` for one."""
    described: str = ""
    """What titles say of it; none: its values."""


FEWER_MASKS = {"masks": 400, "estimator": "control-variate"}
PROFILES = {
    "paper": Profile(),
    "fast": Profile(
        overrides={f"{name}.{key}": value for name in ("rise", "rise-u") for key, value in FEWER_MASKS.items()}
        | {f"{name}.steps": 16 for name in ("ig-sg", "ig-sg-abs", "ig-sg-sq")},
        described="RISE of 400 masks with a control variate, IG with SmoothGrad of 16 steps",
    ),
}
"""The profiles of every data set: the papers' parameters, and half of the passes at the same error."""


class DatasetCard(Card):
    """A data set."""

    kind: ClassVar[str] = "dataset"
    geometry: Geometry
    """Sizes in pixels."""
    min_cam_grid: int = 0
    """The least positions a side of a network's last map; a smaller map is enlarged by dilating the last stage."""
    needs_root: bool = True
    """Whether its images are in a folder, given by `--data-root`."""
    layout: str = ""
    """The content of that folder, as an indented list of files and folders."""
    train_parameters: dict[str, Any] = {}
    """Parameters for the training images, in place of those of the same names in `parameters`."""
    validation_parameters: dict[str, Any] = {}
    """Parameters for the validation images, by which the best epoch is chosen."""
    labels: Literal["single", "several"] = "single"
    """The target of training: the `single` label of an image, or all of its classes (`several`)."""
    recipe: dict[str, Any] = {}
    """The recipe by which models are trained on first use; empty: they are not trained."""
    classes_of: str = ""
    """The data set whose classes it has, in the same order, so that weights published for that one fit."""
    redistributable: bool = False
    """Whether its images may be published: the gallery of `xaibench publish` has them, and else their ids alone."""
    default_profile: str = "paper"
    """The profile of a run without --profile."""
    profiles: dict[str, Profile] = {}
    """Profiles by name; `paper`, the papers' own parameters, always exists."""

    def at_size(self, side: int | None) -> DatasetCard:
        """The same data set with images of side x side pixels; photos are resized in proportion. None changes nothing.

        Raises XaibenchError for sides below MIN_SIDE.
        """
        if side is None:
            return self
        if side < MIN_SIDE:
            raise XaibenchError(f"--image-size {side}: images have at least {MIN_SIDE} pixels a side")
        resize = round(self.geometry.resize * side / self.geometry.crop)
        geometry = self.geometry.model_copy(update={"resize": resize, "crop": side})
        return self.model_copy(update={"geometry": geometry})

    def for_model(self, model: ModelCard, side: int | None = None) -> DatasetCard:
        """The same data set with images of side x side pixels; None: of the model's own side, where this data set's is
        the usual one of photos, USUAL_SIDE.

        Raises XaibenchError for sides below MIN_SIDE.
        """
        own = model.image_size if self.geometry.crop == USUAL_SIDE else None
        return self.at_size(own if side is None else side)

    def profile(self, name: str | None) -> tuple[str, Profile]:
        """A profile by name; those of `PROFILES` exist for every data set (with all images, unless the card gives a
        number)."""
        name, known = name or self.default_profile, PROFILES | self.profiles
        if name not in known:
            raise XaibenchError(f"data set {self.name} has no profile {name!r}; it has {', '.join(sorted(known))}")
        return name, known[name]
