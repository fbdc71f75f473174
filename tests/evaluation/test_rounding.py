"""Scores do not depend on batches, passes and threads, and folders that were made in different ones can be merged."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from xaibench.results.validate import validate

pytestmark = pytest.mark.process  # whole runs or large networks: not in the fast tier

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "rounding.py"


class Rounded(nn.Module):
    """Rounds maps (N, K, h, w) in another way for each number of inputs in a pass, as the kernels of processors do."""

    def forward(self, x: Tensor) -> Tensor:
        source = torch.Generator().manual_seed(len(x))
        return x * (1 + torch.finfo(x.dtype).eps * torch.randint(-2, 3, x.shape[1:], generator=source))


def network() -> nn.Module:
    """A network for three classes whose last map is an eighth of a 32-pixel image's side."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=4, padding=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(),
        Rounded(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3),
    ).eval()  # fmt: skip


@pytest.mark.slow
def test_scores_of_batches_passes_and_threads_are_equal(home, tmp_path):
    way = runpy.run_path(str(BENCHMARK))
    images = torch.rand(7, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    photos = [(image, number % 3) for number, image in enumerate(images)]
    words = {"model": network(), "dataset": photos, "settings": {"steps": 8}}
    words |= {"protocols": "deletion,srg,sds", "methods": "grad-cam,layer-cam,hires-cam,ixg,random"}
    rows = {name: way["rows_of"](name, tmp_path, **words) for name in way["WAYS"]}
    first = rows.pop(way["BASE"])
    for name, found in rows.items():
        both = way["compared"](first, found)
        counts = way["summary"](both)
        assert not counts["beyond 1e-5"] and not counts["unequal"], (name, counts)
        assert both["apart"].max() <= 0.003, name  # of the share of tied pixels: pairs that meet by chance
    merged = tmp_path / "merged"
    for name in way["WAYS"]:
        shutil.copytree(tmp_path / name.replace(" ", "-"), merged, dirs_exist_ok=True)
    assert validate(merged) == []
