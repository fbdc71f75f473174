"""Scores do not depend on batches, passes and threads, and folders that were made in different ones can be merged."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import pytest

from xaibench.results.validate import validate

pytestmark = pytest.mark.process  # whole runs or large networks: not in the fast tier

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "rounding.py"
WORDS = {"model": "tiny", "dataset": "mini", "weights": "plain", "images": 8, "settings": {"steps": 8}}
PROTOCOLS, METHODS = "deletion,srg,sds,pointing-game,box-iou", "grad-cam,layer-cam,hires-cam,ixg,random"


def test_scores_of_batches_passes_and_threads_are_equal(home, tmp_path):
    way = runpy.run_path(str(BENCHMARK))
    rows = {name: way["rows_of"](name, tmp_path, PROTOCOLS, METHODS, **WORDS) for name in way["WAYS"]}
    first = rows.pop(way["BASE"])
    for name, found in rows.items():
        both = way["compared"](first, found)
        counts = way["summary"](both)
        assert counts["beyond 1e-5"] <= counts["scores"] / 1000 and not counts["unequal"], (name, counts)
        ties = both[both["metric"] == "tied"]
        assert ties["apart"].max() <= 0.005, name  # pairs that meet by chance
    merged = tmp_path / "merged"
    for name in way["WAYS"]:
        shutil.copytree(tmp_path / name.replace(" ", "-"), merged, dirs_exist_ok=True)
    assert validate(merged) == []
