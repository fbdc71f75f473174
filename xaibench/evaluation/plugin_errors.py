"""Errors of plug-ins: what a method raised, told apart from what a protocol raised, in one line with its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from xaibench.errors import XaibenchError, one_line
from xaibench.evaluation.plan import ProtocolRun


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
    """An error in one line, with its kind unless it already speaks to the user."""
    text = one_line(error)
    return text if isinstance(error, XaibenchError) else f"{type(error).__name__}: {text}"
