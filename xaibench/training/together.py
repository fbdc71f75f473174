"""How the processes of a training come together: what their launcher may ask for, what they must have alike, and what
is said where one of them ends."""

from __future__ import annotations

import os
import re
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DataLoaderConfiguration, DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch import distributed

from xaibench.errors import PeerLost, XaibenchError
from xaibench.files import make_folder, write_atomic
from xaibench.provenance import own_commit, package_versions
from xaibench.ranks import process_count, process_number
from xaibench.training.processes import are_several
from xaibench.training.resources import TrainingResources

PRECISIONS = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
SHARDED = ("DEEPSPEED", "FSDP", "MEGATRON_LM", "PARALLELISM_CONFIG")
SECONDS_TO_APPEAR = 60
"""How long a file of the first process may take until others see it: network file systems keep listings for a while."""
LOST = re.compile(r"gloo|nccl|connection (closed|reset)|broken pipe|socket", re.IGNORECASE)


def make_accelerator(resources: TrainingResources, partly: bool) -> Accelerator:
    """The accelerator of a device and a precision; partly: some parameters may get no gradient in a step.

    Raises XaibenchError for a precision that nothing is trained in, and for what a launcher asks for and xaibench does
    not do.
    """
    if resources.precision not in PRECISIONS:
        raise XaibenchError(f"cannot train in precision {resources.precision!r}; it is one of {', '.join(PRECISIONS)}")
    check_launcher(os.environ, resources.precision)
    device = torch.device(resources.device)
    handlers: list[Any] = [DistributedDataParallelKwargs(find_unused_parameters=partly)]
    if device.type == "cuda":
        _check_gpu(device)
        handlers.append(InitProcessGroupKwargs(backend="cuda:nccl,cpu:gloo"))  # what is on the CPU is shared, too
    return Accelerator(
        cpu=device.type == "cpu", mixed_precision=PRECISIONS[resources.precision],
        dataloader_config=DataLoaderConfiguration(split_batches=True), kwargs_handlers=handlers,
    )  # fmt: skip


def check_launcher(environment: Mapping[str, str], precision: str) -> None:
    """Raises XaibenchError where `accelerate launch`, by its variables, asks for what would be left out."""

    def told(name: str, usual: str) -> str:
        return environment.get(f"ACCELERATE_{name}", usual).lower()

    if told("MIXED_PRECISION", "no") not in ("no", PRECISIONS[precision]):
        asked = {short: name for name, short in PRECISIONS.items()}.get(told("MIXED_PRECISION", "no"), "float32")
        raise XaibenchError(f"accelerate asks for mixed precision; say so to xaibench, by --precision {asked}")
    if (steps := told("GRADIENT_ACCUMULATION_STEPS", "1")) != "1":
        raise XaibenchError(f"accelerate asks for accumulation; say so to xaibench, by --recipe accumulation={steps}")
    if told("DYNAMO_BACKEND", "no") != "no":
        raise XaibenchError("accelerate asks for compiled networks, which xaibench does not train; leave out dynamo")
    if way := next((name for name in SHARDED if told(f"USE_{name}", "false") in ("true", "1")), None):
        raise XaibenchError(f"accelerate asks for {way}; xaibench trains whole networks in each process: --multi_gpu")
    if "ACCELERATE_MIXED_PRECISION" in environment and "MASTER_PORT" in environment and process_count() == 1:
        raise XaibenchError(
            "accelerate launch was asked for several processes and started one, as it does without --multi_gpu; add "
            "--multi_gpu, with --device cpu behind `xaibench train` on a CPU"
        )


def _check_gpu(device: torch.device) -> None:
    """Raises XaibenchError where processes have no GPU each; one process takes the one that is named."""
    if process_count() == 1:
        if device.index is not None:
            torch.cuda.set_device(device)
        return
    if device.index is not None:
        raise XaibenchError(f"--device {device} is one GPU for {process_count()} processes; take --device cuda")
    there, number = torch.cuda.device_count(), int(os.environ.get("LOCAL_RANK", "0"))
    if number >= there:
        raise XaibenchError(
            f"process {process_number()} has no GPU of its own, this machine has {there}; start fewer processes"
        )


def check_alike(folder: Path, more: Mapping[str, Any]) -> None:
    """Raises XaibenchError, in all processes of a training, where one has other code, another training or folder.

    folder is that of the training, whose name is its key. more: other values that must be the same.
    """
    if not are_several():
        return
    mine = {"training": folder.name, "commit of xaibench": own_commit()} | package_versions() | dict(more)
    mine["folder"] = "the same" if _sees_first(folder) else f"no {folder} of the first process"
    found: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, (socket.gethostname(), mine))
    (_, first), *others = found
    for number, (host, theirs) in enumerate(others, 1):
        for name in (name for name in theirs if theirs[name] != first.get(name)):
            raise XaibenchError(
                f"process {number} on {host} has another {name} than the first process: {theirs[name]}, not "
                f"{first.get(name)}; processes that train together need the same code, data and XAIBENCH_HOME"
            )


def _sees_first(folder: Path) -> bool:
    """Whether this process sees what the first one writes in a folder."""
    name = [f"processes-{secrets.token_hex(8)}.json"]
    distributed.broadcast_object_list(name, 0)
    path = folder / name[0]
    if process_number() == 0:
        make_folder(folder)
        write_atomic(path, b"{}\n")
    distributed.barrier()
    until = time.monotonic() + SECONDS_TO_APPEAR
    while not (seen := path.is_file()) and folder.is_dir() and time.monotonic() < until:
        time.sleep(0.5)
    distributed.barrier()
    if process_number() == 0:
        path.unlink(missing_ok=True)
    return seen


@contextmanager
def other_processes_named() -> Iterator[None]:
    """Raises PeerLost in the place of what torch raises where another process of the training has ended."""
    try:
        yield
    except RuntimeError as error:
        if are_several() and (isinstance(error, distributed.DistError) or LOST.search(str(error))):
            raise PeerLost(
                "another process of this training has ended, so this one ends too; what is done is stored, the same "
                "command goes on from the last complete epoch"
            ) from error
        raise
