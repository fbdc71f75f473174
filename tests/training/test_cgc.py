"""CGC: maps against finite differences and torchvision, the contrast by hand, what is moved, what is learnt."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.transforms import functional as TF

from xaibench.cards import Geometry
from xaibench.datasets.critters import Critters
from xaibench.errors import XaibenchError
from xaibench.models.base import Encoding, Model
from xaibench.models.state import read_state
from xaibench.training.cgc import Cgc, ThreeViews, ViewImages, contrast, draw_move, positional_cam
from xaibench.training.recipe import Recipe
from xaibench.training.resources import TrainingResources
from xaibench.training.task import Split
from xaibench.training.train import TrainingJob, train

RECIPE = Recipe(start="scratch", epochs=2, batch_size=8, learning_rate=0.05, augmentation="flip")
SPLIT = Split(Critters("train", 24, 32), Critters("val", 8, 32), Geometry(resize=32, crop=32))
ENCODING = Encoding((0.5,) * 3, (0.25,) * 3)


def network(cam_layer="0"):
    """The map of layer 0 passes an in-place ReLU and a pooled linear head."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 8, 8), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10)
    )
    return Model("tiny", net, ENCODING, cam_layer, (4, 4), 10)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch(data):
    inputs, labels, ids = zip(*(data[i] for i in range(8)), strict=True)
    return torch.stack(inputs), torch.tensor(labels), ids


def test_the_contrast_of_two_maps_by_hand():
    """Anchors at a right angle: a positive on its own anchor gives log(1 + exp(-1 / temperature))."""
    anchors = torch.tensor([[2.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    near = math.log(1 + math.exp(-2))
    assert contrast(anchors, 5 * anchors, 0.5).item() == pytest.approx(near)
    # the first positive is between both anchors, cosine 1 / sqrt 2 with its own
    positives = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    expected = (math.log(1 + math.exp(-2 / math.sqrt(2))) + near) / 2
    assert contrast(anchors, positives, 0.5).item() == pytest.approx(expected)


def test_negatives_are_the_anchors_of_the_other_images():
    anchors, positives = draw(4, 6), draw(4, 6, seed=1)
    total = 0.0
    for i in range(4):
        cosines = [F.cosine_similarity(anchors[i], positives[i], 0)]
        cosines += [F.cosine_similarity(anchors[i], anchors[j], 0) for j in range(4) if j != i]
        total += torch.logsumexp(torch.stack(cosines) / 0.1, 0) - cosines[0] / 0.1
    assert contrast(anchors, positives, 0.1).item() == pytest.approx(total.item() / 4)


def test_gradients_of_the_contrast():
    assert torch.autograd.gradcheck(contrast, (draw(3, 5).requires_grad_(), draw(3, 5, seed=1).requires_grad_(), 0.3))
    anchors, positives = draw(3, 5).float(), draw(3, 5, seed=1).float()
    anchors[0], positives[1], positives[2] = 0, 0, anchors[2]
    anchors.requires_grad_(), positives.requires_grad_()
    contrast(anchors, positives).backward()
    assert anchors.grad.isfinite().all() and positives.grad.isfinite().all()
    assert (anchors.grad[0] == 0).all() and (positives.grad[1] == 0).all()


def test_maps_are_positional():
    """Two channels, two positions: the sum of products at each position, where it is positive."""
    feature = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])
    gradient = torch.tensor([[[[2.0, 1.0]], [[1.0, 5.0]]]])
    assert positional_cam(feature, gradient).tolist() == [[[[5.0, 0.0]]]]


def test_moves_are_those_of_torchvision():
    ids = [f"photo {i}" for i in range(6)]
    move, images = draw_move((40, 40), 0.08, 0, 0, ids), torch.rand(6, 3, 40, 40)
    moved = move(images)
    for i, (y, x, h, w) in enumerate(move.crop.windows):
        expected = TF.resized_crop(images[i], y, x, h, w, [40, 40], antialias=False)
        assert torch.allclose(moved[i], TF.hflip(expected) if move.flips[i] else expected, atol=1e-5)
    assert set(move.flips.tolist()) == {True, False}


def test_moves_depend_on_seed_epoch_and_image_alone():
    ids = [f"photo {i}" for i in range(8)]
    move, back = draw_move((40, 40), 0.08, 0, 0, ids), draw_move((40, 40), 0.08, 0, 0, ids[::-1])
    assert back.crop.windows[::-1] == move.crop.windows and torch.equal(back.flips.flip(0), move.flips)
    for other in (draw_move((40, 40), 0.08, 0, 1, ids), draw_move((40, 40), 0.08, 1, 0, ids)):
        assert other.crop.windows != move.crop.windows and not torch.equal(other.flips, move.flips)
    whole = draw_move((40, 40), 0.9, 0, 0, ids).crop.windows
    assert all(h * w >= 0.85 * 1600 for _, _, h, w in whole)


def test_both_maps_explain_the_class_of_the_displayed_image():
    """Against maps by hand: of this network the logit's slope is relu' x weight / positions."""
    model, ids = network(), [f"photo {i}" for i in range(8)]
    augmented, displayed = torch.randn(8, 3, 32, 32), torch.randn(8, 3, 32, 32)
    move = draw_move((32, 32), 0.3, 0, 0, ids)
    logits, positives, anchors = ThreeViews(model)(augmented, displayed, move)

    def by_hand(images, classes):
        feature = model.net[0](images)
        gradient = (feature > 0) * model.net[4].weight[classes][:, :, None, None] / 16
        found = (feature * gradient).sum(1, keepdim=True).clamp(min=0)
        return F.interpolate(found, (32, 32), mode="bilinear")

    views = [augmented, displayed, move(displayed)]
    for found, view in zip(logits, views, strict=True):
        assert torch.allclose(found, model.net(view), atol=1e-5)
    classes = logits[1].argmax(1)
    assert (classes != logits[2].argmax(1)).any()  # or this test says nothing about the class
    assert torch.allclose(positives, move(by_hand(displayed, classes))[:, 0], atol=1e-5)
    assert torch.allclose(anchors, by_hand(views[2], classes)[:, 0], atol=1e-5)
    assert positives.max() > 0 and anchors.max() > 0


def test_gradients_through_the_maps_are_finite_differences():
    """The contrast depends on the weights through features and through their gradients."""
    model = network()
    model.net[1] = nn.Softplus()  # smooth, so that finite differences hold
    model.net.double()
    views, ids = ThreeViews(model), ["a", "b", "c"]
    move, images = draw_move((32, 32), 0.5, 0, 0, ids), draw(3, 3, 32, 32)
    weight = model.net[4].weight

    def value(change):
        state = {"net.4.weight": weight.detach() + change}
        _, positives, anchors = torch.func.functional_call(views, state, (images, images, move))
        return contrast(anchors.flatten(1), positives.flatten(1), 0.5)

    zero = torch.zeros_like(weight).requires_grad_()
    (gradient,) = torch.autograd.grad(value(zero), zero)
    for seed in range(3):
        direction = draw(*weight.shape, seed=seed)
        slope = (value(1e-6 * direction) - value(-1e-6 * direction)).item() / 2e-6
        assert slope == pytest.approx((gradient * direction).sum().item(), rel=1e-5)


def test_the_loss_is_the_sum_of_three_views_and_the_contrast():
    made = Cgc(weight=2.0, temperature=0.1).objective(network(), SPLIT, RECIPE, 0, 0)
    views, labels, ids = batch(made.data)
    terms = made.loss(made.net, (views, labels, ids))
    move = draw_move((32, 32), 0.08, 0, 0, ids)
    net = made.net.net
    classified = sum(F.cross_entropy(net(x), labels) for x in (views[:, 0], views[:, 1], move(views[:, 1])))
    assert terms["classification"].item() == pytest.approx(classified.item(), rel=1e-5)
    expected = classified.item() + 2 * terms["contrast"].item()
    assert terms["loss"].item() == pytest.approx(expected, rel=1e-5)
    terms["contrast"].backward()
    assert net[0].weight.grad.abs().sum() > 0 and net[4].weight.grad.abs().sum() > 0


def test_views_are_the_augmented_and_the_displayed_image():
    data = ViewImages(SPLIT.train, ENCODING, SPLIT.geometry, "flip", 0)
    for i in range(8):
        views, label, image_id = data[i]
        sample = SPLIT.train.load(image_id)
        plain = ENCODING(sample.image[None])[0]
        assert torch.equal(views[1], plain) and label == sample.label
        assert torch.equal(views[0], plain) or torch.equal(views[0], plain.flip(2))
    assert not all(torch.equal(*data[i][0]) for i in range(8))


@pytest.mark.process
def test_the_contrast_falls_and_trainings_repeat(tmp_path):
    kept = []
    for number in range(2):
        model = network()
        torch.manual_seed(number)
        path = train(
            model, SPLIT, TrainingJob(Cgc(weight=1.0), RECIPE, tmp_path / str(number)), TrainingResources(quiet=True)
        )
        kept.append(read_state(path))
    assert kept[0].tensors.keys() == network().net.state_dict().keys()
    assert all(torch.equal(kept[0].tensors[key], kept[1].tensors[key]) for key in kept[0].tensors)
    assert {"train_contrast", "train_classification", "accuracy"} <= kept[0].header["metrics"].keys()
    made = Cgc().objective(network(), SPLIT, RECIPE, 0, 0)
    optimizer, values = torch.optim.Adam(made.net.parameters(), 0.01), []
    for _ in range(30):
        terms = made.loss(made.net, batch(made.data))
        optimizer.zero_grad()
        terms["contrast"].backward()
        optimizer.step()
        values.append(terms["contrast"].item())
    assert values[-1] < 0.7 * values[0]


def test_a_vision_transformer_is_trained_by_the_map_of_its_patches():
    import timm

    torch.manual_seed(0)
    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2, "num_classes": 10}
    model = Model("vit", timm.models.VisionTransformer(**shape), ENCODING, "blocks.1.norm1", (4, 4), 10)
    made = Cgc().objective(model, SPLIT, RECIPE, 0, 0)
    terms = made.loss(made.net, batch(made.data))
    terms["contrast"].backward()
    assert model.net.blocks[0].attn.qkv.weight.grad.abs().sum() > 0
    move = draw_move((32, 32), 1.0, 0, 0, ["a"] * 8)
    _, _, anchors = made.net(*batch(made.data)[0].unbind(1), move)
    assert anchors.shape == (8, 32, 32)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"weight": -0.1}, "--lambda"), ({"temperature": math.inf}, "--temperature"), ({"crop": 0}, "--crop is a share")],
)
def test_settings_that_are_none(settings, words):
    with pytest.raises(XaibenchError, match=words):
        Cgc(**settings)


def test_what_cannot_be_trained_so():
    with pytest.raises(XaibenchError, match="--batch-size of 2 or more"):
        Cgc().objective(network(), SPLIT, RECIPE.model_copy(update={"batch_size": 1}), 0, 0)
    with pytest.raises(XaibenchError, match="no layer with a spatial map"):
        Cgc().objective(network(""), SPLIT, RECIPE, 0, 0)
