"""What names objects of a Python session in keys: their code and every plain value that their results can depend on.

What cannot be named that way (an open file, a generator, a lambda in a lambda) is refused, and the user gives a name:
`xaibench.named(thing, "name")`, and then answers for it that the same name means the same thing.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xaibench.errors import XaibenchError
from xaibench.hashing import content_hash
from xaibench.sources import source_of

PLAIN = (bool, int, float, complex, str, bytes, type(None))
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+|object at")
DEEPEST = 8


class Unnamable(Exception):
    """A value that no text names; the message says which."""


def module_source(net: nn.Module) -> str:
    """What names the structure and code of a network, without its parameters, whose digest is part of a key anyway.

    The classes of all its modules, how they are put together, and the plain attributes of each. Raises XaibenchError
    where an attribute or a hook cannot be named.
    """
    parts = [repr(net)]
    try:
        for path, module in net.named_modules():
            hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
            parts += [f"{path} {type(module).__qualname__} {source_of(type(module))}"]
            parts += [f"{path} hook {_named(hook, 0)}" for hook in hooks]
            for name, value in sorted(vars(module).items()):
                if not name.startswith("_") and name != "training" and not isinstance(value, nn.Module):
                    parts.append(f"{path}.{name}={_named(value, 0)}")
            parts += [f"{path}.{name} {_named(module._buffers[name], 0)}" for name in sorted(_hidden(module))]
        if ADDRESS.search(parts[0]):
            raise Unnamable("its printed form holds an address")
    except Unnamable as error:
        raise _asks_for_name("model", type(net).__name__, error) from None
    return content_hash("\n".join(parts).encode())


def function_source(function: Callable) -> str:
    """What names a function of evidence: its code, its file, and the values that it has closed over.

    Raises XaibenchError where one of these cannot be named.
    """
    try:
        return content_hash(_named(function, 0).encode())
    except Unnamable as error:
        raise _asks_for_name("method", getattr(function, "__name__", type(function).__name__), error) from None


def _hidden(module: nn.Module) -> Iterable[str]:
    """Buffers that no state dict holds."""
    return [name for name in module._non_persistent_buffers_set if module._buffers.get(name) is not None]


def _named(value: Any, depth: int) -> str:
    """A text that is the same for values from which the same follows."""
    if depth > DEEPEST:
        raise Unnamable("it is nested too deeply")
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, (Tensor, np.ndarray)):
        array = value.detach().cpu().contiguous() if isinstance(value, Tensor) else np.ascontiguousarray(value)
        data = array.view(torch.uint8).numpy() if isinstance(value, Tensor) and array.ndim else np.asarray(array)
        return f"{value.dtype} {tuple(value.shape)} {content_hash(data.tobytes())}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}[{', '.join(_named(item, depth + 1) for item in value)}]"
    if isinstance(value, (set, frozenset)):
        return f"set[{', '.join(sorted(_named(item, depth + 1) for item in value))}]"
    if isinstance(value, dict):
        items = ", ".join(f"{_named(key, depth + 1)}: {_named(item, depth + 1)}" for key, item in value.items())
        return f"dict[{items}]"
    if isinstance(value, (torch.dtype, torch.device, torch.Size)):
        return repr(value)
    if isinstance(value, nn.Module):
        return f"{module_source(value)} {_named(dict(value.state_dict()), depth + 1)}"
    if isinstance(value, (type, ModuleType)) or inspect.isbuiltin(value):
        return f"{getattr(value, '__module__', '')} {value.__name__} {source_of(value)}"
    if isinstance(value, FunctionType):
        return _function(value, depth)
    if inspect.ismethod(value):
        return f"{_function(value.__func__, depth)} of {_named(vars(value.__self__), depth + 1)}"
    if hasattr(value, "func") and hasattr(value, "keywords"):  # functools.partial
        return f"partial {_named((value.func, value.args, value.keywords), depth + 1)}"
    if callable(value) and hasattr(value, "__dict__"):
        return f"{source_of(type(value))} {type(value).__qualname__} {_named(vars(value), depth + 1)}"
    raise Unnamable(f"it rests on a {type(value).__name__}")


def _function(function: FunctionType, depth: int) -> str:
    closed = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            closed[name] = cell.cell_contents
        except ValueError:
            raise Unnamable(f"{name} has no value yet") from None
    if not (inspect.getsourcefile(function.__code__) and _has_file(function)):
        closed |= {f"global {name}": function.__globals__[name] for name in _globals(function.__code__) & {
            name for name in function.__globals__ if not isinstance(function.__globals__[name], ModuleType)
        }}  # fmt: skip
    defaults = (function.__defaults__, function.__kwdefaults__)
    return f"{function.__qualname__} {source_of(function)} {_named(closed, depth + 1)} {_named(defaults, depth + 1)}"


def _has_file(function: FunctionType) -> bool:
    """Whether a digest of a file stands for the globals that a function reads; a notebook has none."""
    from pathlib import Path

    return Path(function.__code__.co_filename).is_file()


def _globals(code: CodeType) -> set[str]:
    """The names that code may look up among globals."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(_globals, inner))


def _asks_for_name(kind: str, name: str, error: Unnamable) -> XaibenchError:
    return XaibenchError(
        f"{kind} {name} has no digest of its own, as {error}; say what it is by a name of yours, "
        f'xaibench.named(..., "name"), which must mean the same {kind} in every run'
    )
