"""Losses of plug-ins: trained with, in the key with source and options, and named where they are wrong."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import xaibench
from xaibench import registry
from xaibench.cards import Geometry
from xaibench.datasets.critters import Critters
from xaibench.errors import XaibenchError
from xaibench.models.base import Encoding, Model
from xaibench.plugins import load_plugin
from xaibench.training.guidance.guided import Guided
from xaibench.training.guidance.localisation import find_loss
from xaibench.training.loop import fit
from xaibench.training.recipe import Recipe
from xaibench.training.resources import TrainingResources
from xaibench.training.task import Split

SIDE = 32
PLUGIN = """
import xaibench

@xaibench.guidance_loss("outside", power=2)
def outside(maps, masks, power):
    return (maps.relu() * ~masks).pow(power).mean((1, 2))
"""
RECIPE = Recipe.model_validate(Guided.recipe | {"epochs": 1, "batch_size": 8, "learning_rate": 1e-2})


@pytest.fixture
def plugin(tmp_path):
    """The file of the loss `outside`."""
    path = tmp_path / "my_loss.py"
    path.write_text(PLUGIN)
    load_plugin(path)
    return path


def trained(folder, **settings) -> tuple[dict[str, float], list[torch.Tensor]]:
    """The only epoch of a guided training of a small network, and its weights."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 10, 3, 2, 1), nn.AdaptiveAvgPool2d(1))
    net.append(nn.Flatten())
    model = Model("small", net, Encoding((0.0,) * 3, (1.0,) * 3), "0", (16, 16), 10)
    split = Split(Critters("train", 16, SIDE), Critters("val", 8, SIDE), Geometry(resize=SIDE, crop=SIDE))
    objective = Guided(weight=0.1, **settings).objective(model, split, RECIPE, 0, 0)
    (epoch,) = fit(objective, RECIPE, folder, title="small", resources=TrainingResources(quiet=True)).history
    return epoch, [parameter.detach().clone() for parameter in net.parameters()]


@pytest.mark.process
def test_a_plugged_in_loss_trains_with_its_options(plugin, tmp_path):
    """The loss `outside` at power 1, against the same training with the function written into another plug-in."""

    @xaibench.guidance_loss("by-hand")
    def by_hand(maps, masks):
        return torch.where(masks, 0, maps.clamp(min=0)).sum((1, 2)) / SIDE**2

    epoch, weights = trained(tmp_path / "a", loss="outside", loss_options={"power": 1})
    expected, same = trained(tmp_path / "b", loss="by-hand")
    _, squared = trained(tmp_path / "c", loss="outside")
    assert epoch["train_localisation"] > 0
    assert epoch["train_localisation"] == pytest.approx(expected["train_localisation"], rel=1e-4)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(weights, same, strict=True))
    assert not all(torch.allclose(a, b, atol=1e-5) for a, b in zip(weights, squared, strict=True))


def test_source_and_options_of_a_plug_in_are_in_the_key(plugin):
    card = registry.card("loss", "outside")
    key_fields = Guided(loss="outside").key_fields
    assert key_fields == Guided().key_fields | {
        "loss": "outside", "loss_source": card.source, "loss_options": {"power": 2},
    }  # fmt: skip
    assert Guided(loss="outside", loss_options={"power": 3}).key_fields["loss_options"] == {"power": 3}
    matched = Guided(loss="energy", match="outside").key_fields
    assert matched["match_source"] == card.source and matched["match_options"] == {"power": 2}
    plugin.write_text(PLUGIN.replace("relu()", "clamp(min=0)"))
    load_plugin(plugin)
    assert Guided(loss="outside").key_fields["loss_source"] != card.source


def test_keys_of_shipped_losses_are_as_they_were_before_losses_had_options():
    fields = {
        "attribution": "ixg", "stage": "Input", "lambda": 1e-3, "match": None, "normalisation": "kept",
        "annotations": {"kind": "boxes", "fraction": 1.0, "dilate": 0.0, "seed": 0},
        "reduction": "mean", "over": "annotated", "times": 64,
    }  # fmt: skip
    for name in ("energy", "l1", "ppce", "rrr"):
        assert Guided(loss=name).key_fields == fields | {"loss": name}
    assert Guided(loss="energy-star").key_fields == fields | {"loss": "energy-star", "alpha": 0.5}
    assert Guided(match="energy-star", alpha=0.4).key_fields == fields | {
        "loss": "energy", "match": "energy-star", "alpha": 0.4,
    }  # fmt: skip


def test_options_of_shipped_losses_change_the_loss_and_the_key():
    """PPCE of a mask pixel without positive attribution is -log of the floor."""
    maps, masks = torch.tensor([[[2.0, -1.0]]]), torch.tensor([[[False, True]]])
    assert find_loss("ppce", {"floor": 0.5})(maps, masks).tolist() == pytest.approx([0.6931472])
    task = Guided(loss="ppce", loss_options={"floor": 0.5})
    assert task.key_fields == Guided(loss="ppce").key_fields | {"loss_options": {"floor": 0.5}}
    assert Guided(loss="ppce", loss_options={"floor": 1e-6}).key_fields == Guided(loss="ppce").key_fields


def test_alpha_is_the_same_by_either_option():
    option, field = Guided(loss="energy-star", loss_options={"alpha": 0.4}), Guided(loss="energy-star", alpha=0.4)
    assert option == field and option.key_fields == field.key_fields
    with pytest.raises(XaibenchError, match=r"--alpha 0\.3 and --loss-option alpha=0\.4 disagree"):
        Guided(loss="energy-star", alpha=0.3, loss_options={"alpha": 0.4})


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda maps, masks: maps.sum(), r"gives torch\.float32 \(\); it gives one floating-point value per image"),
        (lambda maps, masks: maps.argmax(2)[:, 0], r"gives torch\.int64 \(2,\)"),
        (lambda maps, masks: 0.5, "gives float"),
        (lambda maps, masks: maps.detach().sum((1, 2)), "no gradient with respect to the maps"),
    ],
)
def test_results_that_are_no_loss_are_errors_with_its_name(function, message):
    xaibench.guidance_loss("wrong")(function)
    with pytest.raises(XaibenchError, match=f"loss wrong .*{message}"):
        find_loss("wrong")(torch.ones(2, 3, 3, requires_grad=True), torch.ones(2, 3, 3, dtype=torch.bool))


def test_a_loss_that_takes_no_masks_is_refused_before_training():
    xaibench.guidance_loss("one-input")(lambda maps: maps.sum((1, 2)))
    with pytest.raises(XaibenchError, match="loss one-input cannot be called with 2 input"):
        Guided(loss="one-input")


def test_options_that_a_loss_lacks_are_named():
    with pytest.raises(XaibenchError, match="loss ppce has no option 'flor'; did you mean floor"):
        Guided(loss="ppce", loss_options={"flor": 1})
