"""Other people's code that draws random numbers draws them from (seed, purpose), on the CPU, and leaves no trace.

captum draws from the generators of torch and NumPy, and of a tensor's device (NoiseTunnel). Draws of another device are
carried out on the CPU instead, so that maps are the same on every device.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from xaibench.seeds import derive
from xaibench.surroundings import Generators

UNTAGGED = frozenset({"random_", "random", "binomial", "_sample_dirichlet"})  # they draw, too, but have no tag
LAYERS = ("attention", "rnn")  # layers of networks: tagged because of their dropout, which evaluation mode turns off
_ONE = threading.RLock()  # the generators are those of the process: one thread at a time


@contextmanager
def drawing(seed: int, *purpose: object, device: torch.device | str = "cpu") -> Iterator[None]:
    """Code that draws from global generators (torch, NumPy, Python) draws from (seed, purpose); afterwards the
    generators have their previous states.

    device: where the code works. What it draws there is drawn on the CPU and moved.
    """
    derived = derive(seed, *purpose)
    with _ONE:
        before = Generators()
        try:
            torch.default_generator.manual_seed(derived)
            np.random.seed(derived % 2**32)
            random.seed(derived)
            with nullcontext() if torch.device(device).type == "cpu" else DrawnOnCpu():
                yield
        finally:
            before.restore()


class DrawnOnCpu(TorchDispatchMode):
    """While it is active, every operation that draws runs on the CPU; its results are moved to where they would be.

    Draws from a generator that the caller gives stay where they are.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        device = _device_of(args, kwargs) if draws(func) and kwargs.get("generator") is None else None
        if device is None:
            return func(*args, **kwargs)
        on_cpu = tree_map_only(Tensor, lambda tensor: tensor.cpu(), (args, kwargs))
        there = {"device": torch.device("cpu")} if kwargs.get("device") is not None else {}
        found = func(*on_cpu[0], **(on_cpu[1] | there))
        written = _written(func, args, kwargs)
        for mine, drawn in zip(written, _written(func, *on_cpu), strict=True):
            mine.copy_(drawn)
        if any(given.alias_info is not None for given in func._schema.returns):  # what it has written into
            return written[0] if len(func._schema.returns) == 1 else tuple(written)
        return tree_map_only(Tensor, lambda tensor: tensor.to(device), found)


def draws(func: Any) -> bool:
    """Whether an operation of torch draws random numbers."""
    name = func._schema.name.split("::")[-1]
    tagged = torch.Tag.nondeterministic_seeded in func.tags or name in UNTAGGED
    return tagged and not any(layer in name for layer in LAYERS)


def _device_of(args: tuple, kwargs: dict[str, Any]) -> torch.device | None:
    """The device that an operation works on; None for the CPU."""
    found: list[torch.device] = []
    tree_map_only(Tensor, lambda tensor: found.append(tensor.device), (args, kwargs))
    if kwargs.get("device") is not None:
        found.append(torch.device(kwargs["device"]))
    return next((device for device in found if device.type != "cpu"), None)


def _written(func: Any, args: tuple, kwargs: dict[str, Any]) -> list[Tensor]:
    """The tensors that an operation writes into."""
    known = func._schema.arguments
    given = dict(zip([argument.name for argument in known], args, strict=False)) | kwargs
    return [given[a.name] for a in known if a.alias_info is not None and a.alias_info.is_write and a.name in given]
