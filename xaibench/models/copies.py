"""Copies of networks, with the hooks that are part of what they compute, and which module of a copy is which.

Hooks compute weights (`torch.nn.utils.spectral_norm`, `weight_norm`, `prune`) and change outputs; those that xaibench
has registered count and look, and are not copied.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from types import MethodType
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from xaibench.errors import XaibenchError, one_line

PASSES = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
OPTIONS = ("_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs")
CANNOT = "the network cannot be copied, which is needed here"
_COPIED_OTHERWISE = frozenset({"_modules", "_parameters", "_buffers"})


def copied(net: nn.Module, share: bool = False) -> tuple[nn.Module, dict[int, nn.Module]]:
    """A copy of a network, and the module of the copy for the id of each module of the original.

    share: tensors share the memory of the original's, and parameters require no gradients. Raises XaibenchError that
    names the module and the attribute that cannot be copied.
    """
    memo = _memo(net, share)
    known = dict(memo)
    try:
        copy = deepcopy(net, memo)
    except Exception as error:
        raise XaibenchError(f"{CANNOT}: {_culprit(net, known, error)}") from error
    twins = {id(module): memo.get(id(module)) for module in net.modules()}
    for path, module in net.named_modules():
        if twins[id(module)] is None:
            name = f"its module {path}" if path else "it"
            raise XaibenchError(
                f"{CANNOT}: copy.deepcopy leaves {name} ({type(module).__name__}) out, or gives it back itself"
            )
    for module in net.modules():
        _copy_hooks(module, twins[id(module)], twins, memo)
    return copy, twins


def without_parametrizations(copy: nn.Module) -> None:
    """Gives the modules of a copy plain weights in place of those that torch.nn.utils.parametrize computes.

    Libraries look for modules without children, and for classes by their names. (The function of torch itself changes
    the class, which the original's modules share.)
    """
    for module in [module for module in copy.modules() if parametrize.is_parametrized(module)]:
        computed = {name: getattr(module, name).detach() for name in module.parametrizations}
        del module.parametrizations
        module.__class__ = type(module).__bases__[0]
        for name, value in computed.items():
            module.register_parameter(name, nn.Parameter(value, requires_grad=False))


def hooks_of(module: nn.Module) -> list[dict]:
    """The dictionaries of a module's hooks, and of their options."""
    return [value for name, value in vars(module).items() if "_hooks" in name and isinstance(value, dict)]


def _memo(net: nn.Module, share: bool) -> dict[int, Any]:
    """What stands for the hooks and tensors of the original in the copy, by their id."""
    memo: dict[int, Any] = {}
    for module in net.modules():
        memo |= {id(hooks): type(hooks)() for hooks in hooks_of(module)}
        for tensor in _tensors(vars(module)):
            if share:
                value, kind = tensor.detach(), isinstance(tensor, nn.Parameter)
                memo[id(tensor)] = nn.Parameter(value, requires_grad=False) if kind else value
            elif not tensor.is_leaf:
                memo[id(tensor)] = tensor.detach().clone()
    return memo


def _tensors(container: Any) -> Iterator[Tensor]:
    """The tensors in plain containers: parameters, buffers, and those that a hook has computed, which depend on others
    and which deepcopy therefore refuses."""
    left, seen = [container], set()
    while left:
        value = left.pop()
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (dict, list, tuple, set)) and id(value) not in seen:
            seen.add(id(value))
            left += value.values() if isinstance(value, dict) else value


def _copy_hooks(module: nn.Module, twin: nn.Module, twins: dict[int, nn.Module], memo: dict[int, Any]) -> None:
    """Gives a module of the copy the hooks of the original's, except for those of xaibench."""
    for name, value in vars(module).items():  # of state dicts
        if "_hooks" in name and name not in (*PASSES, *OPTIONS) and isinstance(value, dict):
            getattr(twin, name).update({key: deepcopy(hook, memo) for key, hook in value.items()})
    for name in PASSES:
        for key, hook in getattr(module, name, {}).items():
            if (getattr(hook, "__module__", None) or "").partition(".")[0] == "xaibench":
                continue
            getattr(twin, name)[key] = _of_the_copy(hook, twins)
            for option in OPTIONS:
                if key in getattr(module, option, {}):
                    getattr(twin, option)[key] = getattr(module, option)[key]


def _of_the_copy(hook: Any, twins: dict[int, nn.Module]) -> Any:
    """A hook that works on modules of the copy where it is bound to some of the original."""
    if isinstance(hook, MethodType) and id(hook.__self__) in twins:
        return MethodType(hook.__func__, twins[id(hook.__self__)])
    if isinstance(hook, partial):
        args = [twins.get(id(argument), argument) for argument in hook.args]
        keywords = {name: twins.get(id(argument), argument) for name, argument in hook.keywords.items()}
        return partial(_of_the_copy(hook.func, twins), *args, **keywords)
    return twins.get(id(hook), hook)


def _culprit(net: nn.Module, memo: dict[int, Any], error: Exception) -> str:
    """Which attribute of which module cannot be copied, and why."""
    others = {id(module): module for module in net.modules()}
    for path, module in net.named_modules():
        owner = f"its module {path}" if path else "it"
        for name, value in vars(module).items():
            if name in _COPIED_OTHERWISE:
                continue
            try:
                deepcopy(value, memo | others)
            except Exception as reason:
                return (
                    f"{owner} ({type(module).__name__}) holds {_described(value)} as {name!r}: {one_line(reason, 200)}"
                )
    return f"{type(error).__name__}: {one_line(error, 200)}"


def _described(value: Any) -> str:
    known = {type(threading.Lock()): "a lock", type(threading.RLock()): "a lock"}
    kind = type(value).__name__
    return known.get(type(value)) or f"a{'n' if kind[0].lower() in 'aeiou' else ''} {kind}"
