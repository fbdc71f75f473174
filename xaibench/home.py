"""Where xaibench keeps what it made or fetched (trained weights, downloads, the user's own cards), and where what ships
with it is."""

from __future__ import annotations

import os
from pathlib import Path

from xaibench.errors import XaibenchError


def shipped_folder(inside: str, beside: str) -> Path:
    """The folder of files that ship with xaibench: `inside` of the package, or `beside` it in a checkout."""
    package = Path(__file__).parent
    packed = package / inside
    return packed if packed.is_dir() else package.parent / beside


def home() -> Path:
    """The folder that XAIBENCH_HOME names in the environment, by default ~/.cache/xaibench; it may not exist yet.

    Raises XaibenchError where neither says a folder: there is no HOME, as in some containers, or no such user.
    """
    named = os.environ.get("XAIBENCH_HOME")
    try:
        return Path(named).expanduser() if named else Path.home() / ".cache" / "xaibench"
    except RuntimeError as error:
        raise XaibenchError(
            "no home folder is known here (HOME is not set); name a folder for weights and downloads by XAIBENCH_HOME"
        ) from error
