"""Checks of a protocol's settings. Each raises XaibenchError with the name of the setting and what it may be."""

from __future__ import annotations

import math
from collections.abc import Sequence

from xaibench.errors import XaibenchError

TARGETS, OUTPUTS = ("label", "prediction"), ("logit", "probability")


def check_choices(settings: object, **allowed: Sequence[str]) -> None:
    """Raises XaibenchError unless each named setting is one of its allowed values."""
    for name, values in allowed.items():
        if getattr(settings, name) not in values:
            raise XaibenchError(f"{name} is {' or '.join(values)}, not {getattr(settings, name)!r}")


def check_whole(settings: object, **lowest: int) -> None:
    """Raises XaibenchError unless each named setting is a whole number that is not below its lowest value."""
    for name, low in lowest.items():
        value = getattr(settings, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise XaibenchError(f"{name} is a whole number of at least {low}, not {value!r}")


def check_positive(settings: object, *names: str) -> None:
    """Raises XaibenchError unless each named setting is a finite number above 0."""
    for name in names:
        value = getattr(settings, name)
        if not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise XaibenchError(f"{name} is a number above 0, not {value!r}")


def check_between(name: str, value: object, low: float, high: float) -> None:
    """Raises XaibenchError unless the value of the setting `name` is a number from low to high."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise XaibenchError(f"{name} is a number from {low:g} to {high:g}, not {value!r}")
