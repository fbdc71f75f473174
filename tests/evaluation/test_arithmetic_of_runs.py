"""How float32 is computed is in keys where it once was not: on a GPU; rows in TF32 that say float32 stay alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import xaibench
from xaibench.errors import XaibenchError
from xaibench.evaluation import keys
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.plan import make_plan
from xaibench.evaluation.replay import replay
from xaibench.evaluation.resolve import resolve
from xaibench.evaluation.resources import Resources
from xaibench.evaluation.weights import open_models
from xaibench.results.manifest import load_runs
from xaibench.results.store import Store

FIELDS = {"model": "tiny", "dataset": "mini", "methods": ["ixg"], "images": 2, "device": "cpu"}


def run(**changes):
    return xaibench.run("sds", out=Path("results"), quiet=True, **(FIELDS | changes))


def plan_on(device, monkeypatch, precision="float32"):
    config = RunConfig(protocols=("sds",), **(FIELDS | {"methods": ("ixg",)}))
    resolved = resolve(config)
    models = open_models(resolved, Resources.of(config), quiet=True, say=print)
    monkeypatch.setattr(keys, "choose_device", lambda name: device)
    object.__setattr__(resolved, "config", config.model_copy(update={"precision": precision}))
    return make_plan(resolved, models)


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_what_was_no_float32_on_a_gpu_has_a_key_of_its_own(home, monkeypatch, device):
    for precision in ("float32", "tf32", "float64", "bfloat16", "float16"):
        (cpu,), (gpu,) = (plan_on(d, monkeypatch, precision).jobs for d in ("cpu", device))
        if precision != "tf32":
            assert gpu.cell.context == cpu.cell.context | {"arithmetic": "ieee"} and gpu.key != cpu.key
        else:
            assert gpu.key == cpu.key
        assert gpu.cell.context["precision"] == precision
        assert (precision in gpu.cell.title) == (precision != "float32")


def as_before(**fields) -> None:
    """Makes the run's record one of a GPU before the arithmetic was recorded."""
    for path in Path("results/runs").glob("*.json"):
        content = json.loads(path.read_text()) | fields
        del content["arithmetic"]
        path.write_text(json.dumps(content))


@pytest.mark.process
def test_rows_in_tf32_that_say_float32_are_not_extended(home):
    assert run().manifest.arithmetic == "ieee"
    as_before(device="cuda")
    for changes in ({}, {"images": 3}, {"methods": ["saliency"]}):
        with pytest.raises(XaibenchError, match=r"computed on a GPU in TF32 and stored as float32.*--out"):
            run(**changes)
    assert run(precision="float64").computed == 2, "another board"
    store = Store.open("results")
    record = next(r for r in load_runs(store) if r.is_tf32_as_float32)
    cells = [store.cell(key) for key in record.cells]
    with pytest.raises(XaibenchError, match="TF32 and stored as float32, so its maps cannot be made again"):
        replay(store, record, cells, {}, device="cpu", quiet=True)


@pytest.mark.process
def test_old_rows_of_a_cpu_are_extended(home):
    run()
    as_before()
    assert run(images=3).computed == 1


@pytest.mark.process
def test_maps_of_a_gpu_are_made_again_on_a_cpu(home, monkeypatch):
    """float32 is float32 on both."""
    with monkeypatch.context() as patched:
        patched.setattr(keys, "choose_device", lambda name: "cuda")
        run(keep_maps=True)
    store = Store.open("results")
    record, (cell,) = load_runs(store)[-1], store.cells().values()
    assert cell.context["arithmetic"] == "ieee"
    rows = store.rows()
    images = dict(zip(rows["image_id"], rows["image_digest"], strict=True))
    kept = replay(store, record, [cell], images, device="cpu", quiet=True)
    for file in Path("results/maps").rglob("*.safetensors"):
        file.unlink()
    made = replay(store, record, [cell], images, device="cpu", quiet=True)
    assert kept.kept and not made.kept
    for image_id, targets in kept.maps[cell.key].items():
        for target, values in targets.items():
            assert torch.allclose(values, made.maps[cell.key][image_id][target])
