"""What each of several processes does in the tests of trainings by several processes: `torchrun` starts this file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn
from torchvision.ops import StochasticDepth

import xaibench
from xaibench.cards import Alignment, Geometry
from xaibench.datasets.critters import Critters
from xaibench.errors import XaibenchError
from xaibench.models.base import Encoding, Model
from xaibench.training import loop, together
from xaibench.training.adversarial import Adversarial
from xaibench.training.cgc import Cgc
from xaibench.training.classifier import Classification
from xaibench.training.fit_level import FitLevel
from xaibench.training.guidance.guided import Guided
from xaibench.training.guidance.targets import Annotations
from xaibench.training.lico.task import Lico
from xaibench.training.recipe import Recipe
from xaibench.training.resources import TrainingResources
from xaibench.training.self_alignment import SelfAlignment
from xaibench.training.task import Split
from xaibench.training.train import TrainingJob, train

CHECKOUT = Path(xaibench.__file__).parents[1]
RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=0.02, augmentation="flip", weight_decay=1e-3)
GUIDED = {"weight": 0.003, "annotations": Annotations(fraction=0.5)}
CELL = {"grid": 4, "baseline": "zero", "probability": 0.5}
PLAIN, BATCHWISE, TOKENS = "plain", "batch norm and dropout", "layer norm"
CASES = {  # task, network, changes of the recipe
    "classifier": (Classification(), PLAIN, {}),
    "clipped": (Classification(), PLAIN, {"accumulation": 2, "gradient_clip": 0.3, "schedule": "cosine"}),
    "weights": (Classification(), PLAIN, {"class_weights": True}),
    "head": (Classification(), PLAIN, {"head_epochs": 1}),
    "several": (Classification(), PLAIN, {"labels": "several", "loss": "binary-cross-entropy"}),
    "deletion": (Classification(Alignment(**CELL)), BATCHWISE, {}),
    "self": (SelfAlignment(Alignment(**CELL, teacher="self", images=29)), BATCHWISE, {"batch_size": 128}),
    "overfitted": (FitLevel("over"), PLAIN, {"batch_size": 4}),
    "adversarial": (Adversarial("linf", 0.03, 3), BATCHWISE, {}),
    "guided": (Guided(**GUIDED), PLAIN, {}),
    "guided-batch": (Guided(over="batch", **GUIDED), BATCHWISE, {}),
    "cgc": (Cgc(), PLAIN, {}),
    "cgc-batchwise": (Cgc(temperature=0.1), BATCHWISE, {}),
    "lico": (Lico(contexts=3), PLAIN, {}),
    "lico-batchwise": (Lico(contexts=3), BATCHWISE, {}),
}


def small_model(kind: str = PLAIN) -> Model:
    """A network of three layers; `BATCHWISE` has layers that see the batch."""
    torch.manual_seed(0)
    between = lambda: [nn.Tanh()]  # noqa: E731
    if kind == BATCHWISE:
        between = lambda: [nn.BatchNorm2d(8), nn.Softplus(), StochasticDepth(0.2, "row"), nn.Dropout2d(0.1)]  # noqa: E731
    features = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), *between(), nn.Conv2d(8, 8, 3, 2, 1), *between())
    drop = [nn.Dropout(0.3)] if kind == BATCHWISE else []
    net = nn.Sequential(features, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10), *drop)
    return Model("small", net, Encoding((0.4, 0.5, 0.6), (0.25, 0.2, 0.3)), "0", (8, 8), 10)


def trained(name: str, folder: Path) -> Path:
    """Trains a case and returns the path of its weights."""
    task, kind, changes = CASES[name]
    split = Split(Critters("train", 29, 32), Critters("val", 21, 32), Geometry(resize=32, crop=32))
    recipe = RECIPE.model_copy(update=changes)
    job = TrainingJob(task, recipe, folder / name, title=name, head=("3.weight", "3.bias"))
    return train(small_model(kind), split, job, TrainingResources(quiet=True))


def work(folder: Path) -> None:
    """Trains every case; the last process reads late, and the first keeps late."""
    rank, save, read = int(os.environ["RANK"]), sys.modules["xaibench.training.train"].save_state, loop.read_state

    def late(function):
        def call(*arguments):
            time.sleep(0.3)
            return function(*arguments)

        return call

    if rank:
        loop.read_state = late(read)
    else:
        sys.modules["xaibench.training.train"].save_state = late(save)
    for name in CASES:
        path = trained(name, folder)
        assert path.is_file(), f"process {rank} went on before the weights of {name} were there"
    interrupted(folder / "again", folder / "halfway" if rank == 0 else None)
    trained("classifier", folder / "again")
    (folder / f"done-{rank}").touch()


def interrupted(folder: Path, copy: Path | None = None) -> None:
    """Ends the training of `classifier` at the beginning of its second epoch."""
    begun, batches = [], loop.batches

    def second(loader):
        begun.append(loader)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return batches(loader)

    loop.batches = second
    with suppress(KeyboardInterrupt):
        trained("classifier", folder)
    loop.batches = batches
    if copy:
        shutil.copytree(folder, copy)


def fail(folder: Path) -> None:
    """One of the processes meets an image that cannot be loaded; the other would wait for it."""

    class Broken(Critters):
        def load(self, image_id):
            if os.environ["RANK"] == "1" and image_id == self.ids[5]:
                raise XaibenchError(f"{image_id} is broken")
            return super().load(image_id)

    split = Split(Broken("train", 32, 32), Critters("val", 4, 32), Geometry(resize=32, crop=32))
    job = TrainingJob(Classification(), RECIPE.model_copy(update={"epochs": 50}), folder, title="broken")
    train(small_model(), split, job, TrainingResources(quiet=True))


def differ(folder: Path) -> None:
    """The second process has another torch, then another folder of the same name, then fewer images."""
    rank, versions = int(os.environ["RANK"]), together.package_versions
    together.package_versions = lambda: versions() | ({"torch": "1.0"} if rank else {})
    refused(lambda: trained("classifier", folder / "torch"), "process 1 on .* has another torch than .*: 1.0, not 2")
    together.package_versions = versions
    refused(lambda: trained("classifier", folder / f"disk {rank}"), "process 1 on .* has another folder than .*: no /")
    images = Critters("train", 29 - rank, 32)
    split = Split(images, Critters("val", 4, 32), Geometry(resize=32, crop=32))
    job = TrainingJob(Classification(), RECIPE, folder / "fewer")
    fewer = lambda: train(small_model(), split, job, TrainingResources(quiet=True))  # noqa: E731
    refused(fewer, "process 1 on .* has another number of training images than .*: 28, not 29")
    (folder / f"done-{rank}").touch()


def refused(call: Callable[[], object], message: str) -> None:
    """Whether a call raises an error of one line."""
    try:
        call()
    except XaibenchError as error:
        assert re.match(message, str(error)), error
    else:
        raise AssertionError(f"not refused: {message}")


def launch(file: str, *words: str) -> subprocess.CompletedProcess:
    """Two processes of a Python file beside this one."""
    path = os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")])
    launcher = ["--nproc_per_node", "2", "--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0"]
    command = [sys.executable, "-m", "torch.distributed.run", *launcher, str(Path(__file__).with_name(file)), *words]
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, text=True, timeout=400, env=environment, capture_output=True, check=False)


if __name__ == "__main__":
    {"work": work, "fail": fail, "differ": differ}[sys.argv[1]](Path(sys.argv[2]))
