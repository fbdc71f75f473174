"""What `auto` means: the device, how many images live together, how many inputs go through one pass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from xaibench.attribution.arithmetic import check_arithmetic
from xaibench.errors import XaibenchError
from xaibench.evaluation.config import RunConfig
from xaibench.ranks import local_count
from xaibench.training.resources import TrainingResources

CPU_SHARE, GPU_SHARE = 0.25, 0.5  # of the free memory, for one pass
FLOOR = 256 << 20
"""Bytes beside the activations of one input. Measured with ResNet-18 at 64 pixels on 2 cores, by a limit of the address
space: with 128 MiB a thread of Arrow could not be started, with 16 MiB the process hung; 256 were enough."""
CPU_PASS = 1 << 30  # bytes; larger passes are slower on a CPU: SqueezeNet at 224 pixels by half with 64 inputs


@dataclass(frozen=True)
class Resources:
    """What a run works with: the device, images whose evidence lives together, inputs per pass (or `auto`), and
    processes that load images."""

    device: str
    batch: int
    chunk: int | str
    workers: int

    @classmethod
    def of(cls, config: RunConfig) -> Resources:
        """Those of a request, with `auto` decided except for the chunk; raises XaibenchError for a missing device, and
        for one that does not compute in the precision."""
        device = choose_device(config.device)
        check_arithmetic(config.precision, device)
        batch, workers = choose_batch(config.batch_size, device), choose_workers(config.workers, device)
        return cls(device, batch, config.chunk_size, workers)


def choose_device(name: str) -> str:
    """`auto` is cuda where there is one, else cpu; raises XaibenchError for a device that is not there."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise XaibenchError(f"device {name!r} cannot be used here: {first}; use --device cpu or auto") from error
    return name


def choose_workers(name: str | int, device: str) -> int:
    """`auto`: processes that load images; none on a CPU, whose cores the network needs itself. Processes that train
    together share the cores."""
    import os

    if name != "auto":
        return whole_number(name, "--workers", 0)
    return 0 if device == "cpu" else min(8, max(0, (os.cpu_count() or 1) // local_count() - 1))


def training_resources(device: str, workers: str | int, quiet: bool, precision: str = "float32") -> TrainingResources:
    """Where a training runs, with `auto` decided; raises XaibenchError as `choose_device` and `choose_workers`."""
    place = choose_device(device)
    return TrainingResources(choose_workers(workers, place), place, precision, quiet)


def choose_batch(name: str | int, device: str) -> int:
    """`auto`: images whose evidence lives together, 4 on a CPU and 32 elsewhere."""
    return whole_number(name, "--batch-size", 1) if name != "auto" else (4 if device == "cpu" else 32)


def choose_chunk(name: str | int, net: nn.Module, inputs: Tensor) -> int:
    """`auto`: inputs per pass that fit a share of the memory with all activations kept, and 1 GiB on a CPU.

    inputs (1, C, H, W) is one example on the network's device. Raises XaibenchError where not even a single input fits:
    libraries end the process, or hang, where they cannot start a thread.
    """
    gpu = inputs.device.type == "cuda"
    free = torch.cuda.mem_get_info()[0] if gpu else available_memory()
    _check_floor(free, FLOOR, inputs)
    one = 2 * activation_bytes(net, inputs)  # activations and their gradients
    _check_floor(free, FLOOR + one, inputs)
    if name != "auto":
        return whole_number(name, "--chunk-size", 1)
    budget = GPU_SHARE * free if gpu else min(CPU_PASS, CPU_SHARE * free)
    return max(1, min(int(budget // one), 256 if gpu else 64))


def _check_floor(free: int, needed: int, inputs: Tensor) -> None:
    """Raises XaibenchError where less memory is free than a run needs at the least."""
    if free < needed:
        side = f"{inputs.shape[2]}x{inputs.shape[3]}"
        raise XaibenchError(
            f"not enough memory: images of {side} pixels need {-(-needed >> 20)} MiB, one at a time, {free >> 20} MiB "
            "are free; raise the limit of this process or machine, or use smaller images"
        )


def activation_bytes(net: nn.Module, inputs: Tensor) -> int:
    """Bytes of what all leaf modules give for these inputs, in one pass without gradients."""
    sizes: list[int] = []

    def note(module: nn.Module, args: tuple, output: object) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.numel() * output.element_size())

    handles = [m.register_forward_hook(note) for m in net.modules() if not list(m.children())]
    try:
        with torch.no_grad():
            net(inputs.clone())
    finally:
        for handle in handles:
            handle.remove()
    return max(1, sum(sizes))


def available_memory() -> int:
    """Bytes that this process may still take: the free memory of the machine, or what its cgroup or its own limit of
    address space (`ulimit -v`) leaves, where that is less."""
    free = [1 << 32]
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text("utf-8").splitlines())
        free = [int(lines["MemAvailable"].split()[0]) * 1024]
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        if Path(limit).is_file() and Path(used).is_file() and (text := Path(limit).read_text("utf-8").strip()) != "max":
            free.append(int(text) - int(Path(used).read_text("utf-8")))
    return max(0, min(free + _under_own_limit()))


def _under_own_limit() -> list[int]:
    """The bytes of address space that the process may still take, where it has a limit."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return []
        used = int(Path("/proc/self/statm").read_text("utf-8").split()[0]) * resource.getpagesize()
    except (ImportError, OSError, ValueError):
        return []
    return [limit - used]


def whole_number(value: str | int, option: str, least: int) -> int:
    """The number that an option gives where it does not say `auto`; raises XaibenchError below the least it may be."""
    try:
        number = int(value)
    except ValueError:
        number = least - 1
    if number < least:
        raise XaibenchError(f"{option} is auto or a number from {least}, not {value!r}")
    return number
