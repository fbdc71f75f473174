"""Layers while a network learns: batch normalisation by a batch or by what was kept, dropout drawn or off."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from xaibench.training.loop import fit
from xaibench.training.recipe import Recipe
from xaibench.training.resources import TrainingResources
from xaibench.training.steps import set_modes
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


@pytest.mark.parametrize("statistics", ["batch", "kept"])
@pytest.mark.parametrize("dropout", ["drawn", "off"])
def test_dropout_and_statistics_do_not_depend_on_each_other(statistics, dropout):
    """A function that draws by its module's flag, as in timm, and one within a module that has statistics below it."""

    class Functional(nn.Module):
        def forward(self, x):
            return nn.functional.dropout(x, 0.9, self.training)

    net = nn.Sequential(nn.Dropout(0.9), nn.Sequential(nn.BatchNorm1d(8), Functional()), nn.InstanceNorm1d(8))
    set_modes(net, Recipe(statistics=statistics, dropout=dropout))
    assert net[0].training == net[1][1].training == (dropout == "drawn")
    assert net[1][0].training == (statistics == "batch")
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(net[1][1](net[0](x)), x) == (dropout == "off")


def test_trainings_of_before_keep_their_keys():
    assert "dropout" not in Recipe().key_fields and Recipe(dropout="off").key_fields["dropout"] == "off"
    assert "statistics" not in Recipe().key_fields and Recipe(statistics="kept").key_fields["statistics"] == "kept"
