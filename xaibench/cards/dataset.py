"""What the card of a data set may say."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from xaibench.cards.part import Card, Part
from xaibench.errors import XaibenchError

MIN_SIDE = 16  # pixels of the shorter side of images and photos


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
