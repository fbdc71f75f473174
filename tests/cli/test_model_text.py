"""A model in words, against networks whose numbers are known."""

from __future__ import annotations

import pytest
from torchvision.models import ResNet50_Weights

from xaibench import registry
from xaibench.cli.model_text import model_text
from xaibench.errors import XaibenchError
from xaibench.models.open import model_card


def lines(name: str, side: int | None = None) -> dict[str, str]:
    """The lines by what stands before the colon; those of methods that are left out together."""
    found: dict[str, str] = {}
    for line in model_text(model_card(name), side).splitlines():
        key, _, words = line.partition(": ")
        found[key] = f"{found[key]}; {words}" if key in found else words
    return found


@pytest.mark.process
def test_resnet_50_in_words():
    said = lines("resnet50")
    assert said["size"] == f"{ResNet50_Weights.IMAGENET1K_V1.meta['num_params']:,} parameters (1000 classes)"
    assert said["preprocessing"] == (
        "shorter side 256 px, centre crop 224 px; (pixels / 255 - mean) / std with mean 0.485, 0.456, 0.406 and std "
        "0.229, 0.224, 0.225"
    )
    assert said["maps"] == (
        "Input 224 x 224, Mid1 layer1 56 x 56, Mid2 layer2 28 x 28, Mid3 layer3 14 x 14, Final layer4 7 x 7, CAM layer "
        "layer4 7 x 7"
    )
    assert "grad-cam" in said["cam methods"] and "rise" in said["perturbation methods"]
    assert "bagnet, bagnet-own (needs a BagNet)" in said["left out"]


def test_every_ranked_method_is_named_once():
    said = lines("bagnet9", 40)
    parts = [part for key in said if "methods" in key or key == "left out" for part in said[key].split("; ")]
    named = [name for part in parts for name in part.split(" (")[0].split(", ")]
    ranked = [n for n in registry.names("method") if registry.card("method", n).role in ("method", "variant")]
    assert sorted(named) == sorted(ranked) and said["intrinsic methods"] == "bagnet, bagnet-own"
    assert said["maps"].startswith("Input 40 x 40, Mid1 layer1 18 x 18")
    assert "shorter side 46 px, centre crop 40 px" in said["preprocessing"]


def test_images_that_a_model_cannot_take_are_an_error_in_one_line(command):
    with pytest.raises(XaibenchError, match="its patches have 33 pixels a side"):
        model_text(model_card("bagnet33"), 32)
    status, printed, error = command("show", "model", "bagnet33", "--image-size", 32)
    assert status == 2 and not printed and error.count("\n") == 1
    status, printed, _ = command("show", "model", "squeezenet1_1", "--image-size", 64)
    assert status == 0 and "stages: Mid1 = features.4" in printed and "maps: Input 64 x 64" in printed
