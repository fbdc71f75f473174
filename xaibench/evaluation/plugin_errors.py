"""Errors of plug-ins: what a method raised, told apart from what a protocol raised, in one line with its name."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError, one_line
from xaibench.evaluation.plan import ProtocolRun

OTHERS = (Path(__file__).resolve().parents[1], Path(sysconfig.get_path("stdlib")))
INSTALLED = frozenset({"site-packages", "dist-packages"})


class MethodRaised(Exception):
    """What a method raised, as told apart from what a protocol raised."""

    def __init__(self, error: Exception):
        super().__init__(str(error))
        self.error = error


@contextmanager
def raised_by_method() -> Iterator[None]:
    """Whatever is raised in this block was raised by a method."""
    try:
        yield
    except Exception as error:
        raise MethodRaised(error) from error


@contextmanager
def left_as_it_is(e: Evidence, method: str) -> Iterator[None]:
    """What evidence shares between methods may not be changed in place in this block, which is one method's.

    Raises XaibenchError where it was. What was changed is then forgotten, so that other methods compute it again, and
    the images are as they were.
    """
    images, kept = e.images, e.images.clone()
    memos = [("_image_memo", e._image_memo), ("_pair_memo", e._pair_memo)]
    watched = {name: _Watched(memo) for name, memo in memos}
    vars(e).update(watched)
    before = _versions(images)
    try:
        yield
    finally:
        spoilt = {name: watched[name].spoilt() for name in watched}
        other_images = _versions(images) != before
        if other_images:
            images.copy_(kept)
        for name, memo in memos:
            memo.update(watched[name])
            for key in list(memo) if other_images else spoilt[name]:
                del memo[key]
            setattr(e, name, memo)
        changed = other_images or any(spoilt.values())
    if changed:
        raise XaibenchError(
            f"method {method} changes in place what all methods share, such as evidence.gradient(); change a copy: "
            ".clone()"
        )


class _Watched(dict):
    """What evidence remembers, with how often each tensor had been changed when it was put here."""

    def __init__(self, memo: dict):
        super().__init__()
        self._versions: dict[Any, list[int]] = {}
        for key, value in memo.items():
            self[key] = value

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self._versions[key] = _versions(value)

    def spoilt(self) -> list[Any]:
        """The keys of what has been changed since."""
        return [key for key, value in self.items() if _versions(value) != self._versions[key]]


def _versions(value: Any) -> list[int]:
    """How often each tensor in a value has been changed in place."""
    if isinstance(value, Tensor):
        return [] if value.is_inference() else [value._version]
    if is_dataclass(value) and not isinstance(value, type):
        value = [getattr(value, each.name) for each in fields(value)]
    if isinstance(value, dict):
        value = list(value.values())
    return [number for item in value for number in _versions(item)] if isinstance(value, (list, tuple)) else []


def call_protocol(run: ProtocolRun, part: Callable, *arguments: Any) -> Any:
    """What a part of a protocol returns; an error of somebody else's protocol becomes one line with its name."""
    try:
        return part(*arguments)
    except MethodRaised:
        raise
    except Exception as error:
        if run.context["protocol"]["source"] and not isinstance(error, XaibenchError):
            raise XaibenchError(f"protocol {run.name} failed: {in_one_line(error)}") from error
        raise


def in_one_line(error: Exception) -> str:
    """An error in one line, with its kind and its place in code of the user, unless it already speaks to the user."""
    text = one_line(error)
    return text if isinstance(error, XaibenchError) else f"{type(error).__name__}: {text}{_place(error)}"


def _place(error: Exception) -> str:
    """Where it was raised in a file of neither xaibench, Python nor an installed package, such as " (mine.py, line 7)";
    "" where there is none."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_file() and not INSTALLED & set(file.parts) and not any(map(file.resolve().is_relative_to, OTHERS)):
            return f" ({file.name}, line {frame.lineno})"
    return ""
