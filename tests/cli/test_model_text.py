"""A model in words, against networks whose numbers are known."""

from __future__ import annotations

import re

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


def methods_in(said: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """The methods that fit, and the others with the reason, as many as the lines say."""
    kinds, left = next(key for key in said if key.startswith("methods")), {}
    fitting = [name for part in said[kinds].split("; ") for name in part.split(": ")[1].split(", ")]
    key = next(key for key in said if key.startswith("left out"))
    for names, reason in re.findall(r"([a-z0-9+, -]+) \((.+?)\)(?:; |$)", said[key]):
        left |= dict.fromkeys(names.split(", "), reason)
    assert (kinds, key) == (f"methods that fit ({len(fitting)})", f"left out ({len(left)})")
    return fitting, left


@pytest.mark.process
@pytest.mark.slow
def test_resnet_50_in_words():
    said = lines("resnet50", 64)
    assert said["size"] == f"{ResNet50_Weights.IMAGENET1K_V1.meta['num_params']:,} parameters (1000 classes)"
    assert said["preprocessing"] == (
        "shorter side 73 px, centre crop 64 px; (pixels / 255 - mean) / std with mean 0.485, 0.456, 0.406 and std "
        "0.229, 0.224, 0.225"
    )
    assert said["input"] == "3 x 64 x 64" and said["CAM layer"] == "layer4 2048 x 2 x 2"
    assert said["stages"] == (
        "Mid1 layer1 256 x 16 x 16, Mid2 layer2 512 x 8 x 8, Mid3 layer3 1024 x 4 x 4, Final layer4 2048 x 2 x 2"
    )
    fitting, left = methods_in(said)
    assert {"grad-cam", "rise", "full-grad", "deeplift"} <= set(fitting) and left["bagnet"] == "needs a BagNet"


@pytest.mark.slow
def test_every_ranked_method_is_named_once():
    said = lines("bagnet9", 40)
    fitting, left = methods_in(said)
    ranked = [n for n in registry.names("method") if registry.card("method", n).role in ("method", "variant")]
    assert sorted([*fitting, *left]) == sorted(ranked) and {"bagnet", "bagnet-own"} < set(fitting)
    assert "Mid1 layer1 256 x 18 x 18" in said["stages"]
    assert "shorter side 46 px, centre crop 40 px" in said["preprocessing"]


def test_images_that_a_model_cannot_take_are_an_error_in_one_line(command):
    with pytest.raises(XaibenchError, match="its patches have 33 pixels a side"):
        model_text(model_card("bagnet33"), 32)
    status, printed, error = command("show", "model", "bagnet33", "--image-size", 32)
    assert status == 2 and not printed and error.count("\n") == 1
    status, printed, _ = command("show", "model", "squeezenet1_1", "--image-size", 64)
    assert status == 0 and "stages: Mid1 = features.4" in printed and "input: 3 x 64 x 64" in printed
