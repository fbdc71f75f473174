"""Where a result comes from: the command, the versions of packages, and the commit of the code."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

PACKAGES = ("xaibench", "torch", "torchvision", "timm", "captum", "grad-cam", "numpy", "scipy", "pandas", "pyarrow")


def command_line(argv: Sequence[str] | None = None) -> str:
    """The command as a shell would take it; argv is that of this process by default, its first part `xaibench`.

    >>> command_line(["/usr/bin/xaibench", "run", "idsds", "--out", "my results"])
    "xaibench run idsds --out 'my results'"
    """
    argv = sys.argv if argv is None else argv
    return shlex.join(["xaibench", *argv[1:]])


def package_versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that can change a number, without importing any."""
    versions = {"python": platform.python_version()}
    installed = {name: dist.version for name in PACKAGES for dist in metadata.distributions(name=name)}
    return versions | installed


def source_commit() -> str | None:
    """The git commit of the xaibench checkout, with `-dirty` if files were changed; None outside a checkout."""
    checkout = Path(__file__).resolve().parents[1]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):  # no git here: the record says null
        return None
    return result.stdout.strip() if result.returncode == 0 else None
