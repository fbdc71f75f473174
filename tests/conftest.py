"""A small home for end-to-end tests: a network of a few thousand parameters and a few drawn images."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import fields
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # for `surroundings.py`, which tests of several rooms import

NETWORK = '''
"""A network that trains in a second."""
from torch import nn


def build(num_classes, width=8):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(width),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, num_classes),
    )
'''
MODEL_CARD = """
title = "A tiny network for tests"
target = "xaibench_test_network:build"
cam_layer = "4"
"""
DATASET_CARD = """
title = "A few critters for tests"
target = "xaibench.datasets.critters:Critters"
parameters = { split = "test", count = 40 }
train_parameters = { split = "train", count = 48 }
validation_parameters = { split = "val", count = 16 }
geometry = { resize = 32, crop = 32 }
needs_root = false
default_profile = "quick"

[profiles.quick]
images = 8
overrides = { steps = 3, masks = 6 }

[recipe]
start = "scratch"
epochs = 2
batch_size = 16
learning_rate = 0.05
augmentation = "flip"
"""


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """One thread: the networks of these tests are too small for more."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def nothing_waits_for_the_disk():
    """No test ends by a power failure; processes that are killed keep the real call."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda number: None)
        yield


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """What a test plugs in is forgotten after it."""
    from xaibench import registry

    monkeypatch.setattr(registry, "_decorated", dict(registry._decorated))
    monkeypatch.setattr(registry, "_folders", list(registry._folders))


@pytest.fixture
def evidence():
    """Makes evidence: evidence(net, images, targets, ids, chunk=..., ...); its hooks come off after the test."""
    import torch

    from xaibench.attribution.evidence import Evidence
    from xaibench.attribution.runner import ModelRunner
    from xaibench.models.base import ModelView

    opened: list[ModelRunner] = []

    def make(net, images, targets, ids=None, *, chunk: int = 32, **settings) -> Evidence:
        opened.append(ModelRunner(net, chunk=chunk))
        ids = [f"photo {i}" for i in range(len(images))] if ids is None else ids
        known = {"cam_layer": getattr(net, "body", None)}
        known |= {field.name: settings.pop(field.name) for field in fields(ModelView) if field.name in settings}
        targets, owner, output = torch.as_tensor(targets), settings.pop("owner", None), settings.pop("output", "logit")
        first = targets if owner is None else targets.new_zeros(len(images))
        e = Evidence(opened[-1], images, first, ids, view=ModelView(**known), **settings)
        return e if owner is None and output == "logit" else e.explaining(targets, owner, output)

    yield make
    for runner in opened:
        runner.__exit__()


def pytest_configure(config):
    """Cards and weights of who runs the tests are not tested: where they name no home, it is an empty folder."""
    if "XAIBENCH_HOME" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="xaibench-tests-", ignore_cleanup_errors=True)
        os.environ["XAIBENCH_HOME"] = folder.name
        config.add_cleanup(folder.cleanup)


def _small_home(folder: Path) -> Path:
    """Fills a folder for XAIBENCH_HOME with the model card `tiny` and the data set card `mini`."""
    for kind, name, text in (("models", "tiny", MODEL_CARD), ("datasets", "mini", DATASET_CARD)):
        (folder / "cards" / kind).mkdir(parents=True)
        (folder / "cards" / kind / f"{name}.toml").write_text(text)
    (folder / "xaibench_test_network.py").write_text(NETWORK)
    return folder


@pytest.fixture(scope="session")
def small_home(tmp_path_factory) -> Path:
    """A folder for XAIBENCH_HOME with the model card `tiny` and the data set card `mini`; it keeps trained weights."""
    return _small_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def untrained_home(tmp_path_factory) -> Path:
    """A small home of this module alone, for modules that put it in place of `small_home`."""
    return _small_home(tmp_path_factory.mktemp("untrained"))


@pytest.fixture
def home(small_home, monkeypatch, tmp_path) -> Path:
    """The small home, current for one test, which runs in an empty working folder."""
    monkeypatch.setenv("XAIBENCH_HOME", str(small_home))
    monkeypatch.syspath_prepend(str(small_home))
    monkeypatch.chdir(tmp_path)
    return small_home


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the command line in this process: command("run", "sds", ...) gives (exit status, stdout, stderr).

    What it plugs in is forgotten after it, as at the end of a process.
    """
    from xaibench import registry
    from xaibench.cli import main

    def call(*words: object) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["xaibench", *map(str, words)])
            patch.setattr(sys, "path", list(sys.path))
            patch.setattr(registry, "_decorated", dict(registry._decorated))
            patch.setattr(registry, "_folders", list(registry._folders))
            try:
                main()
                status = 0
            except SystemExit as end:
                status = int(end.code or 0)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder of ten photos in two class folders, 70 x 90 pixels of noise."""
    import numpy as np
    from PIL import Image

    root, random = tmp_path / "photos", np.random.default_rng(0)
    for name in ("ape", "bee"):
        (root / name).mkdir(parents=True)
        for number in range(5):
            pixels = random.integers(0, 255, (70, 90, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real photos beside the checkout; tests that need it are skipped where it is missing."""
    folder = Path(__file__).parents[2] / "shared" / "real"
    if not folder.is_dir():
        pytest.skip("no folder of real photos beside the checkout (../shared/real)")
    return folder
