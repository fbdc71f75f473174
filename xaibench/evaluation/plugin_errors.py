"""Whose error it was: what a method raised, as told apart from what a protocol raised, in one line with its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from xaibench.errors import XaibenchError, one_line

if TYPE_CHECKING:
    from xaibench.evaluation.plan import ProtocolRun


class MethodRaised(Exception):
    """What a method raised, as told apart from what a protocol raised."""

    def __init__(self, error: Exception):
        super().__init__(str(error))
        self.error = error


@contextmanager
def raised_by_method() -> Iterator[None]:
    """What is raised in this block, a method raised."""
    try:
        yield
    except Exception as error:
        raise MethodRaised(error) from error


def call_protocol(judge: ProtocolRun, part: Callable, *arguments: Any) -> Any:
    """What a part of a protocol gives; an error of somebody else's protocol names it in one line."""
    try:
        return part(*arguments)
    except MethodRaised:
        raise
    except Exception as error:
        if judge.context["protocol"]["source"] and not isinstance(error, XaibenchError):
            raise XaibenchError(f"protocol {judge.card.name} failed: {in_one_line(error)}") from error
        raise


def in_one_line(error: Exception) -> str:
    """An error in one line, with its kind unless it already speaks to the user."""
    words = one_line(error)
    return words if isinstance(error, XaibenchError) else f"{type(error).__name__}: {words}"
