"""Python files of users as modules: each runs once in a process, under a unique name."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from xaibench.errors import XaibenchError, one_line
from xaibench.hashing import content_hash


def module_name(path: Path) -> str:
    """The name of the module that a Python file becomes, different for equal names in different folders."""
    return f"xaibench_plugin_{path.stem}_{content_hash(str(path.resolve()).encode())}"


class _FromSource(SourceFileLoader):
    """Runs a file from its source: bytecode of before an edit in the same second would run the code of before."""

    def get_code(self, fullname: str) -> CodeType:
        """The code of the file as it is now."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def load_file(path: Path, *, again: bool = False) -> ModuleType:
    """The module in a Python file, which may import the files beside it; run once in a process unless `again`.

    Raises XaibenchError when it is missing or fails while it runs.
    """
    if not path.is_file():
        raise XaibenchError(f"plug-in {path} does not exist")
    name = module_name(path)
    if name in sys.modules and not again:
        return sys.modules[name]
    if str(path.resolve().parent) not in sys.path:
        sys.path.append(str(path.resolve().parent))  # last: a helper never hides an installed package
    if path.suffix != ".py":
        raise XaibenchError(f"plug-in {path} is not a Python file: its name must end in .py")
    spec = importlib.util.spec_from_file_location(name, path, loader=_FromSource(name, str(path)))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, XaibenchError) or not isinstance(error, (Exception, SystemExit)):
            raise
        raise XaibenchError(
            f"plug-in {path} failed while loading: {type(error).__name__}: {one_line(error)}"
        ) from error
    return module
