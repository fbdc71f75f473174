"""The localisation loss of a guided training, looked up by name with its options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xaibench import registry
from xaibench.errors import XaibenchError
from xaibench.training.registered import RegisteredFunction, find_function


@dataclass(frozen=True)
class LocalisationLoss:
    """A loss of `xaibench ls losses`, whose results are checked."""

    registered: RegisteredFunction

    def __call__(self, maps: Tensor, masks: Tensor) -> Tensor:
        """The loss (N,) of each image; maps (N, H, W) signed, masks (N, H, W) bool or in [0, 1].

        Raises XaibenchError where the function returns anything else than N floating-point numbers, or numbers that do
        not depend on the maps by a graph.
        """
        values, name = self.registered(maps, masks), self.registered.card.name
        if not isinstance(values, Tensor) or values.shape != maps.shape[:1] or not values.is_floating_point():
            found = f"{values.dtype} {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
            raise XaibenchError(
                f"loss {name} gives {found}; it gives one floating-point value per image, ({len(maps)},)"
            )
        if torch.is_grad_enabled() and maps.requires_grad and not values.requires_grad:
            raise XaibenchError(f"loss {name} has no gradient with respect to the maps; compute it by torch operations")
        return values

    def key_fields(self, name: str) -> dict[str, Any]:
        """What keys of trainings say beside the loss's name; nothing for what ships and has the options of its card."""
        return self.registered.key_fields(name)


def find_loss(name: str, options: dict[str, Any] | None = None, argument: str = "--loss") -> LocalisationLoss:
    """The localisation loss of a name with options over the parameters of its card.

    argument: the option that gave the name, for messages. Raises XaibenchError for an unknown name or option.
    """
    known = registry.names("loss")
    if name not in known:
        raise XaibenchError(f"{argument} {name!r} is no localisation loss; take {', '.join(known)}")
    return LocalisationLoss(find_function("loss", name, options, inputs=2))
