"""The check on a GPU, rehearsed on a CPU: it covers the registry, finds what is planted, and says what failed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import xaibench
from xaibench import registry

HERE = Path(__file__).parent


def check(out: Path, *words: str) -> tuple[int, dict, list[str]]:
    """Exit status, report.json and the lines of report.txt of a dry run."""
    environment = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    call = ["bash", str(HERE / "check.sh"), str(out), "--dry", *words]
    ended = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    assert (out / "report.json").is_file(), ended.stderr
    text = (out / "report.txt").read_text()
    assert ended.stdout == text, ended.stderr
    return ended.returncode, json.loads((out / "report.json").read_text()), text.splitlines()


@pytest.fixture
def part(monkeypatch):
    """part("rows"): a module of the check, forgotten after the test."""
    from importlib import import_module

    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(HERE))
    yield import_module
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == HERE:
            del sys.modules[name]


@pytest.mark.slow
@pytest.mark.process
def test_a_dry_run_compares_all_that_is_registered(tmp_path):
    status, report, lines = check(tmp_path)
    assert status == 0 and report["passed"] and lines[-1].startswith("PASS"), lines
    for kind in ("method", "protocol"):
        told = report[f"{kind}s"]
        assert set(told) == set(registry.names(kind))
        for name, place in told.items():
            assert place["compared"] or all(place["not_compared"].values()), name
        assert sum(bool(place["compared"]) for place in told.values()) == len(told), lines
    steps = report["steps"]
    assert {name: step["status"] for name, step in steps.items() if step["status"] != "done"} == {
        "speed-tf32": "left out"
    }
    assert all(step["seconds"] > 0 for step in steps.values() if step["status"] == "done")
    maps = [entry for by_family in steps["maps"]["result"].values() for entry in by_family.values()]
    assert any(0 < entry.get("difference", 0) < 1e-4 for entry in maps), "the two sides are one computation"
    assert {"torch", "captum", "bcos"} <= set(steps["machine"]["result"]["packages"])
    main, speed = steps["main"]["result"], steps["speed"]["result"]
    assert main["exit_status"] == 0 and "grad-cam" in main["board"]
    assert speed["forwards"] > 16 and round(speed["gradients"]) == 2  # one for ixg, one for grad-cam
    assert speed["ratio_to_bare"] > 0 and len(speed["bare_images_per_second"]) == 8


@pytest.mark.slow
def test_a_planted_disagreement_is_found(tmp_path):
    status, report, lines = check(tmp_path, "--fresh", "--only", "maps", "--plant", "ixg")
    assert status == 1 and not report["passed"] and lines[-1].startswith("FAIL, ")
    assert "ixg on cnn: differs, 1.0e-02 in float32, in float64 1.0e-02" in lines[-1]
    assert {what.split(" ")[0] for what in report["wrong"]} == {"ixg"}
    assert report["steps"]["main"]["status"] == "not asked for"
    assert report["protocols"]["road"] == {
        "compared": [], "not_compared": {"step scores": "not asked for", "step runs": "not asked for"},
    }  # fmt: skip


def test_planted_scores_are_found(part, tmp_path):
    agreement, check = part("agreement"), part("check")
    net, x, y = agreement.example("cnn", True)
    maps = [xaibench.attribute(net, x, y, "ixg")]
    for plant, expected in (((), "agrees"), (("sds",), "differs")):
        options = check.Options(tmp_path, True, plant)
        found = agreement.judged("scores", lambda exact, o=options: agreement.scores_of_both("sds", maps, exact, o))
        assert found["verdict"] == expected


def test_rows_are_compared(part):
    rows, report = part("rows"), part("report")
    shape = {"metric": "m", "method": list("aabbcc"), "status": "ok", "prediction": 1, "_merge": "both"}
    table = pd.DataFrame(shape | {"score": [0.5, -1, 0.2, float("nan"), 0.3, 0.4]})
    table = table.assign(
        status_2="ok", prediction_2=[1, 2, 1, 1, 1, 1], score_2=[0.5, -1.01, 0.2, float("nan"), 0.3, float("nan")]
    )
    found = rows.by_method(table)
    assert found["a"]["difference"] == pytest.approx(0.01) and found["a"]["predictions_differ"] == 1
    assert found["b"]["difference"] == 0 and found["c"]["difference"] == float("inf")
    assert "raised" in report.told(rows.by_method(table[:0])[""])


@pytest.mark.parametrize(
    ("difference", "exact", "expected"),
    [(5e-5, None, "agrees"), (5e-3, 1e-9, "rounding"), (5e-3, 5e-3, "differs"), (0.02, 1e-9, "differs")],
)
def test_only_small_differences_that_vanish_in_float64_are_rounding(part, difference, exact, expected):
    agreement = part("agreement")
    assert agreement.classed("maps", {"difference": difference}, lambda: {"difference": exact})["verdict"] == expected


def test_a_step_that_fails_or_lacks_time_fails_the_check(part):
    report = part("report")
    raised = {"machine": {"status": "raised", "why": "no GPU", "seconds": 1.0}}
    assert report.verdict(raised)["wrong"] == ["step machine: no GPU"]
    late = {"status": "left out", "why": "out of time", "seconds": 0.0}
    assert not report.verdict({"maps": late})["passed"] and report.verdict({"speed": late})["passed"]
