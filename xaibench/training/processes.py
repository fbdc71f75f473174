"""Several processes that train together: which is the first, how many there are, and what they must agree on."""

from __future__ import annotations

import os

import torch
from torch import Tensor, distributed

from xaibench.errors import XaibenchError


def first_process() -> bool:
    """Whether this process is the one that writes and speaks; a training alone is."""
    return os.environ.get("RANK", "0") == "0"


def check_shares(batch_size: int, processes: int, least: int = 1, why: str = "") -> None:
    """Raises XaibenchError where the processes of a training cannot share a batch equally, with `least` images each.

    why: what needs as many.
    """
    if batch_size % processes:
        raise XaibenchError(
            f"{processes} processes cannot share a batch of {batch_size} images; take a multiple as --batch-size"
        )
    if batch_size // processes < least:
        each = f", {least} for each process" if processes > 1 else ""
        raise XaibenchError(f"{why}; take a --batch-size of {least * processes} or more{each}")


def process_count() -> int:
    """How many processes train together, by what `torchrun` tells each."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def process_mean(total: Tensor) -> Tensor:
    """The mean of a tensor over the processes that train together, without a gradient; itself where there is one.

    The gradients of the processes are averaged. A sum over the images of a process, divided by this mean of a number of
    images or of a sum of weights, is then the mean over the images of all.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return total
    total = total.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def mean_values(values: dict[str, float], device: torch.device) -> dict[str, float]:
    """The means of named values over the processes that train together, which have the same names."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return values
    means = process_mean(torch.tensor(list(values.values()), device=device))
    return dict(zip(values, means.tolist(), strict=True))
