"""The signals by which batch systems, closed terminals and `kill` end a process, where the system has them."""

from __future__ import annotations

import signal

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
