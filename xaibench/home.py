"""Where xaibench keeps what it made or fetched: trained weights, downloads, the user's own cards."""

from __future__ import annotations

import os
from pathlib import Path

from xaibench.errors import XaibenchError


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
