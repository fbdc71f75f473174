"""Logits that are not finite: images without them are left out, counted, and neither right nor wrong."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from torch import nn

import xaibench
from xaibench.errors import XaibenchError
from xaibench.results.validate import validate
from xaibench.training.metrics import accuracy, mean_average_precision

METHODS = ["ixg", "grad-cam", "deeplift", "occlusion", "random"]


class Spoilt(nn.Module):
    """A network whose logits of bright images (mean above `limit`) are a value instead, in one class or in all."""

    def __init__(self, value: float, limit: float = 0.5, classes: slice = slice(None), below: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
        self.value, self.limit, self.classes, self.below = value, limit, classes, below
        self.eval()

    def forward(self, x):
        logits = self.head(self.body(x))
        bright = x.mean((1, 2, 3)) > self.limit
        spoilt = logits.clone()
        spoilt[:, self.classes] = self.value
        return torch.where((bright ^ self.below)[:, None], spoilt, logits)


def photos(bright=(2, 5), count=8):
    """Images of which some are bright; the network is right on some of them."""
    dice = torch.Generator().manual_seed(0)
    return [(torch.rand(3, 32, 32, generator=dice) * (1.0 if n in bright else 0.4) + 0.1 * (n in bright), n % 3)
            for n in range(count)]  # fmt: skip


def pixels(data):
    return [((image.clamp(max=1) * 255).round() / 255, label) for image, label in data]


def run(protocol, net, data, out, methods=METHODS, **changes):
    return xaibench.run(
        protocol, model=xaibench.named(net, "net"), dataset=xaibench.named(data, "data"), classes=["a", "b", "c"],
        methods=methods, out=out, quiet=True, **changes,
    )  # fmt: skip


SPOILT = {
    "nan": Spoilt(float("nan")), "inf": Spoilt(float("inf")), "one class": Spoilt(float("nan"), classes=slice(1, 2)),
    "inf in one class": Spoilt(float("inf"), classes=slice(2, 3)), "-inf": Spoilt(float("-inf")),
}  # fmt: skip


@pytest.mark.parametrize(
    ("protocol", "kind"),
    [
        pytest.param(protocol, kind, marks=() if protocol == "sds" or kind == "nan" else pytest.mark.slow)
        for protocol in ("sds", "insertion", "ses", "sparseness")
        for kind in SPOILT
    ],
)
def test_images_without_finite_logits_are_left_out(home, kind, protocol):
    net, data = SPOILT[kind], pixels(photos())
    results = run(protocol, net, data, "a")
    rows = results.rows
    lost = rows["image_id"].isin(["000002", "000005"])
    assert set(rows.loc[lost, "status"]) == {"undefined-reference"} and "undefined-reference" not in set(
        rows.loc[~lost, "status"]
    )
    assert rows.loc[lost, ["prediction", "correct", "score"]].isna().to_numpy().all()
    assert rows.loc[~lost, ["prediction", "correct"]].notna().to_numpy().all()
    z = net(torch.stack([image for image, _ in data])).argmax(1).tolist()
    right = sum(z[n] == n % 3 for n in range(8) if n not in (2, 5))
    assert results.manifest.accuracy == {"correct": right, "images": 6}
    board = results.leaderboard()
    assert board.n_reference == 2 and board.n_list == 8
    (line,) = [line for line in results.manifest.warnings if "not finite for 2 of 8 images" in line]
    assert "such as 000002" in line
    assert validate("a") == []
    assert run(protocol, net, data, "a").computed == 0


def test_the_other_images_score_as_without_them(home):
    net, data = SPOILT["nan"], pixels(photos())
    fine = run("sds", Spoilt(float("nan"), limit=9.0), data, "b").rows.set_index(["image_id", "method"])["score"]
    found = run("sds", net, data, "a").rows.set_index(["image_id", "method"])["score"].sort_index()
    lost = found.index.get_level_values("image_id").isin(["000002", "000005"])
    assert found[lost].isna().all() and found[~lost].notna().sum() >= 25
    pd.testing.assert_series_equal(found[~lost], fine.sort_index()[~lost], atol=1e-9)


def test_a_class_of_logit_minus_infinity_is_masked_and_the_image_counts(home):
    net = Spoilt(float("-inf"), classes=slice(2, 3))
    results = run("insertion", net, pixels([(image, 0) for image, _ in photos()]), "a", ["ixg"])
    assert set(results.rows["status"]) == {"ok"} and results.manifest.accuracy["images"] == 8


def test_boards_by_correctness_leave_them_out(home, command):
    run("sds", SPOILT["nan"], pixels(photos()), "a")
    code, out, _ = command("leaderboard", "sds", "--by", "correctness", "--out", "a")
    assert code == 0 and "images by correctness: correct 3, incorrect 3, of 6" in out
    code, out, _ = command("leaderboard", "sds", "--out", "a")
    out = " ".join(out.split())
    assert code == 0 and "2 images left out for all methods: the reference is undefined" in out and "of 6 right" in out


def test_all_images_without_finite_logits_give_no_accuracy(home, command):
    results = run("sds", Spoilt(float("nan"), limit=-9.0), pixels(photos()), "a")
    assert results.manifest.accuracy == {"correct": 0, "images": 0}
    assert "not finite for 8 of 8 images" in " ".join(results.manifest.warnings)
    code, out, _ = command("leaderboard", "sds", "--out", "a")
    assert code == 0 and "right" not in out


def test_weights_that_are_not_finite_are_named_before_anything_is_stored(home, tmp_path):
    net = Spoilt(0.0, limit=9.0)
    net.body[2].weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(
        XaibenchError, match=r"^model net .*: 1 of 576 values of its weight body\.2\.weight are NaN"
    ) as error:
        run("sds", net, pixels(photos()), "a")
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "a").glob("**/*.parquet")) and not list((tmp_path / "a").glob("runs/*.json"))


class Known(Spoilt):
    """A network whose logits of any image but some known ones are a value instead."""

    def __init__(self, value: float, known: torch.Tensor):
        super().__init__(value)
        self.known = known

    def forward(self, x):
        same = (x[:, None] - self.known).abs().amax((2, 3, 4)) < 1e-6
        return torch.where(same.any(1)[:, None], self.head(self.body(x)), self.value)


@pytest.mark.parametrize(
    "protocol", ["sds", "insertion", "deletion", "combined", "ids", "srg", "road", "sensitivity-n", "infidelity"]
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_lost_under_deletions_are_not_the_fault_of_a_method(home, protocol, value):
    data = pixels(photos(count=3))
    net = Known(value, torch.stack([image for image, _ in data]))
    rows = run(protocol, net, data, "a", ["ixg", "random"]).rows
    assert set(rows.loc[rows["metric"] != "tied", "status"]) == {"undefined-reference"}
    assert rows["prediction"].notna().all() and validate("a") == []


def test_logits_lost_on_moved_images_are_not_the_fault_of_a_method(home):
    data = pixels(photos(count=3))
    images = torch.stack([image for image, _ in data])
    net = Known(float("nan"), torch.cat([images, images.flip(3)]))
    rows = run("ses", net, data, "a", ["ixg"]).rows.groupby("metric")["status"].unique()
    assert {name: found.tolist() for name, found in rows.items()} == {
        "cosine": ["undefined-reference"], "crop": ["undefined-reference"], "translation": ["undefined-reference"],
        "flip": ["ok"],
    }  # fmt: skip


def test_score_of_an_image_without_logits_is_undefined():
    net, data = SPOILT["nan"], photos()
    inputs, targets = torch.stack([image for image, _ in data]), torch.tensor([label for _, label in data])
    maps = torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    for protocol in ("sparseness", "sds", "insertion"):
        found = xaibench.score(protocol, net, inputs, targets, maps)
        assert found.isnan().tolist() == [n in (2, 5) for n in range(8)], protocol


def test_explain_refuses_a_photo_without_logits(home, photos):
    net = Spoilt(float("nan"), limit=-9.0)
    from xaibench import registry
    from xaibench.cards import ModelCard

    registry.register(ModelCard(name="spoilt", title="Spoilt"), net)
    with pytest.raises(XaibenchError, match=r"photo 1\.png: the logits of spoilt are not finite"):
        xaibench.explain(photos / "ape" / "1.png", model="spoilt", dataset="imagefolder", methods="ixg")
    net.head[2].bias.data.fill_(float("nan"))
    with pytest.raises(XaibenchError, match=r"weight head\.2\.bias"):
        xaibench.explain(photos / "ape" / "1.png", model="spoilt", dataset="imagefolder", methods="ixg")


def test_metrics_of_training_count_them_as_wrong():
    nan = float("nan")
    logits = torch.tensor([[nan, nan], [1.0, 0.0], [nan, 1.0], [0.0, 1.0]])
    assert accuracy(logits, torch.tensor([0, 0, 1, 1])) == 0.5
    truth = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    value, classes = mean_average_precision(torch.tensor([[nan, 0.1], [0.2, 0.9], [0.8, 0.2], [0.1, 0.8]]), truth)
    assert classes == 2 and value == pytest.approx((0.5 * (1 / 1 + 2 / 4) + 1) / 2)  # NaN comes last
