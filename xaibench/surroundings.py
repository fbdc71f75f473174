"""A call's own surroundings: what the process has set besides changes no number, and is as it was after the call."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

from xaibench.errors import XaibenchError

AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")


@contextmanager
def own_surroundings() -> Iterator[None]:
    """While active, torch is as a new process has it; a decorator, too.

    The default type is float32, the default device the CPU, autocast and inference mode are off, gradients are on.
    Whatever is raised, these are afterwards as they were, and the generators of torch, NumPy and Python have their
    states of before: a network may draw from them. Generators and the default type belong to the process, so the last
    of several calls at once puts them back. Raises XaibenchError inside of a transform of torch.func, whose tensors
    have no values of their own.
    """
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise XaibenchError("called inside of a transform of torch.func, such as vmap; call it outside")
    with _OF_THE_PROCESS, torch.inference_mode(False), torch.enable_grad(), without_modes():
        yield


@contextmanager
def without_modes() -> Iterator[None]:
    """While active, autocast is off and the default device is the CPU; a decorator, too, for functions of tensors."""
    with ExitStack() as stack:
        for device in AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


class _OfTheProcess:
    """The default type and the generators, which all threads share: the first call notes them, the last one puts them
    back."""

    def __init__(self) -> None:
        self._lock, self._calls = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._calls:
                self._dtype, self._generators = torch.get_default_dtype(), Generators()
            self._calls += 1
            if torch.get_default_dtype() != torch.float32:
                torch.set_default_dtype(torch.float32)

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._calls -= 1
            if not self._calls:
                if torch.get_default_dtype() != self._dtype:
                    torch.set_default_dtype(self._dtype)
                self._generators.restore()


_OF_THE_PROCESS = _OfTheProcess()


class Generators:
    """The states of the global generators of torch, NumPy and Python when this was made."""

    def __init__(self) -> None:
        self._torch, self._numpy, self._python = torch.get_rng_state(), np.random.get_state(), random.getstate()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []

    def restore(self) -> None:
        """Gives them these states again."""
        torch.set_rng_state(self._torch)
        np.random.set_state(self._numpy)
        random.setstate(self._python)
        if self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)
