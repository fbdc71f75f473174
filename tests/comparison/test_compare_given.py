"""Comparisons of networks whose weights are given: each is run once, at its own size or the arm's, and nothing is
claimed about a design."""

from __future__ import annotations

import hashlib
import json
import sys

import pytest
import torch

from xaibench import registry
from xaibench.comparison.config import ComparisonConfig
from xaibench.comparison.steps import steps

pytestmark = pytest.mark.process

MODEL = """
title = "A tiny network with weights in a package"
target = "xaibench_test_network:build"
cam_layer = "4"
image_size = 48
plain = {{ dataset = "imagefolder", package = "tiny_wheel", file = "net.pth", sha256 = "{sha256}", by_order = true }}
"""
OWN = """
title = "One network at two sizes"
question = "Does the size of the images matter?"
pairs = [["own size", "small"]]
confounded = ["resolution", "the size of objects"]
judges = [{ protocol = "sds" }]
dataset = "imagefolder"

[arms]
"own size" = { model = "packaged", weights = "plain" }
"small" = { model = "packaged", weights = "plain", image_size = 32 }
"""


@pytest.fixture
def packaged(home, tmp_path, monkeypatch):
    """The model `packaged`, whose weights a package brings, and the comparison `sizes`."""
    from xaibench_test_network import build

    folder = tmp_path / "site" / "tiny_wheel"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    state = {f"x{n}.{k.rpartition('.')[2]}": v for n, (k, v) in enumerate(build(2).state_dict().items())}
    torch.save(state, folder / "net.pth")
    (folder / "__init__.py").write_text("raise RuntimeError('this package was imported')\n")
    monkeypatch.syspath_prepend(str(folder.parent))
    sha256 = hashlib.sha256((folder / "net.pth").read_bytes()).hexdigest()
    cards = {"models/packaged": MODEL.format(sha256=sha256), "comparisons/sizes": OWN}
    for name, text in cards.items():
        path = home / "cards" / f"{name}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    yield
    for name in cards:
        (home / "cards" / f"{name}.toml").unlink()


def test_given_networks_are_run_once_at_their_sizes_without_a_claim(packaged, photos, command):
    words = ("compare", "sizes", "--data-root", photos, "--methods", "ixg,saliency,random")
    status, out, err = command(*words, "--trainings", 5, "--format", "json")
    assert status == 0, err
    found = json.loads(out)
    assert [(row["arm"], row["training"]) for row in found["trainings"]] == [("own size", 0), ("small", 0)]
    assert "sizes 2/2: small, training 0" in err
    assert "imagefolder (48 px)" in found["arms"]["own size"] and "imagefolder (32 px)" in found["arms"]["small"]
    assert found["title"].endswith("imagefolder (48 px) / imagefolder (32 px)")
    assert found["pairs"][0]["enough_trainings"] is False
    notes = [note for note in found["notes"] if "resolution, the size of objects change together" in note]
    assert len(notes) == 1 and "says nothing of a design" in notes[0]
    assert not any("--trainings" in note for note in found["notes"]) and "tiny_wheel" not in sys.modules
    text = command(*words, "--quiet")[1]
    assert "1 training each: no claim about the design" in " ".join(text.split())


def test_the_three_published_networks_are_compared_at_their_sizes_and_at_one():
    card = registry.card("comparison", "efficientnet-lite")
    todo, pairs = steps(card, ComparisonConfig(comparison=card.name, trainings=1))
    data = registry.card("dataset", card.dataset)
    sides = {
        step.name: data.for_model(registry.card("model", step.model), step.arm.image_size).geometry.crop
        for step in todo
    }
    assert all(name.endswith(f"{side} px") for name, side in sides.items())
    own, same = [pair for pair in pairs if "240" in "".join(pair) or "260" in "".join(pair)], pairs[3:]
    assert own == pairs[:3] and {name for pair in same for name in pair} == {f"lite{k}, 224 px" for k in range(3)}
    assert card.confounded and not card.claim
