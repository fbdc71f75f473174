"""Layers that look at the batch, in a training by several processes: as if one process had all its images.

Batch normalisation takes the statistics of the images of all processes, and dropout and stochastic depth draw for the
whole batch, of which each process takes its part. Layers are found by the functions of torch that they call, so those
of timm and of plug-ins are too. `torch.nn.SyncBatchNorm` has no second derivative, and no code for a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from xaibench.training.processes import of_all

DROPOUTS = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d)


class SharedBatch(TorchFunctionMode):
    """While active, passes in training mode of `size` images of this process are as those of the batch of all.

    All processes have their generators in the same state, and each equally many images. Attention that drops weights
    inside of a fused function draws in each process on its own.
    """

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def __torch_function__(self, function: Callable, types: Any, arguments: tuple = (), named: dict | None = None):
        named = named or {}
        if function is F.batch_norm:
            return batch_norm(*arguments, **named)
        if function in DROPOUTS:
            return self._dropout(function, *arguments, **named)
        if function is Tensor.bernoulli_ and self._shares(arguments[0]):
            drawn = Tensor.bernoulli_(self._whole(arguments[0]), *arguments[1:], **named)
            return arguments[0].copy_(self._part(drawn))
        return function(*arguments, **named)

    def _dropout(self, function: Callable, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False):
        """Dropout whose kept values, scaled, are those that one process draws for the whole batch."""
        if not training or p == 0 or not self._shares(input):
            return function(input, p, training, inplace)
        kept = self._part(function(self._whole(input).fill_(1), p, True, False))
        return input.mul_(kept) if inplace else input * kept

    def _shares(self, values: Tensor) -> bool:
        """Whether values (N k, ...) belong to the images of this process, k rows each."""
        return values.ndim > 0 and len(values) % self.size == 0

    def _whole(self, own: Tensor) -> Tensor:
        """An empty tensor for the batch of all, in the order of memory of that of a process."""
        whole = own.detach().new_empty((len(own) * distributed.get_world_size(), *own.shape[1:]))
        last = own.ndim == 4 and own.is_contiguous(memory_format=torch.channels_last) and not own.is_contiguous()
        return whole.contiguous(memory_format=torch.channels_last) if last else whole

    def _part(self, whole: Tensor) -> Tensor:
        return whole.chunk(distributed.get_world_size())[distributed.get_rank()]


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.batch_norm`, in training with the statistics of the inputs (N, C, ...) of all processes.

    Statistics and running statistics are float32 at least; gradients of any order pass through the statistics.
    """
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    exact = input.to(torch.promote_types(input.dtype, torch.float32))
    axes = [axis for axis in range(input.ndim) if axis != 1]
    variance, mean = torch.var_mean(exact, axes, correction=0)
    count = torch.full_like(mean, input.numel() / input.shape[1])
    means, variances, counts = of_all(torch.stack([mean, variance, count])[None]).unbind(1)
    total = counts[:, 0].sum()
    shares = counts / total
    mean = (shares * means).sum(0)
    variance = (shares * (variances + (means - mean).square())).sum(0)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.mul_(1 - momentum).add_(momentum * mean.to(running_mean.dtype))
            running_var.mul_(1 - momentum).add_(momentum * (variance * total / (total - 1)).to(running_var.dtype))
    shape = [1, -1, *[1] * (input.ndim - 2)]
    scale = torch.rsqrt(variance + eps) * (1 if weight is None else weight)
    found = (exact - mean.view(shape)) * scale.view(shape)
    return (found if bias is None else found + bias.view(shape)).to(input.dtype)
