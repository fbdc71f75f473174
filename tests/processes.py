"""What tests that start processes share."""

from __future__ import annotations

import signal


def hear_all() -> None:
    """Signals that a background job or nohup would hand down as ignored are heard again; for `preexec_fn`."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
