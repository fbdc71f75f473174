"""Where a result comes from: the command, the versions of packages, and the commit of the code."""

from __future__ import annotations

import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
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
    """Versions of Python and of the installed packages that can change a number, without importing any; of one that is
    installed twice, that which would be imported."""
    versions = {"python": platform.python_version()}
    found = {name: next(iter(metadata.distributions(name=name)), None) for name in PACKAGES}
    installed = {name: _version(dist) for name, dist in found.items() if dist}
    return versions | installed


def _version(dist: metadata.Distribution) -> str:
    """`dist.version`, which parses pages of description and licences for it."""
    head = (dist.read_text("METADATA") or "").partition("\n\n")[0]
    found = re.search(r"^Version: *(\S+) *$", head, re.MULTILINE)
    return found[1] if found else dist.version


@cache
def own_commit() -> str | None:
    """That of xaibench (`source_commit`) when this process first asked: its code is not read again."""
    return source_commit(Path(__file__).resolve().parents[1])


def source_commit(checkout: Path) -> str | None:
    """The git commit of a checkout, with `-dirty` if files were changed; None outside a checkout. Nothing in it is
    written, not even git's index, whose lock would stay where this process is killed."""
    if not (checkout / ".git").exists():
        return None
    commit = _git(checkout, "rev-parse", "HEAD")
    changes = _git(checkout, "--no-optional-locks", "status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:  # no git here: the record says null
        return None
    return f"{commit}-dirty" if changes else commit


def _git(checkout: Path, *words: str) -> str | None:
    """What git prints; None where it fails."""
    command = ["git", "-C", str(checkout), *words]
    try:
        result = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=10, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
