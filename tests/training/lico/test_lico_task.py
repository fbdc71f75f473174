"""LICO as a task: its loss is the sum of its terms, what is dropped is not kept, trainings repeat themselves."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from xaibench.cards import Geometry
from xaibench.datasets.critters import Critters
from xaibench.errors import XaibenchError
from xaibench.models.base import Encoding, Model
from xaibench.models.state import read_state
from xaibench.training.lico.losses import mm_loss, ot_loss
from xaibench.training.lico.task import Lico
from xaibench.training.recipe import Recipe
from xaibench.training.resources import TrainingResources
from xaibench.training.task import Split
from xaibench.training.train import TrainingJob, train

RECIPE = Recipe(start="scratch", epochs=2, batch_size=8, learning_rate=0.05, augmentation="flip")
SPLIT = Split(Critters("train", 24, 32), Critters("val", 8, 32), Geometry(resize=32, crop=32))


def network(cam_layer="0"):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 8, 8), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10)
    )
    return Model("tiny", net, Encoding((0.5,) * 3, (0.25,) * 3), cam_layer, (4, 4), 10)


def objective(task, model=None, recipe=RECIPE):
    return task.objective(model or network(), SPLIT, recipe, seed=0, workers=0)


def batch(data):
    inputs, labels, ids = zip(*(data[i] for i in range(8)), strict=True)
    return torch.stack(inputs), torch.tensor(labels), ids


@pytest.mark.parametrize("terms", [("mm", "ot"), ("mm",), ("ot",)])
def test_the_loss_is_the_weighted_sum_of_its_terms(terms):
    task = Lico(terms, alpha=3, beta=0.5)
    made = objective(task)
    inputs, labels, ids = batch(made.data)
    found = made.loss(made.net, (inputs, labels, ids))
    classified = F.cross_entropy(made.net.net(inputs), labels)
    assert found["classification"].item() == pytest.approx(classified.item(), rel=1e-5)
    expected = classified + 3 * found.get("mm", 0) + 0.5 * found.get("ot", 0)
    assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert {"mm", "ot"} & found.keys() == set(terms)
    assert ("scale" in found) == ("mm" in terms) and ("ot_error" in found) == ("ot" in terms)
    assert found.get("scale", torch.tensor(1 / 0.07)).item() == pytest.approx(1 / 0.07, rel=1e-5)
    found["loss"].backward()
    assert all(parameter.grad is not None for parameter in made.net.parameters())  # several devices need that


def test_the_terms_are_between_the_map_and_the_text():
    made = objective(Lico())
    inputs, labels, ids = batch(made.data)
    order = torch.randperm(12)
    out = made.net(inputs, labels, order)
    maps = made.net.net[0](inputs).flatten(2)
    assert torch.allclose(out.images, maps, atol=1e-5) and out.images.shape == (8, 6, 16)
    from xaibench.training.lico.text import Words

    texts = made.net.projection(Words()(made.net.prompts(labels, order)))  # one by one, not once a class
    assert torch.allclose(out.texts, texts, atol=1e-5) and out.texts.shape == (8, 12 + 2 + 1, 16)
    found = Lico(contexts=1)  # one context has one order
    made = objective(found)
    out = made.net(inputs, labels, torch.arange(1))
    terms = made.loss(made.net, (inputs, labels, ids))
    assert terms["mm"].item() == pytest.approx(mm_loss(out.images, out.texts, out.log_scale).item(), rel=1e-4)
    assert terms["ot"].item() == pytest.approx(ot_loss(out.images, out.texts)[0].item(), rel=1e-4)


def test_the_order_of_the_context_depends_on_epoch_and_image_alone(monkeypatch):
    made = objective(Lico())
    orders = []
    plain = made.net.prompts.forward
    monkeypatch.setattr(
        made.net.prompts, "forward", lambda classes, order: orders.append(order) or plain(classes, order)
    )
    inputs, labels, ids = batch(made.data)
    for epoch, first in ((0, 0), (0, 0), (1, 0), (0, 1)):
        made.data.epoch = epoch
        torch.manual_seed(len(orders))
        made.loss(made.net, (inputs, labels, ids[first:] + ids[:first]))
    assert torch.equal(orders[0], orders[1]) and sorted(orders[0].tolist()) == list(range(12))
    assert not torch.equal(orders[0], orders[2]) and not torch.equal(orders[0], orders[3])


@pytest.mark.parametrize(("value", "bound"), [(-2.0, 0.0), (9.0, math.log(100))])
def test_the_scale_stays_in_its_bounds_and_can_come_back(value, bound):
    made = objective(Lico(("mm",)))
    with torch.no_grad():
        made.net.log_scale.fill_(value)
    found = made.loss(made.net, batch(made.data))
    assert found["scale"].item() == pytest.approx(math.exp(bound), rel=1e-5)
    found["loss"].backward()
    assert made.net.log_scale.grad.abs() > 0


def trained(folder, task, global_seed=0):
    model = network()
    torch.manual_seed(global_seed)
    return train(model, SPLIT, TrainingJob(task, RECIPE, folder), TrainingResources(quiet=True))


@pytest.mark.process
@pytest.mark.parametrize("prompt", ["shared", "class-specific", "label-first"])
def test_only_the_image_model_is_kept_and_trainings_repeat(tmp_path, prompt):
    first, again = (read_state(trained(tmp_path / str(i), Lico(prompt=prompt), i)) for i in range(2))
    assert first.tensors.keys() == network().net.state_dict().keys()
    assert all(torch.equal(first.tensors[key], again.tensors[key]) for key in first.tensors)
    assert not torch.equal(first.tensors["0.weight"], network().net[0].weight)
    assert {"train_mm", "train_ot", "train_ot_error", "accuracy"} <= first.header["metrics"].keys()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"terms": ()}, "the baseline without both"), ({"terms": ("mm", "op")}, "--terms 'mm,op' is none"),
        ({"terms": ("ot", "ot")}, "--terms"), ({"prompt": "front"}, "--prompt 'front'"), ({"alpha": 0}, "--alpha"),
        ({"beta": math.inf}, "--beta"), ({"epsilon": -1}, "--epsilon"), ({"contexts": 0}, "--contexts"),
        ({"iterations": 0}, "--iterations"),
    ],
)  # fmt: skip
def test_settings_that_are_none(settings, words):
    with pytest.raises(XaibenchError, match=words):
        Lico(**settings)


def test_what_cannot_be_trained_so():
    with pytest.raises(XaibenchError, match="--batch-size of 2 or more"):
        objective(Lico(), recipe=RECIPE.model_copy(update={"batch_size": 1}))
    with pytest.raises(XaibenchError, match="labels=single"):
        objective(Lico(), recipe=RECIPE.model_copy(update={"labels": "several"}))
    with pytest.raises(XaibenchError, match="no layer with a spatial map"):
        objective(Lico(), network(cam_layer=""))
    made = objective(Lico(), network(cam_layer="3"))
    with pytest.raises(XaibenchError, match=r"layer 3 must run once in a pass and give a map"):
        made.loss(made.net, batch(made.data))


def test_facts_name_what_counts():
    assert Lico().key_fields.keys() > {"alpha", "beta", "epsilon", "text"}
    assert "alpha" not in Lico(("ot",)).key_fields and "epsilon" not in Lico(("mm",)).key_fields
    assert Lico(("ot", "mm")).key_fields == Lico().key_fields


@pytest.mark.process
def test_a_killed_training_ends_in_the_same_weights(tmp_path):
    """What is dropped at the end is in the checkpoint: contexts, projection and scale go on as they were."""
    whole = read_state(trained(tmp_path / "whole", Lico()))

    class Killed(Lico):
        def _loss(self, *what):
            inner, calls = super()._loss(*what), []

            def loss(net, batch):
                calls.append(1)
                if len(calls) == 5:  # in the second epoch of three batches
                    raise KeyboardInterrupt
                return inner(net, batch)

            return loss

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed", Killed())
    resumed = read_state(trained(tmp_path / "killed", Lico()))
    assert all(torch.equal(whole.tensors[key], resumed.tensors[key]) for key in whole.tensors)
