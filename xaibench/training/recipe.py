"""How a model is trained: plain numbers, a learning rate as a function of progress, and the key of the result."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from xaibench import registry
from xaibench.cards import DatasetCard, ModelCard
from xaibench.errors import XaibenchError, did_you_mean
from xaibench.training.registered import RegisteredFunction, find_function
from xaibench.training.schedules import Progress

LATER = (
    "optimizer", "gradient_clip", "accumulation", "labels", "class_weights", "head_epochs", "milestones",
    "schedule_options", "statistics", "dropout",
)  # fmt: skip
"""Fields that were added later: keys leave them out where they have their defaults, so earlier keys stay valid."""


class Recipe(BaseModel):
    """How weights are optimised; the defaults are the paper's fine-tuning on deletions.

    start: from `plain` weights of the same model and data, from `scratch`, or by `transfer` from the model's published
    weights whatever their classes are, with a new head where these are others. head_epochs: the first so many of the
    epochs train the head alone. schedule: `step` multiplies the rate by step_factor every step_epochs, or instead after
    the epochs of milestones, both counted from the beginning of each stage (that of the head, that of all layers);
    `one-cycle` warms up over a share of all steps and decays to zero (both by a cosine);
    `constant`; `cosine` decays to zero from the first step; `lico` is the rate eta0 cos(7 pi k / 16 K) of step k of K
    (Lei et al. 2023); any other name of `xaibench ls schedules` is a plug-in, whose parameters are changed by
    schedule_options. augmentation: `crop-flip` (a random resized crop and a flip), `flip` or `none`. optimizer: `sgd`,
    or `adam` and `adamw`, which ignore momentum and nesterov. gradient_clip: the largest norm of a gradient
    (None: any). accumulation: batches whose gradients are averaged before a step; the last step of an epoch takes as
    many as are left. Rates are per step, and a step sees accumulation times batch_size images. statistics: what batch
    normalisation normalises by while it learns, those of each `batch`, or those that the weights `kept` (few images, or
    crops unlike the images of a run, would replace them). dropout: `drawn`, or `off`: layers that draw while they learn
    (dropout, stochastic depth) are in evaluation mode.

    label_smoothing is for cross entropy; with binary cross entropy it must be 0.

    labels: `single` learns one label an image, `several` all classes of an image, as multi-hot targets of binary cross
    entropy. class_weights: images count in the loss by the inverse number of training images of their class.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    start: Literal["plain", "scratch", "transfer"] = "plain"
    epochs: int = Field(30, ge=1)
    batch_size: int = Field(256, ge=1)
    learning_rate: float = Field(0.001, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(1e-4, ge=0)
    schedule: str = "step"
    step_epochs: int = Field(10, ge=1)
    step_factor: float = Field(0.1, gt=0)
    warmup: float = Field(0.3, ge=0, lt=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    loss: Literal["cross-entropy", "binary-cross-entropy"] = "cross-entropy"
    augmentation: Literal["crop-flip", "flip", "none"] = "crop-flip"
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    gradient_clip: float | None = Field(None, gt=0)
    accumulation: int = Field(1, ge=1)
    labels: Literal["single", "several"] = "single"
    class_weights: bool = False
    head_epochs: int = Field(0, ge=0)
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = ()
    schedule_options: dict[str, Any] = {}
    statistics: Literal["batch", "kept"] = "batch"
    dropout: Literal["drawn", "off"] = "drawn"

    @field_validator("schedule")
    @classmethod
    def _registered(cls, value: str) -> str:
        try:
            registry.card("schedule", value)
        except XaibenchError as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("milestones", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{value!r} is not a list of epochs; write it as milestones=[4,6]")
        return value

    @model_validator(mode="after")
    def _possible(self) -> Recipe:
        if self.labels == "several" and self.loss != "binary-cross-entropy":
            raise ValueError(
                "labels=several needs loss=binary-cross-entropy; or learn one label an image, labels=single"
            )
        if self.labels == "several" and self.class_weights:
            raise ValueError("class_weights are for images of one class; leave them out, or set labels=single")
        if self.label_smoothing and self.loss == "binary-cross-entropy":
            raise ValueError("label_smoothing is for cross entropy; with binary-cross-entropy set label_smoothing=0")
        if self.milestones and self.schedule != "step":
            raise ValueError(f"milestones need schedule=step, not {self.schedule}; change one of the two")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError("milestones are epochs in order, such as milestones=[4,6]")
        if self.head_epochs > self.epochs:
            raise ValueError(f"head_epochs={self.head_epochs} is more than epochs={self.epochs}")
        if self.schedule_options and not registry.source(registry.card("schedule", self.schedule)):
            raise ValueError(
                f"schedule {self.schedule} takes no schedule_options; its numbers are fields of the recipe, such as "
                "warmup=0.1"
            )
        try:
            self._schedule()
        except XaibenchError as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def key_fields(self) -> dict[str, Any]:
        """What keys and headers of weights hold: all fields but those of `LATER` that have their defaults.

        Of a plug-in schedule also the source, and all its options.
        """
        defaults = {name for name in LATER if getattr(self, name) == type(self).model_fields[name].default}
        schedule = self._schedule()
        plugged_in = schedule.key_fields("schedule") if schedule.source else {}
        return self.model_dump(mode="json", exclude=defaults) | plugged_in

    def rate_at(self, step: int, steps: int) -> float:
        """The learning rate of step 0..steps-1 of the whole training."""
        return self.learning_rate * self._schedule()(Progress(step, steps, self.epochs, self.head_epochs))

    def _schedule(self) -> RegisteredFunction:
        """The schedule with its options: of those that ship they are fields of the recipe of the same names."""
        card = registry.card("schedule", self.schedule)
        own = {} if registry.source(card) else {name: getattr(self, name) for name in card.parameters}
        return find_function("schedule", self.schedule, own | self.schedule_options)


def recipe_for(
    card: ModelCard, data: DatasetCard, task: dict[str, Any] | None = None, changes: dict[str, Any] | None = None
) -> Recipe:
    """The recipe of a model on a data set, with what is usual for a task, and changes.

    A data set's label smoothing is left out where the loss is binary cross entropy and its recipe does not say so.
    Raises pydantic's ValidationError for fields and values that no recipe has.
    """
    task, changes = task or {}, expand_recipe(changes or {})
    labels = (data.recipe | card.recipe | task | changes).get("labels", data.labels)
    loss = {"loss": "binary-cross-entropy"} if card.probability == "sigmoid" or labels == "several" else {}
    usual = loss | {"labels": labels} | data.recipe
    start = {"start": "plain"} if card.plain and card.plain.is_local else {}
    recipe = Recipe.model_validate(_fields(usual, data, card.recipe, start, task, changes))
    if recipe.start != "scratch" and data.recipe.get("start") != "scratch":
        # the model's own numbers are for training from scratch, not for fine-tuning
        recipe = Recipe.model_validate(_fields(usual, data, start, task, changes))
    return recipe


def expand_recipe(changes: dict[str, Any]) -> dict[str, Any]:
    """Changes of a recipe with the fields of the named recipe `base` below them, where they have a `base`.

    Raises XaibenchError for an unknown name.
    """
    if "base" not in changes:
        return changes
    own = {name: value for name, value in changes.items() if name != "base"}
    return _layered(registry.card("recipe", changes["base"]).fields, own)


def recipe_problem(error: ValidationError) -> str:
    """The first mistake in a recipe, in one line, with the nearest field for an unknown one."""
    first = error.errors()[0]
    name = ": ".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        hint = did_you_mean(name, Recipe.model_fields, most=1) or f"it has {', '.join(Recipe.model_fields)}"
        return f"it has no field {name!r}; {hint}"
    problem = first["msg"].removeprefix("Value error, ")
    return f"{name}: {problem}" if name else problem


def _fields(usual: dict[str, Any], data: DatasetCard, *layers: dict[str, Any]) -> dict[str, Any]:
    """`_layered`, without the label smoothing of a data set whose loss has been changed to binary cross entropy."""
    fields = _layered(usual, *layers)
    changed = fields.get("loss") == "binary-cross-entropy" != data.recipe.get("loss")
    if changed and not any("label_smoothing" in layer for layer in layers):
        fields.pop("label_smoothing", None)
    return fields


def _layered(*layers: dict[str, Any]) -> dict[str, Any]:
    """Fields of recipes, later ones over earlier ones; milestones go with the schedule that they are of."""
    fields: dict[str, Any] = {}
    for layer in layers:
        if layer.get("schedule", "step") != "step" or "step_epochs" in layer:
            fields.pop("milestones", None)
        fields |= layer
    return fields
