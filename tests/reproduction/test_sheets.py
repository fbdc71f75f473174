"""Figures of images: the channels of a known network, attacks of a linear one, and a study that draws both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from xaibench.cards import Sheet
from xaibench.errors import XaibenchError
from xaibench.models.base import Encoding, Model
from xaibench.report.heatmap import heatmap, scale_of
from xaibench.report.image_rows import image_rows
from xaibench.reproduction.map_rows import map_rows, networks_of_arms
from xaibench.reproduction.networks import ImageRow, Network
from xaibench.reproduction.sheets import attack_rows, channel_rows

COLOURS = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
MEAN, STD, EPSILON = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), 8 / 255
STUDY = """
title = "Images"
paper = { title = "A paper", year = 2024 }
item = "Figure 9"
content = "gallery"
shows = "Images."

[scales.embedded.sheets.channels]
kind = "channels"
rows = 2
columns = 3
networks = { before = { protocols = ["sds"], model = "tiny", dataset = "mini", images = 8 }, after = { protocols = ["idsds"], model = "tiny", dataset = "mini", images = 8 } }

[scales.embedded.sheets.attacks]
kind = "attacks"
columns = 2
networks = { tiny = { protocols = ["sds"], model = "tiny", dataset = "mini", images = 4 } }
attack = { epsilon = 0.05, steps = 2 }

[scales.embedded.sheets.arms]
kind = "maps"
columns = 2
comparison = { comparison = "own", dataset = "mini" }
arms = ["further training", "attacked"]
method = "ixg"
attack = { epsilon = 0.05, steps = 2 }

[scales.embedded.sheets.maps]
kind = "maps"
method = "saliency"
networks = { tiny = { protocols = ["sds"], model = "tiny", dataset = "mini", images = 4 } }

[scales.real]
missing = "nothing of the kind is there"

[scales.paper]
missing = "nothing of the kind is there"
"""  # noqa: E501

OWN = """
title = "Attacks"
question = "Does it matter?"
pairs = [["further training", "attacked"]]
models = ["tiny"]

[arms."further training"]
way = "adversarial"
options = { epsilon = 0.0, steps = 1 }
recipe = { epochs = 1 }

[arms.attacked]
way = "adversarial"
options = { steps = 1 }
recipe = { epochs = 1 }
"""


class Colours(nn.Module):
    """Its three channels are the colours of the image; its logits a linear function of their means."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 3, 1, bias=False)
        self.features.weight.data = torch.tensor(COLOURS)[:, :, None, None]
        self.head = nn.Linear(3, 2, bias=False)
        self.head.weight.data = torch.tensor([[2.0, -1.0, 0.5], [-1.0, 1.0, 0.25]])

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


@pytest.fixture
def network():
    images = np.random.default_rng(1).integers(60, 200, (7, 8, 8, 3), dtype=np.uint8)
    images[::2, ..., 0] -= 59  # less red: the network says the other class
    model = Model("colours", Colours().eval(), Encoding(MEAN, STD), "features", (8, 8), 2)
    classes, labels = ("first", "second"), (1, 0, 1, 1, 1, 0, 0)
    return Network(model, images, tuple("abcdefg"), labels, classes, torch.device("cpu"), "cross-entropy")


def test_a_row_has_the_images_with_the_highest_value_of_its_channel(network):
    rows = channel_rows({"before": network, "after": network}, rows=3, columns=4)
    assert [row.label.split(",")[0] for row in rows] == ["before", "after"] * 3
    assert sorted(int(row.label[-1]) for row in rows[::2]) == [0, 1, 2]
    for row, same in zip(rows[::2], rows[1::2], strict=True):
        channel = int(row.label[-1])
        peaks = network.images[..., channel].reshape(7, -1).max(1)
        order = np.argsort(-peaks.astype(int), kind="stable")[:4]
        assert (row.images == network.images[order]).all() and (same.images == row.images).all()
        values = (peaks[order] / 255 - MEAN[channel]) / STD[channel]
        assert [float(text) for text in row.captions] == pytest.approx(values, rel=0.06)  # two digits are shown


def test_an_attack_goes_against_the_predicted_class_and_stays_in_the_ball(network):
    """Of a linear network the strongest attack is known: epsilon against the sign of the difference of the weights."""
    intact, attacked, change = attack_rows("net", network, 5, epsilon=EPSILON, steps=10, step_size=EPSILON)
    weights = network.model.net.head.weight.detach().numpy().astype(float)
    pixels = network.images[:5] / 255
    logits = ((pixels.mean((1, 2)) - MEAN) / STD) @ weights.T
    predicted = logits.argmax(1)
    assert intact.captions == tuple(np.array(["first", "second"])[predicted]) and set(predicted) == {0, 1}
    rival = 1 - predicted
    step = np.sign(weights[rival] - weights[predicted])[:, None, None, :] * EPSILON
    assert attacked.images.astype(float) == pytest.approx(np.round((pixels + step) * 255), abs=1)
    after = ((np.clip(pixels + step, 0, 1).mean((1, 2)) - MEAN) / STD @ weights.T).argmax(1)
    assert attacked.captions == tuple(np.array(["first", "second"])[after])
    assert set(np.unique(change.images)) <= {0, 255} and change.captions == ("",) * 5  # grey is 0, these are +-epsilon


def test_maps_are_those_of_the_labels_over_the_images_that_they_explain(network):
    """Input x gradient of a linear network: the sum over colours of the encoded pixel times the label's weight."""
    sheet = Sheet(kind="maps", method="ixg", networks={"linear": {}}, attack={"epsilon": EPSILON, "steps": 5})
    photos, own, attacked = map_rows(sheet, {"linear": network})
    weights = network.model.net.head.weight.detach().numpy().astype(float)
    labels = np.array(network.labels)

    def expected(pixels: np.ndarray, shown: np.ndarray) -> np.ndarray:
        maps = ((pixels - MEAN) / STD * weights[labels][:, None, None, :]).sum(3) / 64
        return np.stack([heatmap(each, scale_of(each), photo) for each, photo in zip(maps, shown, strict=True)])

    def said(pixels: np.ndarray) -> tuple[str, ...]:
        return tuple(np.array(["first", "second"])[(((pixels.mean((1, 2)) - MEAN) / STD) @ weights.T).argmax(1)])

    pixels = network.images / 255
    assert (photos.images == network.images).all() and photos.captions[:3] == ("second", "first", "second")
    assert own.images.astype(int) == pytest.approx(expected(pixels, network.images).astype(int), abs=1)
    assert own.captions == said(pixels)
    step = np.sign(weights[1 - labels] - weights[labels])[:, None, None, :] * EPSILON
    moved = np.clip(pixels + step, 0, 1)
    shown = np.round(moved * 255).astype(np.uint8)
    assert attacked.images.astype(int) == pytest.approx(expected(moved, shown).astype(int), abs=2)
    assert attacked.captions == said(moved) and attacked.label == "linear, attacked"


def test_an_attack_has_the_options_of_the_training(network):
    with pytest.raises(XaibenchError, match=r"epsilom.*epsilon"):
        attack_rows("net", network, 2, epsilom=EPSILON)


def test_a_network_without_enough_channels_is_refused(network):
    with pytest.raises(XaibenchError, match="4 channels are asked for, where there are 3"):
        channel_rows({"one": network}, rows=4, columns=2)


def test_rows_are_drawn_where_they_belong(tmp_path):
    """Red above blue: the colours of the picture's middle, row by row."""
    rows = [
        ImageRow(name, np.full((3, 8, 8, 3), colour, np.uint8), ("a", "b", "c"))
        for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255)))
    ]
    path = image_rows(rows, "A $title", tmp_path / "rows.png")
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    red = np.argwhere((pixels == (255, 0, 0)).all(2))
    blue = np.argwhere((pixels == (0, 0, 255)).all(2))
    assert len(red) > 10_000 and len(blue) > 10_000 and red[:, 0].max() < blue[:, 0].min()


@pytest.mark.process
def test_a_study_draws_its_sheets(home, command, tmp_path):
    cards = tmp_path / "cards"
    for kind, name, text in (("studies", "images", STUDY), ("comparisons", "own", OWN)):
        (cards / kind).mkdir(parents=True)
        (cards / kind / f"{name}.toml").write_text(text)
    status, out, err = command("study", "run", "images", "--cards", cards)
    assert status == 0, err
    for name in ("channels", "attacks", "arms", "maps"):
        path = Path(f"results/figures/study-images-embedded-{name}.png")
        assert f"figure: {path}" in out and path.stat().st_size > 10_000
    planned = command("study", "run", "images", "--cards", cards, "--dry-run")[1]
    assert "images channels: channels of tiny, tiny" in planned and "images attacks: attacks of tiny" in planned
    assert "images arms: maps of the comparison's model by ixg, arms further training, attacked of own" in planned
    assert command("study", "run", "images", "--cards", cards, "--stored")[1].count("figure:") == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "channels", "networks": {}}, "channels needs networks"),
        ({"kind": "attacks", "comparison": {"comparison": "own"}, "arms": ["a"]}, "attacks needs networks"),
        ({"kind": "maps", "networks": {"a": {}}}, "maps needs a method"),
        ({"kind": "maps", "method": "ixg"}, "networks, or a comparison with arms"),
        ({"kind": "maps", "method": "ixg", "comparison": {"comparison": "own"}}, "networks, or a comparison with arms"),
    ],
)
def test_a_sheet_needs_networks(fields, message):
    with pytest.raises(ValueError, match=message):
        Sheet(**fields)


def test_an_arm_that_is_not_in_the_comparison_is_named(home):
    sheet = Sheet(
        kind="maps", method="ixg", comparison={"comparison": "adversarial"}, arms=("L-inf", "further training")
    )
    with pytest.raises(XaibenchError, match="adversarial has no arm 'L-inf'; it has further training, L-inf 2/255"):
        networks_of_arms(sheet, quiet=True)
