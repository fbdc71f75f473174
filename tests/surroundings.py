"""What a process may have set around a call, by name, and what a call may not leave behind."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
        assert torch.get_default_dtype() == dtype, "the call has changed the default type"
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
        assert torch.get_default_device() == torch.device(device)
    finally:
        torch.set_default_device(None)


@contextmanager
def autocast() -> Iterator[None]:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        yield
        assert torch.is_autocast_enabled("cpu")


@contextmanager
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield
        assert torch.is_inference_mode_enabled()


@contextmanager
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield
        assert not torch.is_grad_enabled()


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def strict_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        yield
        assert warnings.filters == before


@contextmanager
def other_seeds() -> Iterator[None]:
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(77)
    yield


SURROUNDINGS = {
    "float64 by default": lambda: default_dtype(torch.float64),
    "float16 by default": lambda: default_dtype(torch.float16),
    "device meta by default": lambda: default_device("meta"),
    "a block on the device meta": lambda: torch.device("meta"),
    "autocast": autocast,
    "inference mode": inference,
    "no gradients": no_grad,
    "deterministic algorithms": deterministic,
    "warnings are errors": strict_warnings,
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True, check_nan=False),
    "other seeds": other_seeds,
}


def state_of(net: nn.Module) -> list:
    """What a call may not change: of the process, and of a network."""
    modules = list(net.modules())
    hooks = [len(value) for m in modules for name, value in vars(m).items() if "_hooks" in name and value is not None]
    tensors = [*net.parameters(), *net.buffers()]
    return [
        random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(), torch.get_num_threads(),
        torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"), torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark,
        torch.are_deterministic_algorithms_enabled(), torch.is_anomaly_enabled(), list(warnings.filters),
        len(torch.overrides._get_current_function_mode_stack()), hooks, [m.training for m in modules],
        [getattr(m, "fused_attn", None) for m in modules], [t.requires_grad for t in tensors],
        [t.grad for t in tensors],
        [t.stride() for t in tensors], [t.dtype for t in tensors], [t.tolist() for t in tensors],
        [t._version for t in tensors if not t.is_inference()],
    ]  # fmt: skip
