"""How a model is trained: plain numbers, a learning rate as a function of progress, and the key of the result."""

from __future__ import annotations

import math
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from xaibench.cards import DatasetCard, ModelCard

LATER = ("optimizer", "gradient_clip", "accumulation", "labels", "class_weights", "head_epochs", "milestones")
"""Fields that were added later: keys leave them out where they have their defaults, so earlier keys stay valid."""


class Recipe(BaseModel):
    """How weights are optimised; the defaults are the paper's fine-tuning on deletions.

    start: from `plain` weights of the same model and data, from `scratch`, or by `transfer` from the model's published
    weights whatever their classes are, with a new head where these are others. head_epochs: the first so many of the
    epochs train the head alone. schedule: `step` multiplies the rate by step_factor every step_epochs, or instead after
    the epochs of milestones, both counted from the beginning of each stage (that of the head, that of all layers);
    `one-cycle` warms up over a share of all steps and decays to zero (both by a cosine);
    `constant`; `cosine` decays to zero from the first step; `lico` is the rate eta0 cos(7 pi k / 16 K) of step k of K
    (Lei et al. 2023). augmentation: `crop-flip` (a random resized crop and a flip), `flip` or `none`. optimizer: `sgd`,
    or `adam` and `adamw`, which ignore momentum and nesterov. gradient_clip: the largest norm of a gradient
    (None: any). accumulation: batches whose gradients are averaged before a step; the last step of an epoch takes as
    many as are left. Rates are per step, and a step sees accumulation times batch_size images.

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
    schedule: Literal["step", "one-cycle", "constant", "cosine", "lico"] = "step"
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
        return self

    @property
    def key_fields(self) -> dict[str, Any]:
        """What keys and headers of weights hold: all fields but those of `LATER` that have their defaults."""
        defaults = {name for name in LATER if getattr(self, name) == type(self).model_fields[name].default}
        return self.model_dump(mode="json", exclude=defaults)

    def rate_at(self, step: int, steps: int) -> float:
        """The learning rate of step 0..steps-1 of the whole training."""
        if self.schedule == "constant":
            return self.learning_rate
        if self.schedule == "step":
            return self.learning_rate * self.step_factor ** self._drops(step * self.epochs // steps)
        if self.schedule == "lico":
            return self.learning_rate * math.cos(7 * math.pi * step / (16 * steps))
        warm = self.warmup * steps if self.schedule == "one-cycle" else 0
        if step < warm:
            return self.learning_rate * (0.04 + 0.96 * (1 - math.cos(math.pi * step / warm)) / 2)
        return self.learning_rate * (1 + math.cos(math.pi * (step - warm) / (steps - warm))) / 2

    def _drops(self, epoch: int) -> int:
        """How often the rate has been lowered by this epoch (from 0) since its stage began."""
        done = epoch - self.head_epochs if epoch >= self.head_epochs else epoch
        return sum(done >= end for end in self.milestones) if self.milestones else done // self.step_epochs


def recipe_for(
    card: ModelCard, data: DatasetCard, task: dict[str, Any] | None = None, changes: dict[str, Any] | None = None
) -> Recipe:
    """The recipe of a model on a data set, with what is usual for a task, and changes.

    A data set's label smoothing is left out where the loss is binary cross entropy and its recipe does not say so.
    Raises pydantic's ValidationError for fields and values that no recipe has.
    """
    task, changes = task or {}, changes or {}
    labels = (data.recipe | card.recipe | task | changes).get("labels", data.labels)
    loss = {"loss": "binary-cross-entropy"} if card.probability == "sigmoid" or labels == "several" else {}
    usual = loss | {"labels": labels} | data.recipe
    start = {"start": "plain"} if card.plain and card.plain.file else {}
    recipe = Recipe.model_validate(_fields(usual, data, card.recipe, start, task, changes))
    if recipe.start != "scratch" and data.recipe.get("start") != "scratch":
        # the model's own numbers are for training from scratch, not for fine-tuning
        recipe = Recipe.model_validate(_fields(usual, data, start, task, changes))
    return recipe


def recipe_problem(error: ValidationError) -> str:
    """The first mistake in a recipe, in one line, with the nearest field for an unknown one."""
    first = error.errors()[0]
    name = ": ".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        close = get_close_matches(name, Recipe.model_fields, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(Recipe.model_fields)}"
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
