"""What names objects of a Python session in keys: their code and every value that their results can depend on.

Of code in a file that is the user's own: the file with the files beside it, the place in it, and the globals that it
reads, as they are now. Of installed packages: name, version and file. Of values: what pickle would store.

What cannot be named that way (an open file, a generator) is refused, and the user gives a name:
`xaibench.named(thing, "name")`, and then answers for it that the same name means the same thing.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xaibench.errors import XaibenchError
from xaibench.evaluation.object_code import (
    functions_of,
    has_code,
    hidden_buffers,
    is_own,
    loaded_names,
    place_of,
    script_of,
)
from xaibench.hashing import content_hash
from xaibench.sources import source_of

PLAIN = (bool, int, float, complex, str, bytes, type(None))
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+|object at")
DEEPEST = 40
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
OWN_TO_TORCH = {*vars(nn.Module()), "_compiled_call_impl", "_is_torch_compile"}  # attributes that every module has


class Unnamable(Exception):
    """A value that no text names; the message says which."""


def module_source(net: nn.Module) -> str:
    """What names the structure and code of a network, without its parameters, whose digest is part of a key anyway.

    The classes of all its modules, how they are put together, their hooks, and the attributes of each. Raises
    XaibenchError where an attribute or a hook cannot be named.
    """
    try:
        return content_hash(_Names().module(net).encode())
    except Unnamable as error:
        raise _asks_for_name("model", type(net).__name__, error) from None


def function_source(function: Callable) -> str:
    """What names a function of evidence: its code, its file, and the values that it has closed over or reads.

    Raises XaibenchError where one of these cannot be named.
    """
    try:
        return content_hash(_Names().value(function).encode())
    except Unnamable as error:
        raise _asks_for_name("method", getattr(function, "__name__", type(function).__name__), error) from None


class _Names:
    """Texts that are the same for values from which the same follows.

    Functions, classes and networks are written out once and then referred to by their number; values that contain
    themselves refer to the place where they began.
    """

    def __init__(self) -> None:
        self._known: dict[int, int] = {}  # numbers of functions, classes and networks by their id
        self._inside: list[int] = []  # ids of the values that are being written out

    def value(self, value: Any) -> str:
        """The text of any value; raises Unnamable."""
        if isinstance(value, PLAIN):
            return repr(value)
        if isinstance(value, (torch.dtype, torch.device, torch.Size)):
            return repr(value)
        if isinstance(value, np.generic):
            return f"{value.dtype} {value.tobytes().hex()}"
        if isinstance(value, (Tensor, np.ndarray)):
            return self._array(value)
        if id(value) in self._inside:
            return f"itself {self._inside.index(id(value))}"
        if len(self._inside) > DEEPEST:
            raise Unnamable("it is nested too deeply")
        self._inside.append(id(value))
        try:
            return self._compound(value)
        except RecursionError:
            raise Unnamable("it is nested too deeply") from None
        finally:
            self._inside.pop()

    def module(self, net: nn.Module) -> str:
        """The text of a network without its parameters."""
        if again := self._again(net):
            return again
        if compiled := getattr(net, "_orig_mod", None):  # torch.compile
            return self.module(compiled)
        parts = [repr(net)]
        if ADDRESS.search(parts[0]):
            raise Unnamable("its printed form holds an address")
        for path, module in net.named_modules():
            self._again(module)
            parts += [f"{path} {type(module).__qualname__} {self._class(type(module))}"]
            parts += [f"{path} script {self.value(code)}" for code in script_of(module)]
            parts += [
                f"{path} {kind} {self.value(hook)}" for kind in HOOKS for hook in getattr(module, kind, {}).values()
            ]
            for name, value in sorted(vars(module).items()):
                if name not in OWN_TO_TORCH and not isinstance(value, nn.Module):
                    parts += self._attribute(module, path, name, value)
            parts += [f"{path}.{name} {self.value(module._buffers[name])}" for name in sorted(hidden_buffers(module))]
        return "\n".join(parts)

    def _attribute(self, module: nn.Module, path: str, name: str, value: Any) -> list[str]:
        """The text of an attribute; none for those of packages that cannot be named and are private, such as caches,
        or wrap the code of torch.jit, which has been written out."""
        try:
            return [f"{path}.{name}={self.value(value)}"]
        except Unnamable:
            if not is_own(type(module)) and (name.startswith("_") or isinstance(module, torch.jit.ScriptModule)):
                return []
            raise

    def _compound(self, value: Any) -> str:
        if type(value) in (list, tuple):
            return f"{type(value).__name__}[{', '.join(map(self.value, value))}]"
        if isinstance(value, (set, frozenset)):
            return f"set[{', '.join(sorted(map(self.value, value)))}]"
        if type(value) is dict:
            return f"dict[{', '.join(f'{self.value(key)}: {self.value(item)}' for key, item in value.items())}]"
        if isinstance(value, nn.Module):
            again = id(value) in self._known
            return self.module(value) + ("" if again else f" {self.value(dict(value.state_dict()))}")
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, ModuleType):
            return f"module {value.__name__}"
        if isinstance(value, CodeType):
            return f"{value.co_code!r} {value.co_names} {self.value(value.co_consts)}"
        if isinstance(value, FunctionType):
            return self._function(value)
        if inspect.ismethod(value):
            return f"{self._function(value.__func__)} of {self.value(value.__self__)}"
        if isinstance(value, functools.partial):
            return f"partial {self.value((value.func, value.args, value.keywords))}"
        if isinstance(wrapped := getattr(value, "__wrapped__", None), FunctionType):  # functools.cache
            return f"{type(value).__name__} of {self._function(wrapped)}"
        if inspect.isbuiltin(value) and (value.__self__ is None or isinstance(value.__self__, ModuleType)):
            return f"{value.__module__} {value.__qualname__}"
        return self._instance(value)

    def _instance(self, value: Any) -> str:
        """The text of an object of any class: what pickle would store of it."""
        try:
            if type(value) is object:
                raise TypeError
            parts = value.__reduce_ex__(4)
            parts = [parts] if isinstance(parts, str) else [list(p) if hasattr(p, "__next__") else p for p in parts]
        except Exception:
            raise Unnamable(f"it rests on a {type(value).__name__}") from None
        return f"{self._class(type(value))} {', '.join(map(self.value, parts))}"

    def _array(self, value: Tensor | np.ndarray) -> str:
        try:
            if isinstance(value, Tensor):
                data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            elif value.dtype.hasobject:
                return f"array {value.shape} {self.value(value.tolist())}"
            else:
                data = np.ascontiguousarray(value)
        except (RuntimeError, NotImplementedError, TypeError):
            raise Unnamable(f"it rests on a {value.layout} tensor on {value.device}") from None
        return f"{value.dtype} {tuple(value.shape)} {content_hash(data.tobytes())}"

    def _class(self, cls: type) -> str:
        """The text of a class: its code, and the class attributes of those that are the user's own."""
        if again := self._again(cls):
            return again
        parts = [f"{cls.__module__} {cls.__qualname__} {source_of(cls) if has_code(cls) else ''}"]
        for owner in cls.__mro__ if is_own(cls) else ():
            if owner is not cls:
                parts += [f"from {self._class(owner)}"]
                continue
            for name, value in sorted(vars(owner).items()):
                for part in functions_of(value):
                    parts.append(f"{name} {self._function(part)}")
                if not (name.startswith("__") or name.startswith("_abc_") or functions_of(value)):
                    parts += self._readable(name, value)
        return "\n".join(parts)

    def _function(self, function: FunctionType) -> str:
        """The text of a function: its code, defaults, what it has closed over, and the globals that the user's own
        code reads."""
        if again := self._again(function):
            return again
        code, closed = function.__code__, {}
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                closed[name] = cell.cell_contents
            except ValueError:
                raise Unnamable(f"{name} has no value yet") from None
            if name == "__class__":  # of super(): the class that the function is in
                del closed[name]
        parts = [f"{function.__qualname__} {source_of(function)}", self.value(closed)]
        parts += [self.value((function.__defaults__, function.__kwdefaults__))]
        if is_own(function):
            in_file = Path(code.co_filename).is_file()
            parts += [place_of(code) if in_file else self.value(code)]
            for name in sorted(loaded_names(code, "LOAD_GLOBAL", "LOAD_NAME") & function.__globals__.keys()):
                value = function.__globals__[name]
                if isinstance(value, ModuleType):
                    parts += self._read_of(value, code)
                else:
                    parts += self._readable(name, value) if in_file else [f"global {name}={self.value(value)}"]
        return "\n".join(parts)

    def _read_of(self, module: ModuleType, code: CodeType) -> list[str]:
        """The texts of what code may read of a module of the user's own."""
        if not is_own(module):
            return []
        found = []
        for name in sorted(loaded_names(code, "LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM") & vars(module).keys()):
            value = vars(module)[name]
            inner = isinstance(value, ModuleType)
            found += self._read_of(value, code) if inner and value is not module else self._readable(name, value)
        return found

    def _readable(self, name: str, value: Any) -> list[str]:
        """The text of a global or a class attribute in a file; none where only the file's digest can stand for it."""
        try:
            return [f"global {name}={self.value(value)}"]
        except Unnamable:
            return []

    def _again(self, thing: Any) -> str:
        """A reference to what has been written out; "" where it has not, which it is from now on."""
        if id(thing) in self._known:
            return f"again {self._known[id(thing)]}"
        self._known[id(thing)] = len(self._known)
        return ""


def _asks_for_name(kind: str, name: str, error: Unnamable) -> XaibenchError:
    return XaibenchError(
        f"{kind} {name} has no digest of its own, as {error}; say what it is by a name of yours, "
        f'xaibench.named(..., "name"), which must mean the same {kind} in every run'
    )
