"""What can be found out about code without running it: whose it is, where it stands, and which names it reads."""

from __future__ import annotations

import builtins
import dis
import sys
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch
from torch import nn

from xaibench.models.opened import Opaque
from xaibench.sources import is_installed


def place_of(code: CodeType) -> str:
    """Where code stands in its file: two functions of one name, or two lambdas of one line, differ in that."""
    spots = [spot for spot in code.co_positions() if None not in spot and spot[3]]
    columns = f"{min(s[2] for s in spots)}-{max(s[3] for s in spots)}" if spots else ""
    return f"line {code.co_firstlineno} {columns}"


def loaded_names(code: CodeType, *operations: str) -> set[str]:
    """The names that code, and code within it, loads by some operations."""
    found = {step.argval for step in dis.get_instructions(code) if step.opname in operations}
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return found.union(*(loaded_names(each, *operations) for each in inner))


def functions_of(value: Any) -> list[FunctionType]:
    """The functions that an attribute of a class stands for."""
    if isinstance(value, property):
        return [part for part in (value.fget, value.fset) if isinstance(part, FunctionType)]
    value = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
    return [value] if isinstance(value, FunctionType) else []


def is_own(thing: Any) -> bool:
    """Whether a class, function or module is the user's: neither of xaibench, nor of Python, nor installed."""
    name = thing.__name__ if isinstance(thing, ModuleType) else thing.__module__ or ""
    if name == "builtins":  # also what `exec` makes
        return thing is not vars(builtins).get(thing.__name__) and has_code(thing)
    top = name.split(".")[0]
    if top == "xaibench" or top in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(name), "__file__", None)
    return not file or not is_installed(Path(file))


def has_code(thing: Any) -> bool:
    """Whether there may be Python code of a class or a function, which of what is written in C there is not."""
    return isinstance(thing, FunctionType) or bool(getattr(thing, "__flags__", 0) & 1 << 9)  # made by `class`


def hidden_buffers(module: nn.Module) -> Iterable[str]:
    """Buffers that no state dict holds."""
    return [name for name in module._non_persistent_buffers_set if module._buffers.get(name) is not None]


def script_of(module: nn.Module) -> list[Any]:
    """The code of a module of torch.jit, with its constants; it stands in no file."""
    if isinstance(module, Opaque):
        return module.code()
    if not isinstance(module, torch.jit.ScriptModule):
        return []
    try:
        code, constants = module.code_with_constants
    except (AttributeError, RuntimeError):  # a part without code of its own
        return []
    return [code, dict(constants.const_mapping)]
