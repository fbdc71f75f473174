"""Several processes train what one does: they share each batch, leave one result, and end together.

This file is its own worker: `torchrun` starts it with a folder, and each process trains every case there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

import xaibench
from xaibench.cards import Geometry
from xaibench.datasets.critters import Critters
from xaibench.errors import XaibenchError
from xaibench.models.base import Encoding, Model
from xaibench.models.state import file_digest, read_state
from xaibench.training import loop
from xaibench.training.adversarial import Adversarial
from xaibench.training.cgc import Cgc
from xaibench.training.classifier import Classification
from xaibench.training.guidance.guided import Guided
from xaibench.training.guidance.targets import Annotations
from xaibench.training.lico.task import Lico
from xaibench.training.processes import check_shares, mean_values, process_count, process_mean
from xaibench.training.recipe import Recipe
from xaibench.training.resources import TrainingResources
from xaibench.training.task import Split
from xaibench.training.train import TrainingJob, train

CHECKOUT = Path(xaibench.__file__).parents[1]
RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=0.02, augmentation="flip", weight_decay=1e-3)
GUIDED = {"weight": 0.003, "annotations": Annotations(fraction=0.5)}
SAME = {  # the losses of these are means over images, so sharing a batch changes nothing but rounding
    "classifier": (Classification(), {}),
    "clipped": (Classification(), {"accumulation": 2, "gradient_clip": 0.3, "schedule": "cosine"}),
    "weights": (Classification(), {"class_weights": True}),
    "head": (Classification(), {"head_epochs": 1}),
    "adversarial": (Adversarial("linf", 0.03, 3), {}),
    "guided": (Guided(**GUIDED), {}),
    "guided-batch": (Guided(over="batch", **GUIDED), {}),
}
OTHER = {  # these contrast the images of a batch, which are those of one process
    "cgc": (Cgc(), {}),
    "lico": (Lico(contexts=2), {}),
}


def small_model() -> Model:
    """A network without normalisation layers, whose statistics are those of a process's images."""
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Tanh(), nn.Conv2d(8, 8, 3, 2, 1), nn.Tanh())
    net = nn.Sequential(features, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10))
    return Model("small", net, Encoding((0.4, 0.5, 0.6), (0.25, 0.2, 0.3)), "0", (8, 8), 10)


def trained(name: str, folder: Path) -> Path:
    """Trains a case and returns the path of its weights."""
    task, changes = (SAME | OTHER)[name]
    split = Split(Critters("train", 29, 32), Critters("val", 12, 32), Geometry(resize=32, crop=32))
    recipe = RECIPE.model_copy(update=changes)
    job = TrainingJob(task, recipe, folder / name, title=name, head=("3.weight", "3.bias"))
    return train(small_model(), split, job, TrainingResources(quiet=True))


def work(folder: Path) -> None:
    """What each process does; the last one reads late, and the first keeps late."""
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
    for name in (*SAME, *OTHER):
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
    recipe = RECIPE.model_copy(update={"epochs": 50})
    train(
        small_model(),
        split,
        TrainingJob(Classification(), recipe, folder, title="broken"),
        TrainingResources(quiet=True),
    )


def launch(what: str, folder: Path) -> subprocess.CompletedProcess:
    """Two processes of this file."""
    path = os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")])
    words = ["--nproc_per_node", "2", "--master_port", "0", "--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0"]
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words, __file__, what, str(folder)], text=True, timeout=280,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}, capture_output=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> Path:
    """The folder where two processes have trained every case."""
    folder = tmp_path_factory.mktemp("together")
    ended = launch("work", folder)
    assert ended.returncode == 0, ended.stderr
    assert (folder / "done-0").exists() and (folder / "done-1").exists()
    return folder


def rows(folder: Path) -> list[dict]:
    return pq.read_table(folder / "metrics.parquet").to_pylist()


@pytest.mark.slow
@pytest.mark.parametrize("name", SAME)
def test_two_processes_take_the_steps_of_one(name, together, tmp_path):
    alone, shared = read_state(trained(name, tmp_path)), read_state(together / name / "weights.safetensors")
    start = small_model().net.state_dict()
    for key, value in alone.tensors.items():
        torch.testing.assert_close(shared.tensors[key], value, rtol=1e-4, atol=2e-6)
    assert (alone.tensors["3.weight"] - start["3.weight"]).abs().max() > 1e-3, "far beyond the tolerance"
    for mine, theirs in zip(rows(tmp_path / name), rows(together / name), strict=True):
        assert mine.keys() == theirs.keys()
        for key in mine.keys() - {"seconds", "train_seconds"}:
            assert theirs[key] == pytest.approx(mine[key], rel=1e-3, abs=1e-5), key


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SAME, *OTHER])
def test_one_result_is_left(name, together):
    assert sorted(p.name for p in (together / name).iterdir()) == ["metrics.parquet", "weights.safetensors"]
    assert [row["epoch"] for row in rows(together / name)] == [1, 2]


@pytest.mark.slow
def test_processes_go_on_where_they_or_others_stopped(together, tmp_path):
    """Two processes after two, bit for bit; one after two, and the weights of both are those of one alone."""
    whole, again = (together / name / "weights.safetensors" for name in ("classifier", "again/classifier"))
    assert file_digest(again) == file_digest(whole)
    shutil.copytree(together / "halfway", tmp_path / "halfway")
    assert len(rows(tmp_path / "halfway" / "classifier")) == 1
    alone, first = read_state(trained("classifier", tmp_path / "halfway")), read_state(whole)
    for key, value in first.tensors.items():
        torch.testing.assert_close(alone.tensors[key], value, rtol=1e-4, atol=2e-6)


@pytest.mark.slow
def test_an_error_of_one_process_ends_all(tmp_path):
    ended = launch("fail", tmp_path)
    assert ended.returncode != 0 and "is broken" in ended.stderr
    assert not (tmp_path / "weights.safetensors").exists()


def test_batches_that_processes_cannot_share():
    check_shares(64, 4)
    check_shares(2, 1, 2)
    with pytest.raises(XaibenchError, match=r"^3 processes cannot share a batch of 64 images; take a multiple"):
        check_shares(64, 3)
    with pytest.raises(XaibenchError, match=r"^it contrasts images; take a --batch-size of 8 or more, 2 for each proc"):
        check_shares(4, 4, 2, "it contrasts images")


def test_a_process_alone_has_its_own_means(monkeypatch):
    total = torch.tensor(3.0, requires_grad=True)
    assert process_mean(total) is total and mean_values({"loss": 0.1}, torch.device("cpu")) == {"loss": 0.1}
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert process_count() == 1


if __name__ == "__main__":
    {"work": work, "fail": fail}[sys.argv[1]](Path(sys.argv[2]))
