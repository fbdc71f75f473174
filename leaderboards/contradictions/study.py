"""The study of contradictions: trains small networks, and stores what each answers and how its methods score.

    python leaderboards/contradictions/study.py --out DIR [--seeds 0,1,2,3,4] [--only standard,B-cos]

Each training leaves DIR/ARM--SEED.npz. What is there of the same arm is not computed again, so the command goes on
after an interruption. `measures.py` makes the tables of it.
"""

from __future__ import annotations

import argparse
import time
from itertools import product
from pathlib import Path

import numpy as np
import torch
from arms import ARMS, CORE, Arm, trained
from torch import Tensor, nn

import xaibench
from xaibench import registry
from xaibench.datasets.open import open_dataset, parameters_of
from xaibench.functional import single_deletion_score
from xaibench.protocols.patches import cell_masks
from xaibench.seeds import generator

SIDE, TRAIN, HELD_OUT, JOINT = 32, 2240, 64, 16
METHODS = {"ixg": {}, "ig": {"steps": 8}, "saliency": {}, "grad-cam": {}}


def images_of(part: str, rule: str, folder: Path) -> tuple[np.ndarray, Tensor]:
    """Displayed images (N, 32, 32, 3) in the order of the data set, and labels (N,); drawn once."""
    stored = folder / f"images-{part}-{rule}.npz"
    if not stored.exists():
        card = registry.card("dataset", "critters").at_size(SIDE)
        dataset = open_dataset(card, None, parameters_of(card, {"rule": rule}, part), part)
        samples = [dataset.load(i) for i in dataset.image_list(TRAIN if part == "train" else HELD_OUT)]
        np.savez(stored, images=np.stack([s.image for s in samples]), labels=np.array([s.label for s in samples]))
    found = np.load(stored)
    return found["images"], torch.from_numpy(found["labels"])


@torch.no_grad()
def drops(net: nn.Module, images: Tensor, labels: Tensor, zero: Tensor, masks: Tensor) -> Tensor:
    """The drop (N, M) of the label's logit where each of masks (M, 1, H, W) replaces what it covers, in float64."""
    logit = lambda x: net(x).gather(1, labels[:, None])[:, 0].double()  # noqa: E731
    before = logit(images)
    return torch.stack([before - logit(torch.where(mask, zero[:, None, None], images)) for mask in masks], 1)


def additivity(net: nn.Module, images: Tensor, labels: Tensor, zero: Tensor, single: Tensor, grid: int) -> Tensor:
    """Per image (N,) the correlation over random sets of cells, a quarter of them, of the drop without the set and
    the sum of the drops without each of its cells: 1 of a network that is additive over cells, whatever the method."""
    draw = generator(0, "sets of cells")
    sets = torch.stack([torch.randperm(grid**2, generator=draw)[: grid**2 // 4] for _ in range(JOINT)])
    masks = torch.stack([cell_masks(images.shape[2:], grid, one).any(0) for one in sets])
    joint, summed = drops(net, images, labels, zero, masks), single[:, sets].sum(2)
    joint, summed = (x - x.mean(1, keepdim=True) for x in (joint, summed))
    return (joint * summed).sum(1) / (joint.norm(dim=1) * summed.norm(dim=1)).clamp_min(1e-12)


def measured(arm: Arm, net: nn.Module, images: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
    """Per image: scores of each method, drops, additivity, and whether the network is right."""
    zero, grid = arm.shape.encoding.zero, arm.grid
    single = drops(net, images, labels, zero, cell_masks(images.shape[2:], grid, torch.arange(grid**2)))
    found = {"drops": single.numpy(), "right": (net(images).argmax(1) == labels).numpy()}
    found["additivity"] = additivity(net, images, labels, zero, single, grid).numpy()
    family = "bcos" if arm.shape.norm == "bcos" else "cnn"
    own = {"b-cos": {}} if family == "bcos" else {}
    for method, parameters in (METHODS | own).items():
        maps = xaibench.attribute(net, images, labels, method, family=family, cam_layer="features", **parameters)
        found[f"score {method}"] = single_deletion_score(single, maps).nan_to_num(0).numpy()
    if own:  # the weights of the image as it is, applied to what a deletion takes away: x less the baseline
        maps = less_baseline(net, images, labels, zero)
        found["score b-cos less baseline"] = single_deletion_score(single, maps).nan_to_num(0).numpy()
    return found


def less_baseline(net: nn.Module, images: Tensor, labels: Tensor, zero: Tensor) -> Tensor:
    """Contributions (N, 1, H, W) of x less the baseline by the dynamic weights of x."""
    from xaibench.attribution.bcos import held

    with held(net):
        at = images.detach().requires_grad_()
        (weights,) = torch.autograd.grad(net(at).gather(1, labels[:, None]).sum(), at)
    return (weights * (images - zero[:, None, None])).sum(1, keepdim=True)


def main() -> None:
    """Reads the options, and computes what is missing, the arms of `CORE` first."""
    options = argparse.ArgumentParser()
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--seeds", default="0,1,2,3,4")
    options.add_argument("--only", help="names of arms, by semicolons")
    given = options.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    tiers = [given.only.split(";")] if given.only else [CORE, [name for name in ARMS if name not in CORE]]
    seeds = list(map(int, given.seeds.split(",")))
    for names in tiers:
        for seed, name in product(seeds, names):
            arm, path = ARMS[name], given.out / f"{name}--{seed}.npz"
            if path.exists() and str(np.load(path)["arm"]) == repr(arm):
                continue
            start = time.perf_counter()
            pixels, labels = images_of("train", arm.rule, given.out)
            held_out, truth = images_of("test", arm.rule, given.out)
            encoding = arm.shape.encoding
            net = trained(arm, seed, encoding(pixels), labels, int(labels.max()) + 1)
            found = measured(arm, net, encoding(held_out), truth)
            np.savez_compressed(path, arm=repr(arm), **found)
            scores = {key[6:]: value.mean() for key, value in found.items() if key.startswith("score")}
            told = ", ".join(f"{key} {value:.2f}" for key, value in scores.items())
            seconds = time.perf_counter() - start
            print(f"{name}, seed {seed}: {seconds:.0f} s, accuracy {found['right'].mean():.2f}, {told}", flush=True)


if __name__ == "__main__":
    main()
