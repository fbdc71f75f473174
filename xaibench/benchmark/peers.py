"""The same methods one by one with captum and pytorch-grad-cam, as a user would who has no xaibench."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from captum.attr import InputXGradient, IntegratedGradients, NoiseTunnel, Saliency
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM, XGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor

from xaibench.attribution.methods import method_maps
from xaibench.attribution.runner import ModelRunner
from xaibench.benchmark.job import Job
from xaibench.protocols.patches import cell_masks

CAMS = {"grad-cam": GradCAM, "grad-cam++": GradCAMPlusPlus, "xgrad-cam": XGradCAM, "layer-cam": LayerCAM}
GRID = 4


def alone(job: Job, name: str, cam_batch: int) -> Callable[[], object]:
    """A function that makes the maps of one method: captum's in passes of the job's chunk, pytorch-grad-cam's with
    cam_batch images at a time, and xaibench's with nothing to share where neither package has it (RISE,
    Smooth Grad-CAM++)."""
    card, values = next(each for each in job.methods if each[0].name == name)
    net, x, y = job.net, job.images, job.targets
    base = name.removesuffix("-abs").removesuffix("-sq")
    path = {"n_steps": values.get("steps"), "internal_batch_size": job.chunk}
    noise = {"nt_type": "smoothgrad", "nt_samples": values.get("samples"), "stdevs": values.get("sigma")}
    known: dict[str, Callable[[], object]] = {
        "saliency": lambda: Saliency(net).attribute(_leaf(x), target=y, abs=False),
        "ixg": lambda: InputXGradient(net).attribute(_leaf(x), target=y),
        "ixg-sg": lambda: NoiseTunnel(InputXGradient(net)).attribute(_leaf(x), target=y, **noise),
        "ig": lambda: IntegratedGradients(net).attribute(x, baselines=0 * x, target=y, **path),
        "ig-u": lambda: IntegratedGradients(net).attribute(x, baselines=torch.rand_like(x) * 2 - 1, target=y, **path),
        "ig-sg": lambda: NoiseTunnel(IntegratedGradients(net)).attribute(x, baselines=0 * x, target=y, **path, **noise),
    }
    if base in known:
        return known[base]
    if name in CAMS:
        return lambda: _cams(job, name, cam_batch)

    def ours() -> object:
        with ModelRunner(net, chunk=job.chunk) as runner:
            return method_maps(card, job.evidence(runner), values)

    return ours


def deletions(job: Job) -> Tensor:
    """Logits (B, 17, K) of every image, intact and without each of the 16 cells, an image at a time."""
    every = torch.arange(GRID * GRID, device=job.images.device)
    masks = cell_masks(job.images.shape[2:], GRID, every)
    with torch.no_grad():
        return torch.stack([job.net(torch.cat([x[None], torch.where(masks, 0.0, x)])) for x in job.images])


def _cams(job: Job, name: str, batch: int) -> np.ndarray:
    """Maps (B, H, W) in [0, 1], so many images at a time."""
    targets = [ClassifierOutputTarget(int(y)) for y in job.targets]
    with CAMS[name](job.net, [job.net.get_submodule(job.layer)]) as tool:
        starts = range(0, len(targets), batch)
        return np.concatenate([tool(_leaf(job.images[i : i + batch]), targets[i : i + batch]) for i in starts])


def _leaf(x: Tensor) -> Tensor:
    """Images of which a gradient is taken, as the network's parameters have none."""
    return x.clone().requires_grad_()
