"""The study of alignment without labels: trains every arm, and stores what it answers and the board of its network.

    python leaderboards/alignment/study.py --out DIR [--network critters_cnn] [--seeds 0,1,2,3,4] [--only self,hard]

Each arm leaves DIR/KEY.npz (logits of held-out images, intact and without each of the 16 cells), DIR/KEY.pt (weights)
and DIR/KEY.board.json (mean score of each method). What is there is not computed again, so the command continues after
an interruption, and processes may share a folder by other --seeds. `measures.py` makes the tables of it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from arms import ALL, ASKED, SUBJECTS, Arm, trained
from torch import Tensor, nn

import xaibench
from xaibench import registry
from xaibench.datasets.open import open_dataset, parameters_of
from xaibench.functional import single_deletion_score
from xaibench.models.inputs import encoding_of
from xaibench.models.open import model_card
from xaibench.protocols.patches import cell_masks

COUNTS = (256, 32, 64, ALL)
OWN = ("self", "self-kept")  # with their own answers, by statistics of batches and by those of the start
CONTROLS = 256  # images of the arms that are there for one number only
HELD_OUT, ON_BOARDS = 128, 64
METHODS = {
    "ixg": {}, "ixg-abs": {}, "ig": {"steps": 16}, "ig-abs": {"steps": 16}, "saliency": {}, "grad-cam": {},
    "grad-cam++": {}, "xgrad-cam": {}, "layer-cam": {}, "guided-backprop": {}, "hires-cam": {},
}  # fmt: skip


def plan(seed: int) -> list[Arm]:
    """All trainings of a seed; labels of all images are the published recipe, trained twice."""
    own = [Arm(name, count, seed) for name in OWN for count in COUNTS]
    controls = [Arm(name, CONTROLS, seed) for name in (*ASKED, "bn-only") if name not in OWN]
    labels = [Arm("labels", count, seed) for count in COUNTS if count != ALL]
    return [Arm("published", ALL, seed), Arm("published-again", ALL, seed), *own, *controls, *labels]


def images_of(part: str, folder: Path, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Encoded images (N, 3, side, side) in the order of the data set, labels (N,), and the zero baseline (3,)."""
    stored = folder / f"{part}.npz"
    if not stored.exists():
        card = registry.card("dataset", "critters").at_size(side)
        dataset = open_dataset(card, None, parameters_of(card, {}, part), part)
        samples = [dataset.load(i) for i in dataset.image_list(ALL if part == "train" else HELD_OUT)]
        np.savez(stored, images=np.stack([s.image for s in samples]), labels=np.array([s.label for s in samples]))
    found, encoding = np.load(stored), encoding_of(model_card("critters_cnn"))
    return encoding(found["images"]), torch.from_numpy(found["labels"]), encoding.zero


@torch.no_grad()
def answers(net: nn.Module, images: Tensor, zero: Tensor) -> Tensor:
    """Logits (N, 17, K) of images, intact and without each cell."""
    found = [net(images)]
    for cell in range(16):
        mask = cell_masks(images.shape[2:], 4, torch.tensor([cell]))
        found.append(net(torch.where(mask, zero[:, None, None], images)))
    return torch.stack(found, 1)


def board(net: nn.Module, images: Tensor, labels: Tensor, logits: Tensor) -> dict[str, float]:
    """The mean score of each method on the first images: SDS, or IDSDS where the network is aligned."""
    images, labels = images[:ON_BOARDS], labels[:ON_BOARDS]
    chosen = logits[:ON_BOARDS].gather(2, labels[:, None, None].expand(-1, 17, 1))[..., 0].double()
    found = {}
    for method, parameters in METHODS.items():
        maps = xaibench.attribute(net, images, labels, method, family="cnn", **parameters)
        found[method] = float(single_deletion_score(chosen[:, :1] - chosen[:, 1:], maps).nan_to_num(0).mean())
    return found


def main() -> None:
    """Reads the options, and computes what is missing."""
    options = argparse.ArgumentParser()
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--network", choices=list(SUBJECTS), default="small")
    options.add_argument("--seeds", default="0,1,2,3,4")
    options.add_argument("--steps", type=int, default=210)
    options.add_argument("--rate", type=float, help="of all arms; by default the network's own")
    options.add_argument("--only", help="names of arms, by commas; plain and published are always there")
    given = options.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    subject = SUBJECTS[given.network]
    images, labels, zero = images_of("train", given.out, subject.side)
    held_out, truth, _ = images_of("test", given.out, subject.side)
    plain = {"steps": subject.steps, "rate": subject.plain_rate}
    for seed in map(int, given.seeds.split(",")):
        fresh = subject.build(int(labels.max()) + 1, seed)
        start = None
        wanted = given.only.split(",") if given.only else None
        for arm in [Arm("plain", ALL, seed), *plan(seed)]:
            if wanted and arm.name not in ("plain", "published", *wanted):
                continue
            weights, stored = given.out / f"{arm.key}.pt", given.out / f"{arm.key}.npz"
            if weights.exists():
                if start is None:
                    start = subject.build(int(labels.max()) + 1, seed)
                    start.load_state_dict(torch.load(weights, weights_only=True))
                    start.eval()
                if stored.exists():
                    continue
            how = {"steps": given.steps, "rate": given.rate or subject.rate} if start else plain
            net = trained(arm, start or fresh, images, labels, zero, **how)
            start = start or net
            torch.save(net.state_dict(), weights)
            logits = answers(net, held_out, zero)
            scores = board(net, held_out, truth, logits)
            (given.out / f"{arm.key}.board.json").write_text(json.dumps(scores))
            np.savez_compressed(stored, logits=logits.numpy(), labels=truth.numpy())
            print(arm.key, flush=True)


if __name__ == "__main__":
    main()
