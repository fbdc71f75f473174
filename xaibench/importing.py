"""Python files of users as modules, each run once in a process under a unique name; and the files of packages that are
not imported."""

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


def package_file(package: str, file: str, what: str, extra: str = "", *, folder: bool = False) -> Path:
    """The path of a file or folder that an installed package brings; the package is found without being imported.

    package: the name that is imported, without dots. file: the path inside its folder. what: what needs it, such as
    `these weights`. extra: the extra of xaibench that installs it. folder: whether the file is one. Another package of
    that name may come first on Python's path, so what is found is to be compared with what it should be. Raises
    XaibenchError with the command of pip where the package is not installed, and where it has no such file.
    """
    install = f"python -m pip install '{f'xaibench[{extra}]' if extra else package}'"
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # a module of that name that some code put into sys.modules
        spec = None
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        raise XaibenchError(f"{what} are in the package {package}, which is not installed: {install}")
    paths = [Path(place, file) for place in folders]
    found = next((path for path in paths if (path.is_dir() if folder else path.is_file())), None)
    if found is None:
        raise XaibenchError(
            f"{what} are in the package {package}, but what is installed in {folders[0]} has no {file}: {install}"
        )
    return found
