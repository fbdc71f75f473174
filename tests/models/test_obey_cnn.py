"""The networks for MNIST and MNIST-ML, and the stages that cards name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from xaibench import registry
from xaibench.cards import Geometry
from xaibench.errors import XaibenchError
from xaibench.models.build import build_network
from xaibench.models.open import build_model
from xaibench.models.passes import look

SIDES = {"mnist_cnn": 28, "mnist_ml_cnn": 56}
CARDS = [card for name in registry.names("model") if (card := registry.card("model", name)).family in ("cnn", "bagnet")]


@pytest.mark.parametrize(
    ("name", "convolutions", "probability"), [("mnist_cnn", 2, "softmax"), ("mnist_ml_cnn", 8, "sigmoid")]
)
def test_as_many_convolutions_as_the_paper_says_and_linear_layers(name, convolutions, probability):
    side = SIDES[name]
    model = build_model(registry.card("model", name), 10, Geometry(resize=side, crop=side), min_cam_grid=4)
    kinds = [type(m) for m in model.net.modules()]
    assert (kinds.count(nn.Conv2d), kinds.count(nn.Linear)) == (convolutions, 2)
    assert model.probability == probability and model.cam_grid == (7, 7) and not model.notes
    assert model.net(torch.zeros(2, 3, 64, 64)).shape == (2, 10), "other sizes are averaged to the same grid"


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_stages_are_ever_smaller_maps_and_the_last_is_the_cam_layer(card):
    """At 224 pixels a stage has the map of a ResNet's stage, unless a network has none of that size."""
    side = SIDES.get(card.name, 224)
    with torch.device("meta"):
        net, image = build_network(card, 10), torch.zeros(1, 3, side, side)
    seen = [s for s in look(net, image) if s.path in card.stages.values()]
    assert [s.path for s in seen] == list(card.stages.values()), "each runs once, from shallow to deep"
    sides = [s.given[2] for s in seen]
    assert sides == sorted(sides, reverse=True) and card.stages["Final"] == card.cam_layer
    assert list(card.stages) == [name for name in ("Mid1", "Mid2", "Mid3", "Final") if name in card.stages]
    if card.family == "cnn" and not card.name.startswith(("squeezenet", "mnist_", "critters_", "x_critters_")):
        assert sides == [56, 28, 14, 7]


def test_a_stage_that_is_no_layer_is_an_error():
    card = registry.card("model", "resnet18").model_copy(update={"stages": {"Mid1": "layer9"}})
    with pytest.raises(XaibenchError, match="model resnet18 has no layer 'layer9', which its stages name"):
        build_model(card, 3, Geometry(resize=32, crop=32))
