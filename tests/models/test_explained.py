"""Every model card: built without a download, and explained at small images."""

from __future__ import annotations

import pytest
import torch

from xaibench import registry
from xaibench.attribution.api import attribute
from xaibench.cards import Geometry
from xaibench.models.open import build_model, model_card

OWN = {"vit": "rollout", "bcos": "b-cos", "bagnet": "bagnet", "cnn": "grad-cam"}  # what its family is explained by
LONGER = ("bagnet9",)
QUICK = (
    "bcos_critters_cnn",
    "critters_cnn",
    "mnist_cnn",
    "resnet18",
    "vit_tiny_patch8_64",
    "x_critters_cnn",
)


def names() -> list:
    known = registry.names("model")
    tiers = dict.fromkeys(LONGER, pytest.mark.process) | dict.fromkeys(QUICK, ())
    return [pytest.param(name, marks=tiers.get(name, pytest.mark.slow)) for name in known]


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_every_model_is_built_and_explained(name):
    card = model_card(name)
    if card.family == "bcos":
        pytest.importorskip("bcos")
    side = {"bagnet9": 24, "mnist_cnn": 28, "mnist_ml_cnn": 84}.get(name, 224 if name.endswith("_224") else 64)
    torch.manual_seed(0)
    model = build_model(card, 10, Geometry(resize=side, crop=side))
    colours = torch.rand(1, len(card.mean), side, side, generator=torch.Generator().manual_seed(1))
    inputs = model.encoding.of_pixels(colours)
    for method in (OWN[card.family], "ixg"):
        maps = attribute(model, inputs, torch.tensor([3]), method, chunk=8)
        assert maps.shape == (1, 1, side, side) and maps.isfinite().all()
    assert model.stages.keys() <= {"Mid1", "Mid2", "Mid3", "Final"}
    if model.stages and card.family != "bcos":
        assert attribute(model, inputs, torch.tensor([3]), "ixg", layer="Final").isfinite().all()
