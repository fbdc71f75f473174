"""What the check ran on: versions, the GPU, and whether float32 is float32 there."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import TYPE_CHECKING

import torch

import xaibench
from xaibench.attribution.arithmetic import arithmetic, has_tf32

if TYPE_CHECKING:
    from check import Options

PACKAGES = (
    "torch", "torchvision", "timm", "captum", "grad-cam", "bcos", "einops", "numpy", "scipy", "scikit-learn", "pandas",
    "pyarrow", "pillow", "matplotlib", "pydantic", "accelerate", "safetensors", "typer",
)  # fmt: skip
EXACT = 1e-5  # relative; TF32 keeps ten bits of a factor and errs by 1e-4 and more


def second_device(dry: bool) -> str:
    """The device that is compared with the CPU."""
    return "cpu" if dry else "cuda"


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def facts(options: Options) -> dict:
    """Versions, names, and the errors of a convolution and a product in float32, and in TF32 where the device has it.

    The switches are those of a run, whatever the process has allowed before.
    """
    device = second_device(options.dry)
    torch.zeros(1, device=device)  # raises where there is none
    gpu = device == "cuda"
    torch.set_float32_matmul_precision("medium")
    with arithmetic("ieee"):
        error = float32_error(device)
    with arithmetic("tf32"):
        coarse = float32_error(device) if has_tf32(device) else None
    torch.set_float32_matmul_precision("highest")
    return {
        "device": torch.cuda.get_device_name(0) if gpu else f"CPU ({platform.machine()}), a dry run",
        "memory_gib": round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1) if gpu else None,
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda if gpu else None,
        "cudnn": torch.backends.cudnn.version() if gpu else None,
        "python": platform.python_version(),
        "xaibench": xaibench.__version__,
        "packages": {name: version(name) for name in PACKAGES},
        "float32_error": error,
        "float32_exact": error < EXACT,
        "tf32_error": coarse,
        "tf32_is_on": coarse is not None and coarse > EXACT,
    }


def float32_error(device: str) -> float:
    """The largest error of a convolution and of a matrix product in float32, relative to their largest value."""
    dice = torch.Generator().manual_seed(0)
    image = torch.randn(2, 32, 16, 16, generator=dice, dtype=torch.float64)
    kernel = torch.randn(32, 32, 3, 3, generator=dice, dtype=torch.float64)
    left, right = torch.randn(2, 128, 128, generator=dice, dtype=torch.float64)
    error = 0.0
    for operation, pair in ((torch.nn.functional.conv2d, (image, kernel)), (torch.matmul, (left, right))):
        exact, ours = operation(*pair), operation(*(part.float().to(device) for part in pair)).double().cpu()
        error = max(error, float((ours - exact).abs().max() / exact.abs().max()))
    return error
