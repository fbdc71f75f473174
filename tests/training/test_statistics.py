"""Batch normalisation while a network learns: by the statistics of a batch, or by those that the weights kept."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from xaibench.training.loop import fit
from xaibench.training.recipe import Recipe
from xaibench.training.resources import TrainingResources
from xaibench.training.task import Objective

STATISTICS = ("1.running_mean", "1.running_var", "1.num_batches_tracked")


def network():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    net[1].running_mean.normal_(), net[1].running_var.uniform_(0.5, 2)
    return net


def points():
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, (x[:, 0] > 0).long())


def trained(folder, statistics):
    """A network after two steps of gradient descent on all points."""
    recipe = Recipe(
        epochs=2, batch_size=64, learning_rate=0.3, momentum=0, weight_decay=0, schedule="constant",
        statistics=statistics,
    )  # fmt: skip
    net = network()
    loss = lambda net, batch: {"loss": nn.functional.cross_entropy(net(batch[0]), batch[1])}  # noqa: E731
    evaluate = lambda net: {"accuracy": 0.0}  # noqa: E731
    fit(
        Objective(net, loss, points(), evaluate),
        recipe,
        folder,
        title="points",
        resources=TrainingResources(quiet=True),
    )
    return net.state_dict()


@pytest.mark.parametrize("statistics", ["batch", "kept"])
def test_steps_are_those_of_the_network_in_that_mode(tmp_path, statistics):
    found = trained(tmp_path, statistics)
    expected = network().double().train(statistics == "batch")
    x, y = points().tensors
    for _ in range(2):
        expected.zero_grad()
        nn.functional.cross_entropy(expected(x.double()), y).backward()
        with torch.no_grad():
            for p in expected.parameters():
                p -= 0.3 * p.grad
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found[name].double(), value.double(), atol=1e-6, rtol=1e-5, msg=name)
    kept = [torch.equal(found[name], network().state_dict()[name]) for name in STATISTICS]
    assert all(kept) if statistics == "kept" else not any(kept)


def test_trainings_of_before_keep_their_keys():
    assert "statistics" not in Recipe().key_fields and Recipe(statistics="kept").key_fields["statistics"] == "kept"
