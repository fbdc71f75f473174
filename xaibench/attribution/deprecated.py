"""Names that evidence had before 0.2, for plug-ins that still use them: each works as before and warns once for each
place of use."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any


def renamed(old: str, new: str) -> property:
    """A property of the name `old` that gives the attribute or method `new`, with a DeprecationWarning."""

    def get(self: Any) -> Any:
        warnings.warn(f"Evidence.{old} is now Evidence.{new}", DeprecationWarning, stacklevel=2)
        return getattr(self, new)

    get.__doc__ = f"Deprecated: `{new}`."
    return property(get)


def with_old_names(**names: str) -> Callable[[type], type]:
    """A class decorator that adds old names of attributes and methods, given as old="new"."""

    def add(cls: type) -> type:
        for old, new in names.items():
            setattr(cls, old, renamed(old, new))
        return cls

    return add
