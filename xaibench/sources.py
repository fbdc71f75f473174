"""The code that a result depends on: digests of plug-in files and versions of packages, part of every result's key.

Code of xaibench is identified by the versions of its cards, all other code by its files: rows of an edited plug-in are
never mixed with those of the file before the edit.
"""

from __future__ import annotations

import ast
import inspect
import site
import sys
import sysconfig
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from xaibench.errors import XaibenchError
from xaibench.hashing import content_hash

PACKAGES = ("site-packages", "dist-packages")  # as folders of installed packages are called


def source_of(thing: Any) -> str:
    """A text that identifies the code of a function, class or object; "" for code of xaibench.

    For a file: its digest and that of the files in its folder that it imports. For an installed package: its name,
    version and the digest of the defining file. Without a file (a notebook): the digest of the code.
    """
    thing = thing if hasattr(thing, "__module__") and (callable(thing) or inspect.isclass(thing)) else type(thing)
    if str(thing.__module__).split(".")[0] == "xaibench":
        return ""
    try:
        path = inspect.getsourcefile(inspect.unwrap(thing))
        if path and Path(path).is_file():
            return file_source(Path(path), thing.__module__)
        return content_hash(inspect.getsource(thing).encode())
    except (OSError, TypeError):
        return content_hash(_code_text(getattr(thing, "__code__", thing)).encode())


def file_source(path: Path, module: str = "") -> str:
    """A text that identifies the code in a Python file, as in `source_of`; module is the name it was imported by, if
    any.

    Raises XaibenchError where there is no such file.
    """
    if not path.is_file():
        raise XaibenchError(f"plug-in {path} does not exist")
    name = _distribution(module.split(".")[0]) if module and is_installed(path) else None
    if name:
        return f"{name} {version(name)} {content_hash(path.read_bytes())}"
    parts = [f"{file.name} {content_hash(file.read_bytes())}" for file in files_of(path.resolve())]
    return content_hash("\n".join(parts).encode())


@cache
def _distribution(package: str) -> str | None:
    """The name under which the package of an import was installed."""
    return next(iter(packages_distributions().get(package, ())), None)


def is_installed(path: Path) -> bool:
    """Whether a file is part of an installed package, rather than of the user's own code."""
    return any(path.resolve().is_relative_to(folder) for folder in _installed())


@cache
def _installed() -> tuple[Path, ...]:
    """The folders that pip installs into: also those of the system and of other environments that are on the path, as
    with `venv --system-site-packages` and .pth files."""
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), site.getusersitepackages()]
    folders += [folder for folder in sys.path if Path(folder).name in PACKAGES]
    return tuple(Path(folder).resolve() for folder in folders if folder)


def files_of(path: Path) -> list[Path]:
    """A Python file and the files of its folder that it imports, and that those import, in the order of their names."""
    found, waiting = set(), [path]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += [near for name in _imported(file) if (near := path.parent / f"{name}.py").is_file()]
    return sorted(found, key=lambda file: file.name)  # paths themselves ignore case on Windows


def _imported(path: Path) -> set[str]:
    """First parts of the names that a Python file imports anywhere in it; none where it is not valid Python."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, MemoryError, RecursionError):  # the last two: nested too deeply
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
    return names


def _code_text(code: Any) -> str:
    """The content of a code object as a text that is the same in every process."""
    if not hasattr(code, "co_code"):
        return repr(code)
    return f"{code.co_code!r} {code.co_names} {[_code_text(constant) for constant in code.co_consts]}"
