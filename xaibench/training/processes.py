"""Several processes that train together: values of the images of all of them, as one process would have them.

Each process has an equal share of a batch, in the order of the processes; the training loop averages their gradients.
Functions here are to be called by all processes, in the same order. In a training alone they change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, distributed
from torch.autograd import Function

from xaibench.errors import XaibenchError
from xaibench.ranks import process_count, process_number

Item = TypeVar("Item")


def check_shares(batch_size: int, processes: int, least: int = 1, why: str = "") -> None:
    """Raises XaibenchError where the processes of a training cannot share a batch equally, or it has fewer than `least`
    images.

    why: what needs as many.
    """
    if batch_size % processes:
        raise XaibenchError(
            f"{processes} processes cannot share a batch of {batch_size} images; take a multiple as --batch-size"
        )
    if batch_size < least:
        raise XaibenchError(f"{why}; take a --batch-size of {least} or more")


def are_several() -> bool:
    """Whether other processes train with this one, and can be reached."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def process_mean(total: Tensor) -> Tensor:
    """The mean of a tensor over the processes that train together, without a gradient; itself where there is one.

    The gradients of the processes are averaged. A sum over the images of a process, divided by this mean of a number of
    images or of a sum of weights, is then the mean over the images of all.
    """
    if not are_several():
        return total
    total = total.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def mean_values(values: dict[str, float], device: torch.device) -> dict[str, float]:
    """The means of named values over the processes that train together, which have the same names."""
    if not are_several():
        return values
    means = process_mean(torch.tensor(list(values.values()), device=device))
    return dict(zip(values, means.tolist(), strict=True))


def of_all(own: Tensor) -> Tensor:
    """The rows (N, ...) of a process to those of the whole batch (processes x N, ...), with gradients of any order.

    A loss of them is that of one process with the whole batch, and so are its averaged gradients: each process computes
    it, and the gradient that a process's rows get is the sum of those of all.
    """
    return _Gathered.apply(own) if are_several() else own


def of_first(own: Tensor) -> Tensor:
    """What the first process has in the place of this tensor."""
    if not are_several():
        return own
    own = own.detach().clone()
    distributed.broadcast(own, 0)
    return own


def own_part(items: Sequence[Item]) -> list[Item]:
    """Every so many of a list, so that each is one process's; see `parts_of_all`."""
    return list(items[process_number() :: process_count()])


def parts_of_all(own: list[Item]) -> list[Item]:
    """From what each process made of its `own_part`, one for one, the list of one process; tensors are on the CPU."""
    if process_count() == 1:
        return own
    parts: list[list[Item]] = [[] for _ in range(process_count())]
    distributed.all_gather_object(parts, own)
    return [parts[at % len(parts)][at // len(parts)] for at in range(sum(map(len, parts)))]


class _Gathered(Function):
    """The rows of all processes; its gradient is the sum over processes, of which each takes that of its own rows."""

    @staticmethod
    def forward(ctx, own: Tensor) -> Tensor:
        own = own.contiguous()
        parts = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, own)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _SummedShare.apply(gradient)


class _SummedShare(Function):
    """The process's own rows of a sum over processes; the transpose of `_Gathered`, which is its gradient."""

    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:
        total = rows.contiguous().clone()
        distributed.all_reduce(total)
        return total.chunk(distributed.get_world_size())[distributed.get_rank()].clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _Gathered.apply(gradient)
