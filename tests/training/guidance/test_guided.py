"""Guidance as a task: its loss by hand, masks that follow their images, matched lambdas, epochs that are kept."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from xaibench import registry
from xaibench.cards import Geometry
from xaibench.datasets.base import Annotation, Dataset, Sample
from xaibench.datasets.critters import Critters
from xaibench.errors import XaibenchError
from xaibench.models.base import Encoding, Model
from xaibench.models.open import build_model
from xaibench.models.state import read_state
from xaibench.training.guidance import guided
from xaibench.training.guidance.guided import Guided
from xaibench.training.guidance.images import GuidedImages
from xaibench.training.guidance.kept import keep_epoch, kept_epochs
from xaibench.training.guidance.losses import energy
from xaibench.training.guidance.targets import Annotations
from xaibench.training.loop import fit
from xaibench.training.recipe import Recipe
from xaibench.training.resources import TrainingResources
from xaibench.training.task import Split

ENCODING = Encoding((0.4, 0.5, 0.6), (0.25, 0.2, 0.3))
PLAIN = Encoding((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
SIDE = 32
GEOMETRY = Geometry(resize=SIDE, crop=SIDE)
RECIPE = Recipe.model_validate(Guided.recipe | {"epochs": 3, "batch_size": 8, "learning_rate": 1e-2})

QUIET = TrainingResources(quiet=True)


def small_model():
    torch.manual_seed(0)
    stage = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(True))
    net = nn.Sequential(stage, nn.Conv2d(6, 10, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Model("small", net, ENCODING, "0", (16, 16), 10, stages={"Mid1": "0"})


def split():
    return Split(Critters("train", 24, SIDE), Critters("val", 8, SIDE), GEOMETRY)


def images(dataset=None, augmentation="none", labels="single", **annotations):
    dataset = dataset or Critters("train", 24, SIDE)
    return GuidedImages(dataset, ENCODING, GEOMETRY, augmentation, 0, labels, Annotations(**annotations))


def batch(data, count=8):
    inputs, labels, ids, masks, targets, guides = zip(*(data[i] for i in range(count)), strict=True)
    stacked = torch.stack(inputs), torch.as_tensor(labels), ids, torch.stack(masks)
    return *stacked, torch.tensor(targets), torch.tensor(guides)


def by_hand(model, inputs, masks, targets, guides):
    """The mean energy of annotated images, one at a time, in evaluation mode."""
    model.net.eval()
    values = []
    for number in torch.nonzero(guides)[:, 0].tolist():
        x = inputs[number : number + 1].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model.net(x)[0, targets[number]], x, create_graph=True)
        positive = (x * gradient).sum(1)[0].clamp(min=0)
        values.append(-(positive * masks[number]).sum() / positive.sum())
    model.net.train()
    return torch.stack(values).mean()


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_the_loss_is_classification_and_lambda_64_times_the_mean_over_annotated_images(fraction):
    model, task = small_model(), Guided(weight=0.01, annotations=Annotations(fraction=fraction))
    objective = task.objective(model, split(), RECIPE, 0, 0)
    model.net.train()
    whole = batch(objective.data)
    assert (int(whole[5].sum()) == 8) == (fraction == 1)
    terms = objective.loss(model.net, whole)
    twin = small_model()
    classification = F.cross_entropy(twin.net.eval()(whole[0]), whole[1])
    assert all(torch.equal(a, b) for a, b in zip(twin.net.buffers(), model.net.buffers(), strict=True))
    localisation = 0.01 * 64 * by_hand(twin, whole[0], whole[3], whole[4], whole[5])
    assert terms["classification"].item() == pytest.approx(classification.item(), rel=1e-5)
    assert terms["localisation"].item() == pytest.approx(localisation.item(), rel=1e-4)
    assert terms["loss"].item() == pytest.approx((classification + localisation).item(), rel=1e-4)
    terms["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.net.parameters())


def test_a_batch_without_annotations_is_classified_only():
    objective = Guided(weight=5.0).objective(model := small_model(), split(), RECIPE, 0, 0)
    inputs, labels, ids, masks, targets, guides = batch(objective.data)
    terms = objective.loss(model.net, (inputs, labels, ids, masks, targets, guides & False))
    assert terms["localisation"].item() == 0 and terms["loss"].item() == terms["classification"].item()
    terms["loss"].backward()


def test_lambda_0_is_classification_alone_and_takes_no_map(monkeypatch):
    model = small_model()
    objective = Guided(weight=0.0).objective(model, split(), RECIPE, 0, 0)
    monkeypatch.setattr(Guided, "_maps", None)  # a call would raise
    terms = objective.loss(model.net, batch(objective.data))
    assert terms["localisation"].item() == 0 and terms["loss"].item() == terms["classification"].item()


def test_silent_is_the_share_of_maps_without_a_positive_value():
    model = small_model()
    objective = Guided(weight=0.01, stage="Mid1").objective(model, split(), RECIPE, 0, 0)
    whole = batch(objective.data)
    assert objective.loss(model.net, whole)["silent"].item() < 1
    with torch.no_grad():
        model.net[1].weight.copy_(-model.net[1].weight.abs())  # behind a ReLU every contribution is negative
    terms = objective.loss(model.net, whole)
    assert terms["silent"].item() == 1 and terms["localisation"].item() == 0


def test_over_the_batch_images_without_annotation_count_as_zero():
    task = Guided(weight=0.01, annotations=Annotations(fraction=0.5))
    values = {}
    for over in ("annotated", "batch"):
        objective = Guided(weight=0.01, annotations=task.annotations, over=over).objective(
            model := small_model(), split(), RECIPE, 0, 0
        )
        whole = batch(objective.data)
        values[over] = objective.loss(model.net, whole)["localisation"].item()
    assert values["batch"] == pytest.approx(values["annotated"] * int(whole[5].sum()) / 8, rel=1e-5)


def gradients(model, objective, data):
    """The gradient of the loss by each parameter, and how often the network ran."""
    model.net.train().zero_grad()
    runs = []
    handle = model.net.register_forward_pre_hook(lambda *_: runs.append(1))
    terms = objective.loss(model.net, data)
    handle.remove()
    terms["loss"].backward()
    return torch.cat([p.grad.flatten() for p in model.net.parameters()]), len(runs)


@pytest.mark.parametrize(
    ("name", "attribution", "stage"),
    [("small", "ixg", "Input"), ("small", "ixg", "Mid1"), ("bcos_critters_cnn", "b-cos", "Input"),
     ("bcos_critters_cnn", "b-cos", "Mid2")],
)  # fmt: skip
def test_one_pass_serves_both_losses_and_gives_the_gradient_of_two(name, attribution, stage, monkeypatch):
    if name.startswith("bcos"):
        pytest.importorskip("bcos")
    torch.manual_seed(0)
    model = small_model() if name == "small" else build_model(registry.card("model", name), 10, GEOMETRY, 4)
    model.net.double()  # so that rounding is no excuse
    objective = Guided("energy", attribution, stage, 0.01).objective(model, split(), RECIPE, 0, 0)
    inputs, *others = batch(objective.data)
    data = inputs.double(), *others
    gradients(model, objective, data)  # the first looks at the layout of the layer, in a pass
    once, runs = gradients(model, objective, data)
    monkeypatch.setattr(guided, "trains_as_it_explains", lambda net: False)
    twice, more_runs = gradients(model, objective, data)
    assert (runs, more_runs) == (1, 2)
    assert torch.allclose(once, twice, rtol=1e-6, atol=1e-9 * float(twice.abs().max()))


def test_a_network_that_drops_in_training_is_classified_in_a_pass_of_its_own():
    model = small_model()
    model.net.insert(3, nn.Dropout(0.5))
    objective = Guided(weight=0.01).objective(model, split(), RECIPE, 0, 0)
    assert gradients(model, objective, batch(objective.data))[1] == 2
    model.net[3].p = 0.0
    assert gradients(model, objective, batch(objective.data))[1] == 1


class Painted(Dataset):
    """Black photos with a white rectangle each, which is the box: an image shows where its mask belongs."""

    name, classes, knows = "painted", ("a", "b"), frozenset({"boxes"})

    def __init__(self, count=12):
        self.ids = [f"{number}" for number in range(count)]

    def box(self, image_id):
        number = int(image_id)
        return 2 + number, 5, 11 + number, 9 + number

    def load(self, image_id):
        pixels = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
        x0, y0, x1, y1 = self.box(image_id)
        pixels[y0:y1, x0:x1] = 255
        return Sample(image_id, pixels, int(image_id) % 2, "")

    def digest(self, image_id):
        return ""

    def annotate(self, image_id):
        label = int(image_id) % 2
        boxes, none = np.array([self.box(image_id)], dtype=np.int64), np.zeros((0, SIDE, SIDE), dtype=bool)
        return Annotation((label,), boxes, np.array([label]), none)


@pytest.mark.parametrize(("augmentation", "agreement"), [("none", 1.0), ("flip", 1.0), ("crop-flip", 0.97)])
def test_masks_follow_their_images(augmentation, agreement):
    data = GuidedImages(Painted(), PLAIN, GEOMETRY, augmentation, 0, "single", Annotations())
    sides = set()
    for data.epoch in range(3):
        for number in range(len(data)):
            image, _, _, mask, _, guides = data[number]
            white = image.mean(0) > 0.5  # bilinear images have soft edges
            assert (white == mask).double().mean() >= agreement and guides == bool(mask.any())
            sides.add(tuple(mask.any(0).nonzero()[:1, 0].tolist()))
    assert (len(sides) == 12) == (augmentation == "none")  # where masks begin on the left


def test_an_object_that_was_cropped_away_does_not_guide():
    data = GuidedImages(Painted(), PLAIN, GEOMETRY, "crop-flip", 0, "single", Annotations())
    found = []
    for data.epoch in range(25):
        found += [(bool(data[n][3].any()), data[n][5]) for n in range(0, len(data), 4)]
    assert all(there == guides for there, guides in found) and not all(there for there, _ in found)


def test_the_same_seed_and_epoch_give_the_same_item():
    data, again = images(augmentation="crop-flip"), images(augmentation="crop-flip")
    data.epoch = again.epoch = 2
    for number in (3, 0, 3):
        assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b))
                   for a, b in zip(data[number][:2] + data[number][3:], again[number][:2] + again[number][3:],
                                   strict=True))  # fmt: skip


def test_of_several_labels_each_is_asked_about_in_some_epoch():
    class Several(Critters):
        def labels(self, image_id):
            return self.annotate(image_id).labels

    data = images(Several("train", 24, SIDE), labels="several")
    number = next(n for n, i in enumerate(data.dataset.ids) if len(data.dataset.labels(i)) == 2)
    asked = set()
    for data.epoch in range(20):
        _, truth, image_id, mask, target, guides = data[number]
        asked.add(target)
        boxes = data.dataset.annotate(image_id)
        x0, y0, x1, y1 = boxes.boxes[boxes.box_labels == target][0]
        assert guides and mask[y0:y1, x0:x1].all() and truth[target] == 1
    assert asked == set(data.dataset.labels(image_id)) and truth.sum() == 2


def test_only_annotated_images_guide_and_small_fractions_are_in_large_ones():
    few, many = (images(fraction=fraction) for fraction in (0.25, 0.5))
    guiding = [{data[n][2] for n in range(24) if data[n][5]} for data in (few, many)]
    assert len(guiding[0]) == 6 and len(guiding[1]) == 12 and guiding[0] < guiding[1]


# Lambda, facts, refusals ---------------------------------------------------------------------------------------------


def test_a_matched_lambda_has_a_gradient_of_the_same_norm():
    model = small_model()
    task = Guided(loss="l1", weight=0.02, match="energy")
    matched = task.objective(model, split(), RECIPE, 0, 0).evaluate(model.net)["lambda"]
    model = small_model()
    data = batch(images(), 16)
    norms = {}
    for loss, weight in (("energy", 0.02), ("l1", matched)):
        total = 0
        model.net.eval()
        for number in range(16):
            x = data[0][number : number + 1].clone().requires_grad_()
            (gradient,) = torch.autograd.grad(model.net(x)[0, data[4][number]], x, create_graph=True)
            a, m = (x * gradient).sum(1).clamp(min=0), data[3][number : number + 1].float()
            total = total + (energy(a, m) if loss == "energy" else (m - a / a.max()).abs().mean())
        found = torch.autograd.grad(weight * total.sum(), list(model.net.parameters()), allow_unused=True)
        norms[loss] = sum(float(g.square().sum()) for g in found if g is not None) ** 0.5
    assert norms["l1"] == pytest.approx(norms["energy"], rel=1e-3)
    same = Guided(weight=0.02, match="energy").objective(small_model(), split(), RECIPE, 0, 0)
    assert same.evaluate(None)["lambda"] == pytest.approx(0.02)


def test_facts_are_json_without_what_changes_no_result(tmp_path):
    task = Guided(loss="energy-star", alpha=0.4, annotations=Annotations(fraction=0.1, dilate=0.25))
    key_fields = json.loads(json.dumps(task.key_fields))
    assert key_fields["lambda"] == 1e-3 and key_fields["alpha"] == 0.4 and key_fields["annotations"]["dilate"] == 0.25
    assert key_fields["over"] == "annotated" and key_fields["times"] == 64
    assert Guided(keep=tmp_path).key_fields == Guided().key_fields and Guided(keep=tmp_path) == Guided()


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"loss": "enrgy"}, "no localisation loss; take energy"), ({"match": "x"}, "--match"),
     ({"weight": -0.1}, "from 0"), ({"weight": float("nan")}, "--lambda"), ({"over": "images"}, "--over")],
)  # fmt: skip
def test_settings_that_are_none_are_refused(settings, words):
    with pytest.raises(XaibenchError, match=words):
        Guided(**settings)


def test_a_stage_that_the_model_lacks_is_refused():
    with pytest.raises(XaibenchError, match="did you mean Mid1"):
        Guided(stage="mid1").objective(small_model(), split(), RECIPE, 0, 0)


# Training ------------------------------------------------------------------------------------------------------------


def train(folder, task, kill_after=None):
    model = small_model()
    objective = task.objective(model, split(), RECIPE, 0, 0)
    if kill_after is not None:
        evaluate, calls = objective.evaluate, []

        def killed(net):
            calls.append(1)
            if len(calls) > kill_after:
                raise KeyboardInterrupt
            return evaluate(net)

        objective = type(objective)(**{**objective.__dict__, "evaluate": killed})
    return model, fit(objective, RECIPE, folder, title="test", resources=QUIET)


@pytest.mark.process
def test_guidance_raises_epg_and_what_was_killed_ends_the_same(tmp_path):
    task = Guided(weight=0.05, keep=tmp_path / "front")
    model, trained = train(tmp_path / "whole", task)
    epg = [row["epg"] for row in trained.history]
    untrained = Guided().objective(small_model(), split(), RECIPE, 0, 0).evaluate(None)["epg"]
    assert epg[-1] > untrained + 0.02
    assert {kept.row["epoch"] for kept in kept_epochs(tmp_path / "front")} <= {1, 2, 3}
    again = Guided(weight=0.05, keep=tmp_path / "front2")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", again, kill_after=1)
    other, resumed = train(tmp_path / "killed", again)
    assert [r["epg"] for r in resumed.history] == epg
    assert all(torch.equal(a, b) for a, b in zip(model.net.parameters(), other.net.parameters(), strict=True))
    kept = [
        [(k.row["epoch"], read_state(k.path).tensors) for k in kept_epochs(tmp_path / f)] for f in ("front", "front2")
    ]
    for (epoch, tensors), (epoch2, tensors2) in zip(*kept, strict=True):
        assert epoch == epoch2 and all(torch.equal(tensors[name], tensors2[name]) for name in tensors)
    # they took other times, and their files are equal all the same: the digests of weights are part of keys
    fronts = [
        {path.name: path.read_bytes() for path in (tmp_path / f).glob("*.safetensors")} for f in ("front", "front2")
    ]
    assert fronts[0] == fronts[1] and fronts[0]


def row(epoch, *values):
    return {"epoch": epoch} | dict(zip(("f1", "epg", "iou"), values, strict=True))


def test_dominated_epochs_are_deleted(tmp_path):
    net = nn.Linear(2, 2)
    steps = [row(1, 0.5, 0.5, 0.5), row(2, 0.4, 0.6, 0.5), row(3, 0.4, 0.4, 0.4), row(4, 0.5, 0.6, 0.5)]
    kept = []
    for step in steps:
        keep_epoch(tmp_path, net, step, ("f1", "epg", "iou"))
        kept.append([k.row["epoch"] for k in kept_epochs(tmp_path)])
    assert kept == [[1], [1, 2], [1, 2], [4]]
    assert kept_epochs(tmp_path)[0].row == steps[3]


def test_epochs_of_a_training_that_was_killed_after_them_are_made_again(tmp_path):
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    keep_epoch(tmp_path, first, row(1, 0.5, 0.5, 0.5), ("f1", "epg", "iou"))
    keep_epoch(tmp_path, first, row(2, 0.9, 0.9, 0.9), ("f1", "epg", "iou"))
    keep_epoch(tmp_path, second, row(2, 0.4, 0.6, 0.5), ("f1", "epg", "iou"))
    (only,) = kept_epochs(tmp_path)
    assert only.row["epg"] == 0.6 and torch.equal(read_state(only.path).tensors["weight"], second.weight)


@pytest.mark.parametrize(
    ("name", "attribution", "stage"),
    [
        ("x_critters_cnn", "intgrad", "Input"),
        ("bcos_critters_cnn", "b-cos", "Mid2"),
        ("critters_cnn", "grad-cam", "Final"),
    ],
)
@pytest.mark.parametrize("loss", ["energy", "ppce"])
def test_the_small_networks_can_be_guided(name, attribution, stage, loss):
    if name.startswith("bcos"):
        pytest.importorskip("bcos")
    torch.manual_seed(0)
    model = build_model(registry.card("model", name), 10, GEOMETRY, 4)
    recipe = Recipe.model_validate(RECIPE.model_dump() | {"loss": "binary-cross-entropy"})
    objective = Guided(loss, attribution, stage, 0.01).objective(model, split(), recipe, 0, 0)
    statistics = {name: buffer.clone() for name, buffer in model.net.named_buffers()}
    terms = objective.loss(model.net.train(), batch(objective.data, 4))
    terms["loss"].backward()
    assert name.startswith("x_") or statistics  # X networks have no normalisation
    assert all(torch.equal(buffer, statistics[key]) for key, buffer in model.net.named_buffers())
    # what a B-cos network gives before it is trained is too small for a quotient
    assert terms["localisation"].isfinite() and (terms["localisation"].item() != 0 or name.startswith("bcos"))
    assert set(terms) == {"loss", "classification", "localisation", "silent", "accuracy"}
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.net.parameters())
