"""What the settings of a protocol may be, and the sentence that says so."""

from __future__ import annotations

import math
from collections.abc import Sequence

from xaibench.errors import XaibenchError

TARGETS, OUTPUTS = ("label", "prediction"), ("logit", "probability")


def check_choices(settings: object, **allowed: Sequence[str]) -> None:
    """Raises XaibenchError unless each named setting is one of its words."""
    for name, words in allowed.items():
        if getattr(settings, name) not in words:
            raise XaibenchError(f"{name} is {' or '.join(words)}, not {getattr(settings, name)!r}")


def check_whole(settings: object, **least: int) -> None:
    """Raises XaibenchError unless each named setting is a whole number of at least so many."""
    for name, low in least.items():
        value = getattr(settings, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise XaibenchError(f"{name} is a whole number of at least {low}, not {value!r}")


def check_positive(settings: object, *names: str) -> None:
    """Raises XaibenchError unless each named setting is a number above 0."""
    for name in names:
        value = getattr(settings, name)
        if not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise XaibenchError(f"{name} is a number above 0, not {value!r}")
