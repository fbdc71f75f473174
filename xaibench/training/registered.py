"""Functions of the registry that a training uses by name, such as losses of guidance and schedules, with options."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from xaibench import registry
from xaibench.cards import Card
from xaibench.errors import XaibenchError


@dataclass(frozen=True)
class RegisteredFunction:
    """A function that a card names, with its keyword parameters bound.

    options: every keyword parameter that it is called with, the card's and those that were given. source: identifies
    the code (`registry.source`), "" for what ships with xaibench.
    """

    card: Card
    function: Callable[..., Any] = field(repr=False)
    options: dict[str, Any]
    source: str

    def __call__(self, *inputs: Any) -> Any:
        """What the function returns for its inputs and the options."""
        return self.function(*inputs, **self.options)

    def key_fields(self, name: str) -> dict[str, Any]:
        """What a key says beside the name: source and options of a plug-in; of what ships, options that differ from the
        card. name: of the field that holds the function's name, such as `loss`."""
        if self.source:
            return {f"{name}_source": self.source, f"{name}_options": self.options}
        changed = {key: value for key, value in self.options.items() if value != self.card.parameters.get(key)}
        return {f"{name}_options": changed} if changed else {}


def find_function(kind: str, name: str, options: dict[str, Any] | None = None, inputs: int = 1) -> RegisteredFunction:
    """The function of a name with options over the parameters of its card.

    inputs: the number of arguments that the caller passes before the options. Raises XaibenchError for an unknown name,
    a target that cannot be imported, an option that the function does not have, and one that it needs and lacks.
    """
    card = registry.card(kind, name)
    function, options = registry.load(card), options or {}
    signature = inspect.signature(function)
    _check_options(card, signature, options, inputs)
    merged = card.parameters | options
    try:
        signature.bind(*[None] * inputs, **merged)
    except TypeError as error:
        raise XaibenchError(f"{kind} {name} cannot be called with {inputs} input(s) and {merged}: {error}") from None
    return RegisteredFunction(card, function, merged, registry.source(card))


def _check_options(card: Card, signature: inspect.Signature, options: dict[str, Any], inputs: int) -> None:
    parameters = list(signature.parameters.values())
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters[inputs:]]
    for option in options:
        if option not in known:
            close = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise XaibenchError(f"{card.kind} {card.name} has no option {option!r}; {hint}{has}")
