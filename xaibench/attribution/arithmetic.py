"""How products and convolutions of float32 numbers are computed: exactly as IEEE 754 says, or in TF32 on a GPU.

PyTorch's switches for this hold for the whole process, and by default cuDNN convolves float32 in TF32, which keeps 10
of the 23 bits of a factor. A user may also have allowed TF32, or bfloat16 on a CPU, for matrix products. A pass depends
on none of that: the switches are set while it runs and put back afterwards.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from xaibench.errors import XaibenchError

PARENTS = (("generic", "all"), ("cuda", "all"), ("mkldnn", "all"))  # what a switch says that says "none"
SWITCHES = tuple((backend, op) for backend in ("cuda", "mkldnn") for op in ("conv", "rnn", "matmul"))
OVERRIDE = "NVIDIA_TF32_OVERRIDE"  # an environment variable that NVIDIA's libraries put above every switch
FIRST_WITH_TF32 = (8, 0)  # compute capability: Ampere


def has_tf32(device: torch.device | str) -> bool:
    """Whether a device computes in TF32 where it is allowed to: NVIDIA GPUs since Ampere."""
    device = torch.device(device)
    if device.type != "cuda" or torch.version.hip or not torch.cuda.is_available():
        return False
    return torch.cuda.get_device_capability(device) >= FIRST_WITH_TF32


def check_arithmetic(precision: str, device: torch.device | str) -> None:
    """Raises XaibenchError where passes on a device would not be in the precision that is asked for."""
    override = os.environ.get(OVERRIDE, "")
    if precision == "tf32" and not has_tf32(device):
        raise XaibenchError(
            f"precision tf32 needs an NVIDIA GPU of compute capability 8.0 or more, which the device {device} is not; "
            "take float32"
        )
    other = {"tf32": "0", "float32": "1"}.get(precision)
    if torch.device(device).type == "cuda" and override and override == other:
        raise XaibenchError(f"the environment variable {OVERRIDE}={override} forbids precision {precision}; unset it")


@contextmanager
def arithmetic(kind: str) -> Iterator[None]:
    """Float32 is computed as `ieee`, or in `tf32` on a GPU, while the block runs; afterwards as it was before.

    Blocks may be nested, and run in several threads: the switches are those of the process, so a thread that wants the
    other kind waits until they are free. Raises XaibenchError where its own thread shares them with another one.
    """
    _SHARED.enter(kind)
    try:
        yield
    finally:
        _SHARED.leave()


class _Shared:
    """The switches, and which threads rely on them: `kinds` are those that each has asked for, innermost last."""

    def __init__(self) -> None:
        self.free = threading.Condition()
        self.kinds: dict[int, list[str]] = {}
        self.before: dict[tuple[str, str], object] = {}

    def enter(self, kind: str) -> None:
        me = threading.get_ident()
        with self.free:
            own = self.kinds.get(me, [])
            if own and own[-1] != kind and len(self.kinds) > 1:
                raise XaibenchError(f"{kind} cannot be computed within {own[-1]} while another thread computes, too")
            self.free.wait_for(lambda: own or all(other[-1] == kind for other in self.kinds.values()))
            if not self.kinds:
                self.before = _read()
            if not self.kinds or (own and own[-1] != kind):
                _set(kind)
            self.kinds.setdefault(me, []).append(kind)

    def leave(self) -> None:
        me = threading.get_ident()
        with self.free:
            left = self.kinds[me].pop()
            if not self.kinds[me]:
                del self.kinds[me]
            elif self.kinds[me][-1] != left:
                _set(self.kinds[me][-1])
            if not self.kinds:
                _put_back(self.before)
            self.free.notify_all()


_SHARED = _Shared()


def _is_new() -> bool:
    """Whether PyTorch has a switch for each operation (2.9); it refuses to read its older switches where they and the
    new ones say different things, so both are set."""
    return hasattr(torch._C, "_set_fp32_precision_setter")


def _read() -> dict[tuple[str, str], object]:
    """What all switches say. What a switch inherits from its parents is told from its own by silencing them first."""
    found: dict[tuple[str, str], object] = {}
    if _is_new():
        for name in (*PARENTS, *SWITCHES):
            found[name] = torch._C._get_fp32_precision_getter(*name)
            torch._C._set_fp32_precision_setter(*name, "none" if name in PARENTS else "ieee")
    found["older", "matmul"] = torch.get_float32_matmul_precision()
    try:
        found["older", "cudnn"] = torch.backends.cudnn.allow_tf32
    except RuntimeError:  # it says yes, where the new switches say no
        found["older", "cudnn"] = True
    return found


def _set(kind: str) -> None:
    tf32 = kind == "tf32"
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    for backend, op in SWITCHES if _is_new() else ():
        torch._C._set_fp32_precision_setter(backend, op, "tf32" if tf32 and backend == "cuda" else "ieee")


def _put_back(before: dict[tuple[str, str], object]) -> None:
    torch.set_float32_matmul_precision(before["older", "matmul"])
    torch.backends.cudnn.allow_tf32 = before["older", "cudnn"]
    for name in (*SWITCHES, *PARENTS) if _is_new() else ():
        torch._C._set_fp32_precision_setter(*name, before[name])
