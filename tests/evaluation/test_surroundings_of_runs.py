"""Rows of a run and maps of `explain` do not depend on what is around the call, and objects are left as they were."""

from __future__ import annotations

import random
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from surroundings import SURROUNDINGS, state_of
from torch import nn

import xaibench
from xaibench import registry
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError
from xaibench.models.state import save_state

pytestmark = pytest.mark.process
METHODS = "ixg,rise,grad-cam,ixg-sg,random,gradient-shap"


def generators():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


@pytest.fixture
def weights(home, tmp_path):
    from xaibench_test_network import build

    torch.manual_seed(0)
    save_state(build(10).eval(), tmp_path / "tiny.safetensors", {})
    return tmp_path / "tiny.safetensors"


def rows_of(out, weights, **others):
    results = xaibench.run(
        "sds,insertion,infidelity", model="tiny", dataset="mini", weights=str(weights), methods=METHODS, images=2,
        out=out, quiet=True, batch_size=2, chunk_size=8, **others,
    )  # fmt: skip
    rows = results.rows.sort_values(["protocol", "method", "image_id", "metric"]).reset_index(drop=True)
    return sorted(results.cells), rows[["protocol", "method", "image_id", "metric", "status", "score"]]


@pytest.mark.slow
@pytest.mark.parametrize("around", ["float64 by default", "device meta by default", "autocast", "inference mode",
                                    "no gradients", "other seeds", "deterministic algorithms"])  # fmt: skip
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_rows_do_not_depend_on_what_is_around_the_run(around, precision, weights, tmp_path):
    cells, expected = rows_of(tmp_path / "plain", weights, precision=precision)
    with SURROUNDINGS[around]():
        before = generators(), list(warnings.filters), torch.get_default_dtype(), torch.get_default_device()
        found = rows_of(tmp_path / "around", weights, precision=precision)
        assert (generators(), list(warnings.filters), torch.get_default_dtype(), torch.get_default_device()) == before
    assert found[0] == cells
    pd.testing.assert_frame_equal(found[1], expected, check_exact=True)


def test_a_training_inside_of_a_run_leaves_the_generators(home, tmp_path):
    before = generators()
    xaibench.run("idsds", model="tiny", dataset="mini", methods="ixg", images=1, out=tmp_path / "r", quiet=True)
    assert generators() == before


@pytest.fixture
def photos():
    dice = torch.Generator().manual_seed(0)
    return [(torch.rand(3, 32, 32, generator=dice), number % 4) for number in range(4)]


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(),
        nn.Linear(8, 4),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("around", SURROUNDINGS)
def test_objects_give_the_same_rows_and_are_left_as_they_were(around, home, photos, tmp_path):
    net = network()
    net[1].eval()
    net[0].requires_grad_(False)
    net(photos[0][0][None]).sum().backward()

    def run(out):
        results = xaibench.run(
            "sds", model=net, dataset=photos, methods=["ixg", "grad-cam", "rise"], out=tmp_path / out, quiet=True
        )
        return results.cells, results.rows.sort_values(["method", "image_id"])["score"].tolist()

    expected = run("plain")
    with SURROUNDINGS[around]():
        before = state_of(net)
        assert run("around") == expected
        assert state_of(net) == before


def test_a_run_of_an_object_that_other_threads_explain_has_its_own_key_and_rows(home, photos, tmp_path):
    net, ends = network().eval(), threading.Event()

    def run(out):
        found = xaibench.run("sds", model=net, dataset=photos, methods=["grad-cam"], out=tmp_path / out, quiet=True)
        return found.cells, found.rows.sort_values("image_id")["score"].tolist()

    def explain():
        maps = []
        while not ends.is_set():
            maps.append(xaibench.attribute(net, photos[0][0][None], 1, "grad-cam"))
        return maps

    expected = run("alone")
    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(explain) for _ in range(2)]
        try:
            assert [run(f"beside {number}") for number in range(3)] == [expected] * 3
        finally:
            ends.set()
        maps = [each for other in others for each in other.result(timeout=60)]
    assert maps and all(torch.equal(each, maps[0]) for each in maps)


def test_an_object_that_fails_is_left_as_it_was(home, photos, tmp_path):
    class Fails(nn.Sequential):
        def forward(self, x):
            if torch.is_grad_enabled():
                raise OSError("no gradients here")
            return super().forward(x)

    net = Fails(*network())
    before = state_of(net)
    with pytest.raises(XaibenchError, match="no gradients here"):
        xaibench.run("sds", model=net, dataset=photos, methods=["ixg"], out=tmp_path / "out", quiet=True)
    assert state_of(net) == before


def by_the_batch():
    parts = [nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*parts)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.DataParallel(network()), None),
        (lambda: torch.ao.quantization.quantize_dynamic(network(), {nn.Linear}, dtype=torch.qint8), "is quantised"),
        (by_the_batch, r"module 1 .* has no running statistics"),
    ],
    ids=["DataParallel", "quantised", "without statistics"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_objects_that_are_wrapped_or_no_networks_of_floats(make, words, home, photos, tmp_path):
    def run(model):
        return xaibench.run("sds", model=model, dataset=photos, methods=["ixg"], out=tmp_path / "out", quiet=True)

    net = make()
    if words is None:
        assert run(net).rows["score"].tolist() == run(net.module).rows["score"].tolist()
        return
    with pytest.raises(XaibenchError, match=words) as caught:
        run(net)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("around", ["float64 by default", "device meta by default", "autocast", "inference mode"])
def test_explanations_do_not_depend_on_what_is_around_the_call(around, weights, tmp_path):
    image = open_dataset(registry.card("dataset", "mini"), None, {}).image_list(1)[0]

    def maps():
        (seen,) = xaibench.explain(
            image, model="tiny", weights=str(weights), dataset="mini",
            methods="ixg-sg,grad-cam,gradient-shap",
        )  # fmt: skip
        return seen.maps | {"prediction": torch.tensor(seen.prediction.probability, dtype=torch.float64, device="cpu")}

    expected = maps()
    with SURROUNDINGS[around]():
        before = generators()
        found = maps()
        assert generators() == before
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
