"""CUDA tensors on a machine without a GPU: they have values, mixed devices raise, and waiting is counted.

`FakeTensorMode` of torch has the rules of devices, but no values, so that whatever looks at a value (`any`, `nonzero`,
`tolist`) cannot run in it; and without a driver autograd refuses its CUDA tensors. Here a fake tensor wraps its values,
which are computed on the CPU, and torch's mode is asked wherever tensors of both devices meet in an operation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._pytree import tree_map_only

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
BEHIND = torch.device("lazy", 0)  # what C++ sees: a device that autograd serves without a driver
WAITS = frozenset(
    {"_local_scalar_dense", "nonzero", "equal", "_unique", "_unique2", "unique_dim", "masked_select", "bincount"}
)  # operations whose result the program waits for


class OnCuda(Tensor):
    """A tensor that says it is on a GPU; `value` is a plain tensor on the CPU."""

    value: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, value: Tensor) -> OnCuda:
        made = Tensor._make_wrapper_subclass(
            cls, value.size(), strides=value.stride(), storage_offset=value.storage_offset(), dtype=value.dtype,
            layout=value.layout, device=BEHIND,
        )  # fmt: skip
        made.value = value
        return made

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        raise RuntimeError(f"{func} outside of the block of a fake GPU")

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __deepcopy__(self, memo: dict) -> Tensor:
        copied = OnCuda(self.value.clone())
        memo[id(self)] = nn.Parameter(copied, self.requires_grad) if isinstance(self, nn.Parameter) else copied
        return memo[id(self)]

    def __repr__(self) -> str:
        return f"OnCuda({self.value})"


class FakeCuda(FakeTensorMode):
    """While active, tensors can be moved to `cuda` and back, and operations run on them.

    waits counts, by kind, what makes the program and a GPU wait for each other: `read` (a value or a result whose size
    depends on values), `download` and `upload` (copies from and to pageable memory), `index` (an index on the CPU into
    a tensor on the GPU), and `draw`, random numbers of the GPU's own generator. Raises RuntimeError for an operation on
    tensors of both devices, as torch does.
    """

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.waits: Counter[str] = Counter()
        self.rules = FakeTensorMode(allow_non_fake_inputs=True)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs, name = dict(kwargs or {}), func._schema.name.removeprefix("aten::")
        given: list[Tensor] = []
        tree_map_only(Tensor, given.append, (args, kwargs))
        there = [tensor for tensor in given if isinstance(tensor, OnCuda)]
        device = kwargs.get("device")
        kind = torch.device(device).type if device is not None else "cuda" if there else "cpu"
        goes = "cpu" if kind == "cpu" else "cuda"
        if goes == "cpu" and not there:
            return func(*args, **kwargs)
        if len(there) < len(given) and there:
            self._check(func, name, args, kwargs, given)
        self._count(func, name, given, there, goes)
        plain = tree_map_only(OnCuda, lambda tensor: tensor.value, (args, kwargs))
        if device is not None:
            plain[1]["device"] = CPU
        plain[1].pop("pin_memory", None)
        found = func(*plain[0], **plain[1])
        if name == "copy_":
            return args[0]
        return found if goes == "cpu" else tree_map_only(Tensor, lambda value: self._wrapped(value, there), found)

    def _wrapped(self, value: Tensor, there: list[OnCuda]) -> OnCuda:
        """A result on the GPU: the tensor that an operation has written into, or a new one."""
        for tensor in there:
            if tensor.value is value:
                assert tensor.shape == value.shape, "operations that change a shape in place are not known here"
                return tensor
        return OnCuda(value)

    def _check(self, func: Any, name: str, args: tuple, kwargs: dict, given: list[Tensor]) -> None:
        """Raises where an operation has tensors of both devices, as a GPU would."""
        if name in ("copy_", "_to_copy"):
            return
        selects = name in ("index", "index_put", "index_put_") and not isinstance(args[0], OnCuda)
        if selects and any(isinstance(index, OnCuda) for index in args[1]):  # torch's mode lets it pass
            raise RuntimeError(f"{func}: indices on {CUDA} into a tensor on {CPU}")
        with self.rules:
            asked = tree_map_only(Tensor, lambda t: FakeTensor(self.rules, self._shape_of(t), t.device), (args, kwargs))
            func(*asked[0], **asked[1])

    @staticmethod
    def _shape_of(tensor: Tensor) -> Tensor:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")

    def _count(self, func: Any, name: str, given: list[Tensor], there: list[OnCuda], goes: str) -> None:
        if there and name in WAITS:
            self.waits["read"] += 1
        elif name == "_to_copy" and len(given) == 1 and (goes == "cuda") != bool(there):
            self.waits["upload" if goes == "cuda" else "download"] += 1
        elif name == "copy_" and 0 < len(there) < 2:
            self.waits["upload" if isinstance(given[0], OnCuda) else "download"] += 1
        elif name.startswith("index") and there and len(there) < len(given):
            self.waits["index"] += 1
        elif name.startswith("index") and any(t.dtype in (torch.bool, torch.uint8) for t in given[1:]):
            self.waits["read"] += 1
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.waits["draw"] += 1


@contextmanager
def fake_cuda() -> Iterator[FakeCuda]:
    """In this block there is a fake GPU."""
    with FakeCuda() as gpu:
        yield gpu


def moved(net: nn.Module, *, fake: bool = True) -> nn.Module:
    """A copy of a network on the fake GPU, or where it is."""
    net = deepcopy(net)
    if not fake:
        return net
    for module in net.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                module._parameters[name] = nn.Parameter(OnCuda(parameter.data), parameter.requires_grad)
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = OnCuda(buffer)
    return net
