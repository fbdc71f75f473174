"""Modes of modules: a network is explained in evaluation mode, each module of it, and each flag stays as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import CodeType, FunctionType

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from xaibench.errors import XaibenchError

NO_PASS = ("train", "eval", "explain")
"""Methods of modules that a pass never calls; `explain`, of the package `bcos`, warns of networks in training mode."""


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """While active, every module of a network is in evaluation mode; afterwards each has its own flag again.

    Where all are in it already nothing is called: `train` of a module may do more than to set the flag.
    """
    flags = {module: module.training for module in net.modules()}
    if not any(flags.values()):
        yield
        return
    try:
        net.eval()
        yield
    finally:
        for module, flag in flags.items():
            if module.training != flag:
                module.training = flag


def check_modes(net: nn.Module) -> None:
    """Raises XaibenchError with the name of a module whose results depend on the batch or on chance.

    That is one in training mode, where this has an effect: batch normalisation, dropout, any module whose code reads
    its flag `training`; and batch normalisation without running statistics, in either mode.
    """
    if net.training:
        raise XaibenchError(
            "the model is in training mode, where images of a batch influence each other; call model.eval()"
        )
    for path, module in net.named_modules():
        kind = type(module).__name__
        if module.training and _reads_its_mode(module):
            raise XaibenchError(
                f"module {path} ({kind}) is in training mode, so that maps would depend on the batch or on chance; "
                "call model.eval()"
            )
        if isinstance(module, _BatchNorm) and module.running_mean is None and module.running_var is None:
            raise XaibenchError(
                f"module {path or 'of the model'} ({kind}) has no running statistics and normalises by the batch, in "
                "which images influence each other; make it with track_running_stats=True"
            )


def trains_as_it_explains(net: nn.Module) -> bool:
    """Whether a pass in the modes that the modules are in now gives what one in evaluation mode gives."""
    return not any(module.training and _reads_its_mode(module) for module in net.modules())


def _reads_its_mode(module: nn.Module) -> bool:
    """Whether the results of a module depend on its flag `training`."""
    if 0 in (getattr(module, "p", None), getattr(module, "dropout", None)):  # nothing is dropped
        return False
    if isinstance(module, _InstanceNorm) and not module.track_running_stats:
        return False
    if isinstance(module, torch.jit.ScriptModule):
        return "training" in getattr(module, "code", "")
    classes = type(module).__mro__[: type(module).__mro__.index(nn.Module)]
    functions = [thing for kind in classes for thing in vars(kind).values() if isinstance(thing, FunctionType)]
    functions += [thing for thing in vars(module).values() if isinstance(thing, FunctionType)]
    return any(_mentions(function.__code__) for function in functions if function.__name__ not in NO_PASS)


@cache
def _mentions(code: CodeType) -> bool:
    """Whether a function or one inside of it names the flag."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return "training" in code.co_names or "training" in code.co_consts or any(map(_mentions, inner))
