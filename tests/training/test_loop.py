"""The training loop: resumed trainings, metrics, the best epoch, early words about infinite losses."""

from __future__ import annotations

import math

import pyarrow.parquet as pq
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from xaibench.errors import XaibenchError
from xaibench.training.loop import EpochOrder, fit
from xaibench.training.recipe import Recipe
from xaibench.training.resources import TrainingResources
from xaibench.training.task import Objective

RECIPE = Recipe(epochs=4, batch_size=8, learning_rate=0.1, nesterov=True, schedule="one-cycle")
ADAM = Recipe(
    epochs=4, batch_size=8, learning_rate=0.02, optimizer="adam", schedule="lico", gradient_clip=0.1, accumulation=3
)
TIMES = ("seconds", "train_seconds")

QUIET = TrainingResources(quiet=True)


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
    return net, fit(Objective(net, loss, points(), evaluate), recipe, folder, title="points", resources=QUIET)


def test_training_learns_and_writes_a_row_per_epoch(tmp_path):
    net, trained = train(tmp_path)
    rows = pq.read_table(tmp_path / "metrics.parquet").to_pylist()
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"] and right(net)["accuracy"] > 0.9
    assert not (tmp_path / "checkpoint").exists() and trained.history[0]["accuracy"] == rows[0]["accuracy"]


@pytest.mark.parametrize("recipe", [RECIPE, ADAM, ADAM.model_copy(update={"optimizer": "adamw"})])
@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_killed_training_ends_in_the_same_weights(tmp_path, after, recipe):
    whole, trained = train(tmp_path / "whole", recipe=recipe)
    calls = []

    def killed(net, batch):
        calls.append(1)
        if len(calls) == after * 8 + 4:  # in the middle of an epoch
            raise KeyboardInterrupt
        return loss(net, batch)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", loss=killed, recipe=recipe)
    more = []

    def counted(net, batch):
        more.append(1)
        return loss(net, batch)

    resumed, again = train(tmp_path / "killed", loss=counted, recipe=recipe)
    assert len(more) == (4 - after) * 8  # whole epochs that were done are not done again
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    drop = lambda history: [{k: v for k, v in row.items() if k not in TIMES} for row in history]  # noqa: E731
    assert drop(again.history) == drop(trained.history)


def test_a_result_that_could_not_be_kept_is_not_lost(tmp_path):
    def full(net, trained):
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        fit(Objective(network(), loss, points(), right), RECIPE, tmp_path, title="points", resources=QUIET, keep=full)
    kept, again = [], network()
    fit(
        Objective(again, lambda net, batch: pytest.fail("trained again"), points(), right), RECIPE, tmp_path,
        title="points", resources=QUIET, keep=lambda net, trained: kept.append(trained.epoch),
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

    with pytest.raises(XaibenchError, match=r"loss is inf in epoch 1, batch 3; lower the learning rate"):
        train(tmp_path, loss=diverging)


class Named(TensorDataset):
    """Points with image ids."""

    def __getitem__(self, index):
        return *super().__getitem__(index), f"photo{index}"


@pytest.mark.parametrize("what", ["loss", "the norm of the gradient"])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_what_is_not_finite_names_its_images_and_ruins_no_checkpoint(tmp_path, what, accumulation):
    """Batch 5 of epoch 2 has a loss, or only a gradient, that is NaN; the training goes on once that is mended."""
    recipe, calls, seen, broken = RECIPE.model_copy(update={"accumulation": accumulation}), [], [], [True]
    data = Named(*points().tensors)

    def odd(net, batch):
        calls.append(1)
        seen.append(list(batch[2]))
        value = loss(net, batch)["loss"]
        if broken and len(calls) == 8 + 5:
            extra = net[0].weight.sum() * (math.nan if what == "loss" else 0)
            value = value + (extra if what == "loss" else extra.abs().sqrt())  # the root of 0 has an infinite slope
        return {"loss": value}

    place = 5 if what == "loss" or accumulation == 1 else 6
    with pytest.raises(XaibenchError, match=rf"{what} is nan in epoch 2, batch {place} \(images photo") as caught:
        fit(Objective(network(), odd, data, right), recipe, tmp_path / "odd", title="points", resources=QUIET)
    blamed = seen[-3:] if place == 6 else seen[-1:]
    named = [word for ids in blamed for word in ids]
    assert ", ".join(named[:8]) in str(caught.value) and ("and 16 more" in str(caught.value)) == (place == 6)
    broken.clear()
    whole, mended = network(), network()
    fit(Objective(mended, odd, data, right), recipe, tmp_path / "odd", title="points", resources=QUIET)
    fit(Objective(whole, odd, data, right), recipe, tmp_path / "whole", title="points", resources=QUIET)
    for a, b in zip(whole.parameters(), mended.parameters(), strict=True):
        assert torch.equal(a, b)


def by_hand(recipe, batches_an_epoch):
    """Weights after a training by torch alone: the mean gradient of a group is that of its images together."""
    net, steps = network(), math.ceil(batches_an_epoch / recipe.accumulation)
    net[2].p = 0.0
    made = torch.optim.SGD(net.parameters(), lr=1, momentum=0.9, weight_decay=1e-4)
    x, y = points().tensors
    norms = []
    for epoch in range(recipe.epochs):
        sampler = EpochOrder(64, 0)
        sampler.epoch = epoch
        order = torch.tensor(list(sampler))
        for step in range(steps):
            size = recipe.accumulation * recipe.batch_size
            chosen = order[step * size : (step + 1) * size]
            made.zero_grad()
            nn.functional.cross_entropy(net(x[chosen]), y[chosen]).backward()
            norms.append(float(torch.cat([p.grad.flatten() for p in net.parameters()]).norm()))
            if recipe.gradient_clip and norms[-1] > recipe.gradient_clip:
                for p in net.parameters():
                    p.grad *= recipe.gradient_clip / norms[-1]
            for group in made.param_groups:
                group["lr"] = recipe.rate_at(epoch * steps + step, recipe.epochs * steps)
            made.step()
    return net, norms


@pytest.mark.parametrize(("accumulation", "clip"), [(1, None), (1, 0.6), (2, None), (3, None), (3, 0.6), (8, None)])
def test_gradients_are_averaged_over_batches_and_clipped_in_norm(tmp_path, accumulation, clip):
    """Eight batches an epoch: three at a time leave a last group of two, which is a step of its own."""
    recipe = Recipe(
        epochs=2, batch_size=8, learning_rate=0.1, schedule="cosine", accumulation=accumulation, gradient_clip=clip
    )
    expected, norms = by_hand(recipe, 8)
    assert clip is None or min(norms) < clip < max(norms), "some are clipped, some are not"
    net, last = network(), []
    net[2].p = 0.0

    def kept(plain, row):
        last.append({k: v.clone() for k, v in plain.state_dict().items()})

    objective = Objective(net, loss, points(), right, after_epoch=kept)
    fit(objective, recipe, tmp_path, title="points", resources=QUIET)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(last[-1][name], value, rtol=1e-4, atol=1e-6)
    steps = math.ceil(8 / accumulation)
    rates = [row["learning_rate"] for row in pq.read_table(tmp_path / "metrics.parquet").to_pylist()]
    assert rates == pytest.approx([recipe.rate_at(steps - 1, 2 * steps), recipe.rate_at(2 * steps - 1, 2 * steps)])


def test_a_monitored_metric_that_is_nan_is_the_worst(tmp_path):
    values = iter([0.2, math.nan, 0.1, math.nan])
    assert train(tmp_path, lambda net: {"accuracy": next(values)})[1].epoch == 1


def test_too_few_images_for_a_batch(tmp_path):
    with pytest.raises(XaibenchError, match="do not fill one batch of 100"):
        train(tmp_path, recipe=Recipe(batch_size=100))
