"""The cards for trainings: losses of guidance, schedules of the learning rate, named recipes."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from xaibench.cards.part import Card


class LossCard(Card):
    """A localisation loss of model guidance (`xaibench train guided --loss NAME`).

    Its target is a function of maps (N, H, W) and masks (N, H, W) that returns the loss of each image (N,).
    """

    kind: ClassVar[str] = "loss"


class ScheduleCard(Card):
    """A schedule of the learning rate (`--recipe schedule=NAME`).

    Its target is a function of a `Progress` that returns the factor of the recipe's learning rate.
    """

    kind: ClassVar[str] = "schedule"


class RecipeCard(Card):
    """Fields of a training's recipe under one name (`--recipe base=NAME`).

    It has no target; that of a plug-in is the function that returned the fields.
    """

    kind: ClassVar[str] = "recipe"
    fields: dict[str, Any] = Field(min_length=1)
    """Fields of the recipe; those that are given besides `base` replace them."""
