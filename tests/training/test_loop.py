"""The training loop: resumed trainings, metrics, the best epoch, early words about infinite losses."""

from __future__ import annotations

import math

import pyarrow.parquet as pq
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from xaibench.errors import XaibenchError
from xaibench.training.loop import fit
from xaibench.training.recipe import Recipe
from xaibench.training.task import Objective

RECIPE = Recipe(epochs=4, batch_size=8, learning_rate=0.1, nesterov=True, schedule="one-cycle")


def points(count=64):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 4, generator=generator)
    return TensorDataset(x, (x @ torch.tensor([1.0, -2.0, 0.5, 0.0]) > 0).long())


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))


def loss(net, batch):
    return {"loss": nn.functional.cross_entropy(net(batch[0]), batch[1])}


def right(net):
    x, y = points().tensors
    with torch.no_grad():
        return {"accuracy": float((net.eval()(x).argmax(1) == y).float().mean())}


def train(folder, evaluate=right, loss=loss, recipe=RECIPE):
    net = network()
    return net, fit(Objective(net, loss, points(), evaluate), recipe, folder, title="points", quiet=True)


def test_training_learns_and_writes_a_row_per_epoch(tmp_path):
    net, trained = train(tmp_path)
    rows = pq.read_table(tmp_path / "metrics.parquet").to_pylist()
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"] and right(net)["accuracy"] > 0.9
    assert not (tmp_path / "checkpoint").exists() and trained.history[0]["accuracy"] == rows[0]["accuracy"]


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_killed_training_ends_in_the_same_weights(tmp_path, after):
    whole, trained = train(tmp_path / "whole")
    calls = []

    def killed(net, batch):
        calls.append(1)
        if len(calls) == after * 8 + 4:  # in the middle of an epoch
            raise KeyboardInterrupt
        return loss(net, batch)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", loss=killed)
    more = []

    def counted(net, batch):
        more.append(1)
        return loss(net, batch)

    resumed, again = train(tmp_path / "killed", loss=counted)
    assert len(more) == (4 - after) * 8  # whole epochs that were done are not done again
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    drop = lambda history: [{k: v for k, v in row.items() if k != "seconds"} for row in history]  # noqa: E731
    assert drop(again.history) == drop(trained.history)


def test_a_result_that_could_not_be_kept_is_not_lost(tmp_path):
    def full(net, trained):
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        fit(Objective(network(), loss, points(), right), RECIPE, tmp_path, title="points", quiet=True, keep=full)
    kept, again = [], network()
    fit(
        Objective(again, lambda net, batch: pytest.fail("trained again"), points(), right), RECIPE, tmp_path,
        title="points", quiet=True, keep=lambda net, trained: kept.append(trained.epoch),
    )  # fmt: skip
    assert len(kept) == 1 and right(again)["accuracy"] > 0.9


def test_the_best_epoch_is_kept(tmp_path):
    values = iter([0.2, 0.9, 0.9, 0.1])
    kept = []

    def evaluate(net):
        kept.append({k: v.clone() for k, v in net.state_dict().items()})
        return {"accuracy": next(values)}

    net, trained = train(tmp_path, evaluate)
    assert trained.epoch == 3  # the last of equals
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in kept[2].items())
    assert not all(torch.equal(v, net.state_dict()[k]) for k, v in kept[3].items())


def test_an_infinite_loss_stops_at_once(tmp_path):
    calls = []

    def diverging(net, batch):
        calls.append(1)
        return {"loss": loss(net, batch)["loss"] * (math.inf if len(calls) == 3 else 1)}

    with pytest.raises(XaibenchError, match=r"loss is inf in epoch 1, batch 3"):
        train(tmp_path, loss=diverging)


def test_too_few_images_for_a_batch(tmp_path):
    with pytest.raises(XaibenchError, match="do not fill one batch of 100"):
        train(tmp_path, recipe=Recipe(batch_size=100))
