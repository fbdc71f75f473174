"""The main job, and the paper's job, 19 methods under SDS on ResNet-50 at 224 pixels, beside bare passes."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torchvision
from machine import second_device
from PIL import Image
from torch import Tensor, nn

import xaibench
from xaibench import registry
from xaibench.attribution.arithmetic import arithmetic

if TYPE_CHECKING:
    from check import Options

CARDS = Path(__file__).with_name("cards")


@dataclass(frozen=True)
class Job:
    """The sizes of the paper's job; repeats is how often a bare pass is timed, methods None stands for the paper's."""

    architecture: str
    side: int
    images: int
    batches: tuple[int, ...]
    repeats: int
    methods: tuple[str, ...] | None = None


FULL = Job("resnet50", 224, 32, (32, 128, 256), 5)
DRY = Job("squeezenet1_1", 32, 2, (1, 2), 1, ("ixg", "grad-cam", "feature-ablation"))
CLASSES = 1000


def main_job(options: Options) -> dict:
    """`xaibench run idsds --model resnet50` on the second device: seconds with its training, status, board."""
    words = ["--model", "resnet50"]
    if options.dry:
        words = ["--model", "gpu-tiny", "--dataset", "gpu-mini", "--cards", str(CARDS), "--methods", "ixg,grad-cam"]
        words += ["--images", "2"]
    words += ["--device", second_device(options.dry), "--out", "main"]
    began = time.perf_counter()
    call = [sys.executable, "-m", "xaibench", "run", "idsds", *words]
    ended = subprocess.run(call, capture_output=True, text=True, cwd=options.out / "work", check=False)
    told = {"seconds": round(time.perf_counter() - began, 1), "exit_status": ended.returncode, "board": ended.stdout}
    if ended.returncode:
        raise RuntimeError(f"exit status {ended.returncode}: {ended.stderr[-400:]}")
    return told | {"command": " ".join(["xaibench", "run", "idsds", *words])}


def float32(options: Options) -> dict:
    """The job in float32."""
    return paper_job(options, "float32")


def tf32(options: Options) -> dict:
    """The job in TF32."""
    return paper_job(options, "tf32")


def bfloat16(options: Options) -> dict:
    """The job in bfloat16 by autocast."""
    return paper_job(options, "bfloat16")


def paper_job(options: Options, precision: str) -> dict:
    """Seconds and forward-equivalents an image, of the job and of as many bare passes at the best batch size.

    Methods by perturbation need forward passes alone, the others gradients, each counted as three forwards: so a first
    run of the former, which also warms the device up, tells how many of either there are.
    """
    job = DRY if options.dry else FULL
    torch.manual_seed(0)
    net = torchvision.models.get_model(job.architecture, weights=None, num_classes=CLASSES).eval()
    weights = options.out / "work" / f"{job.architecture}.pth"
    torch.save(net.state_dict(), weights)
    names = job.methods or [n for n in registry.names("method") if in_paper(registry.card("method", n))]
    blind = [n for n in names if "perturbation" in registry.card("method", n).tags]

    def timed(methods: list[str], images: int) -> xaibench.Results:
        gc.collect()
        torch.cuda.empty_cache()  # sizes of passes follow the memory that is free
        return xaibench.run(
            "sds", model=job.architecture, weights=str(weights), dataset="imagefolder",
            data_root=photos(options.out / "work" / "photos", job), settings={"target": "prediction"}, images=images,
            image_size=job.side, profile="paper", methods=methods, device=second_device(options.dry), quiet=True,
            out=options.out / "work" / f"speed-{time.time_ns()}", precision=precision,
        )  # fmt: skip

    few = timed(blind, min(4, job.images)).manifest
    record = timed(names, job.images).manifest
    forwards, total = few.forward_equivalents, record.forward_equivalents
    gradients = (total - forwards) / 3
    with arithmetic("tf32" if precision == "tf32" else "ieee"):
        rates = bare_rates(net, job, second_device(options.dry), precision)
    best = {
        kind: max(v for name, v in rates.items() if name.startswith(kind + " ")) for kind in ("forward", "gradient")
    }
    bare = forwards / best["forward"] + gradients / best["gradient"]
    seconds = record.seconds / job.images
    return {
        "job": f"{len(names)} methods and SDS on {job.architecture} at {job.side} px, {job.images} images, {precision}",
        "seconds": record.seconds,
        "seconds_per_image": seconds,
        "forward_equivalents": total,
        "forwards": forwards,
        "gradients": gradients,
        "batch_size": record.batch_size,
        "chunk_size": record.chunk_size,
        "bare_images_per_second": rates,
        "bare_seconds_per_image": bare,
        "ratio_to_bare": seconds / bare,
    }


def in_paper(card: Any) -> bool:
    """Whether a method is one of the paper's for convolutional networks."""
    return "paper" in card.tags and not card.families


def photos(root: Path, job: Job) -> Path:
    """A folder of two class folders of smooth noise, drawn once."""
    dice = np.random.default_rng(0)
    for number in range(job.images):
        folder = root / f"class{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        noise = Image.fromarray(dice.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        noise.resize((job.side + 32, job.side + 32), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return root


def bare_rates(net: nn.Module, job: Job, device: str, precision: str) -> dict[str, float]:
    """Images a second of forward passes and of passes with the gradient of the input, by layout and batch size."""
    rates = {}
    net = net.to(device).requires_grad_(False)

    def logits(x: Tensor) -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            return net(x)

    def forward(x: Tensor) -> None:
        with torch.no_grad():
            logits(x)

    def gradient(x: Tensor) -> None:
        x = x.detach().requires_grad_()
        torch.autograd.grad(logits(x)[:, 0].sum(), x)

    for layout in ("contiguous", "channels_last"):
        form = torch.channels_last if layout == "channels_last" else torch.contiguous_format
        net = net.to(memory_format=form)
        for size in job.batches:
            x = torch.randn(size, 3, job.side, job.side).to(device, memory_format=form)
            for name, call in (("forward", forward), ("gradient", gradient)):
                rates[f"{name} {layout} {size}"] = round(size / seconds_of(call, x, job.repeats), 1)
    return rates


def seconds_of(call: Callable[[Tensor], None], x: Tensor, repeats: int) -> float:
    """Mean seconds of a call, after one that is not counted."""
    call(x)
    wait(x)
    began = time.perf_counter()
    for _ in range(repeats):
        call(x)
    wait(x)
    return (time.perf_counter() - began) / repeats


def wait(x: Tensor) -> None:
    """Until the device is done."""
    if x.is_cuda:
        torch.cuda.synchronize()
