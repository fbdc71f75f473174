"""Handling of randomness, warnings, errors and hooks around calls of captum and pytorch-grad-cam."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import torch
from torch import Tensor

from xaibench.attribution.adapters.drawing import drawing
from xaibench.attribution.adapters.prepare import Prepared, forget
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.reach import check_input_gradient
from xaibench.attribution.runner import out_of_memory
from xaibench.errors import XaibenchError, one_line
from xaibench.exclusive import exclusive

OF_THE_PROCESS = object()  # what libraries use and all threads share: filters of warnings, progress bars, generators
CHATTER = (  # warnings of captum at every call, which are not about the user's input
    "Setting (forward, )?backward hooks",
    "Setting forward, backward hooks",
    "Input Tensor \\d+ did not already require gradients",
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without captum's warnings about its own hooks and without pytorch-grad-cam's progress bars."""
    bars = [m for name, m in list(sys.modules.items()) if name.startswith("pytorch_grad_cam.") and hasattr(m, "tqdm")]
    kept = [m.tqdm for m in bars]
    with warnings.catch_warnings():
        for message in CHATTER:
            warnings.filterwarnings("ignore", message=message)
        try:
            for module in bars:
                module.tqdm = SimpleNamespace(tqdm=lambda things, *args, **kwargs: things)
            yield
        finally:
            for module, bar in zip(bars, kept, strict=True):
                module.tqdm = bar


def pair_by_pair(
    e: Evidence, name: str, net: Prepared, call: Callable[[Tensor, int], Tensor], *, width: int, draws: bool
) -> Tensor:
    """The results of `call` for all pairs, (P, C, h, w); call(pairs (n,), inputs per pass) runs a library on some
    pairs.

    width: inputs per pair in a pass; 0 runs one pair at a time. draws: the library draws from global generators; every
    pair then has its own (seed, name, image id). Every error of the library becomes an XaibenchError in one line, and
    the copy of the network is dropped; its hooks are removed in any case.
    """
    parts, start, ids = [], 0, e.pair_ids

    def step(chunk: int) -> Tensor:
        stop = min(start + (max(1, chunk // width) if width and not draws else 1), len(e.targets))
        with drawing(e.seed, name, ids[start], device=e.images.device) if draws else contextlib.nullcontext():
            try:
                return call(torch.arange(start, stop, device=e.images.device), chunk).detach()
            finally:
                net.clean()

    try:
        with exclusive([OF_THE_PROCESS]), quiet():
            while start < len(e.targets):
                parts.append(e.runner.attempt(step))
                start += len(parts[-1])
        return torch.cat(parts).to(e.images)
    except XaibenchError:
        forget(e)
        raise
    except Exception as error:
        forget(e)
        if isinstance(error, RuntimeError) and out_of_memory(error):
            raise
        check_input_gradient(e.runner, e.images)  # why most libraries fail, in words of their own
        reason = one_line(error, 300)
        raise XaibenchError(f"{name} cannot explain this network: {type(error).__name__}: {reason}") from error
