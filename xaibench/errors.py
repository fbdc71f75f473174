"""Errors for the user: one line with what was wrong and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from xaibench.kinds import PLURALS


class XaibenchError(Exception):
    """A mistake or an obstacle that the user can correct.

    The command line prints the message as one line on standard error and exits with status 2, without a traceback.
    Every other exception that reaches the user is a defect of xaibench and keeps its traceback.
    """

    def __str__(self) -> str:
        """The message on one line, whatever names of files and tensors are in it."""
        text = super().__str__()
        return text if len(text.splitlines()) == 1 else " ".join(text.split())


class PeerLost(XaibenchError):
    """Another process, which works together with this one, has ended, and so this one ends."""


def one_line(error: BaseException, most: int | None = None) -> str:
    """The message of an error of other code on one line, at most `most` characters of it."""
    return " ".join(str(error).split())[:most]


def did_you_mean(name: str, known: Iterable[str], most: int) -> str:
    """The question after the nearest known names, at most `most` of them; "" where none is near.

    >>> did_you_mean("gradcam", ["grad-cam", "rise"], most=1)
    'did you mean grad-cam?'
    """
    close = difflib.get_close_matches(name, list(known), n=most, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else ""


def unknown(kind: str, name: str, known: Iterable[str]) -> XaibenchError:
    """The error for a name that is not in the registry, with the nearest names that are.

    >>> str(unknown("method", "gradcam", ["grad-cam", "rise"]))
    "unknown method 'gradcam'; did you mean grad-cam? `xaibench ls methods` lists all"
    """
    close = did_you_mean(name.lower(), known, most=3)
    plural = PLURALS.get(kind, f"{kind}s")
    return XaibenchError(f"unknown {kind} {name!r}; {close and close + ' '}`xaibench ls {plural}` lists all")
