"""Options of guidance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from xaibench.configuration import Argument
from xaibench.errors import XaibenchError
from xaibench.training.options import TaskOptions

if TYPE_CHECKING:
    from xaibench.training.guidance.guided import Guided
    from xaibench.training.guidance.request import Search

INPUT = "Input"


class GuidedOptions(TaskOptions):
    """Guidance by a localisation loss; several lambdas, seeds and subsets are several trainings."""

    loss: str = "energy"
    """A name of `xaibench ls losses`."""
    loss_options: Annotated[dict[str, Any], Argument("--loss-option")] = Field(default_factory=dict)
    """Parameters of the loss to change, such as floor=1e-3."""
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

    def make_task(self, download: bool = False) -> Guided:
        """`Guided` with the one lambda that is given; raises XaibenchError for several, which are several tasks."""
        if len(self.lambdas) != 1:
            raise XaibenchError(f"{len(self.lambdas)} lambdas are several trainings; give one --lambda")
        return self._guided()

    def search(self) -> Search:
        """The trainings of all lambdas, seeds and subsets, and how one model is chosen."""
        from xaibench.training.guidance.request import Search

        more = self.repeats, self.subsets, self.choose, self.test_images
        return Search(self._guided(), self.lambdas, *more)

    def _guided(self) -> Guided:
        from xaibench.training.guidance.guided import Guided
        from xaibench.training.guidance.targets import Annotations

        guides = Annotations(self.annotations, self.fraction, self.dilate, self.subset, self.share_masks)
        weight = self.lambdas[0] if self.lambdas else 0.0
        return Guided(
            self.loss, self.attribution, self.layer, weight, guides, self.alpha, self.over, self.match,
            loss_options=self.loss_options,
        )  # fmt: skip
