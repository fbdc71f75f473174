"""Where xaibench keeps what it made or fetched: trained weights, downloads, the user's own cards."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The folder that XAIBENCH_HOME names in the environment, by default ~/.cache/xaibench; it may not exist yet."""
    named = os.environ.get("XAIBENCH_HOME")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "xaibench"
