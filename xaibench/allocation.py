"""Memory that the process has freed is used again, in place of being given back to the system and asked for anew."""

from __future__ import annotations

import os
from collections.abc import Mapping

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of <malloc.h>
BY_THE_USER = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Tells glibc to keep what is freed; whether it was told.

    By default glibc maps each tensor above 32 MiB anew, and the system fills it with zeros page by page: 3 to 25 % of
    the time of large passes on a CPU (docs/performance.md). No number changes; the process keeps some more memory.
    Nothing is done with other C libraries, and where the environment has settings of the user's own for allocation.
    """
    import ctypes

    if any(name.startswith(BY_THE_USER) for name in environment):
        return False
    library = ctypes.CDLL(None) if os.name == "posix" else None
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return bool(library.mallopt(MMAP_MAX, 0) and library.mallopt(TRIM_THRESHOLD, -1))
