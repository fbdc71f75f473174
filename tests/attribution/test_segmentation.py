"""Semantic segmentation: the mean logit of a class over a fixed region, against captum and formulas."""

from __future__ import annotations

import pytest
import torch
from captum.attr import IntegratedGradients, LayerGradCam, Saliency
from torch import nn
from torch.nn import functional as F
from torchvision.models import segmentation

import xaibench
from xaibench.errors import XaibenchError
from xaibench.segmentation import dense_logits

TORCHVISION = {
    "lraspp_mobilenet_v3_large": "backbone.16", "fcn_resnet50": "backbone.layer4",
    "deeplabv3_resnet50": "backbone.layer4",
}  # fmt: skip
SIDE = 33  # odd, so that the network's own resizing is not a whole factor


class Dense(nn.Module):
    """An encoder of two convolutions, a head, logits at the size of the image; `key` as the networks of packages."""

    def __init__(self, classes: int = 3, key: str | None = "out", part: str = "backbone"):
        super().__init__()
        convolutions = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())
        setattr(self, part, convolutions)
        self.head, self.key, self.part = nn.Conv2d(8, classes, 1), key, part

    def forward(self, images):
        logits = F.interpolate(self.head(getattr(self, self.part)(images)), images.shape[2:], mode="bilinear")
        return logits if self.key is None else {self.key: logits, "aux": logits[:, :1]}


class Colours(nn.Module):
    """The logits of three classes at a place are the colours there."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, images):
        return {"out": self.gain * images}


@pytest.fixture
def image():
    return torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def region():
    found = torch.zeros(16, 16, dtype=torch.bool)
    found[2:9, 4:7] = True
    return found


def small(**settings) -> Dense:
    torch.manual_seed(3)
    return Dense(**settings).double().eval()


@pytest.mark.parametrize("key", [None, "out", "logits"])
def test_logits_are_means_over_the_region(key, image, region):
    net = small(key=key)
    raw = net(image) if key is None else net(image)[key]
    expected = [sum(raw[0, k, y, x] for y in range(2, 9) for x in range(4, 7)) / 21 for k in range(3)]
    assert torch.allclose(xaibench.RegionLogits(net, region)(image)[0], torch.stack(expected), rtol=1e-12)
    assert torch.allclose(xaibench.RegionLogits(net)(image), raw.mean((2, 3)), rtol=1e-12)


def test_the_predicted_region_is_where_the_logit_is_the_highest(image):
    logits, found = small()(image)["out"][0], 0
    for k in logits.argmax(0).unique().tolist():
        region = xaibench.predicted_region(small(), image, k)
        assert all((logits[k, y, x] == logits[:, y, x].max()) == region[y, x] for y in range(16) for x in range(16))
        found += region.sum()
    assert found == 256
    one = small(classes=1, key=None)
    one.head.bias.data -= one(image).median().detach()
    above = one(image)[0, 0] > 0
    assert torch.equal(xaibench.predicted_region(one, image, 1), above)
    assert torch.equal(xaibench.predicted_region(one, image, 0), ~above)


def test_methods_explain_the_sum_that_captum_is_given(image, region):
    net, count = small(), int(region.sum())

    def summed(images):
        return (net(images)["out"] * region).sum((2, 3))

    classifier = xaibench.RegionLogits(net, region)
    found = count * xaibench.attribute(classifier, image, [2], "ig", steps=20)
    expected = IntegratedGradients(summed).attribute(image, target=2, n_steps=20).sum(1, keepdim=True)
    assert torch.allclose(found, expected, rtol=1e-6, atol=1e-7)  # captum's steps are float32
    change = summed(image)[0, 2] - summed(torch.zeros_like(image))[0, 2]
    assert abs(found.sum() - change) < 0.02 * abs(change), "the map adds up to the change of the sum"
    gradient = Saliency(summed).attribute(image, target=2, abs=False)
    found = count * xaibench.attribute(classifier, image, [2], "ixg")
    assert torch.allclose(found, (image * gradient).sum(1, keepdim=True), rtol=1e-9, atol=1e-12)
    cam = LayerGradCam(summed, net.backbone[3]).attribute(image, target=2, relu_attributions=True)
    assert cam.max() > 0
    expected = F.interpolate(cam, (16, 16), mode="bilinear", align_corners=False)
    found = count * xaibench.attribute(classifier, image, [2], "grad-cam", cam_layer=net.backbone[3])
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_grad_cam_is_seg_grad_cam(image, region):
    """Vinogradova et al.: ReLU of the maps weighted by the mean gradient of the sum of logits over the pixels."""
    net = small()
    maps = net.backbone(image).detach().requires_grad_()
    logits = F.interpolate(net.head(maps), (16, 16), mode="bilinear")
    total = sum(logits[0, 1, y, x] for y, x in region.nonzero().tolist())
    (gradient,) = torch.autograd.grad(total, maps)
    weights = [gradient[0, channel].sum() / 16 for channel in range(8)]
    heat = torch.relu(sum(weight * maps[0, channel] for channel, weight in enumerate(weights)))
    assert heat.max() > 0
    expected = F.interpolate(heat[None, None], (16, 16), mode="bilinear").detach()
    found = region.sum() * xaibench.attribute(xaibench.RegionLogits(net, region), image, [1], "grad-cam")
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_the_region_stays_where_it_was_on_the_intact_image(image):
    """A network that shows the colours: a deleted cell changes the mean by what lay in the cell and in the region,
    although no place of the cell is predicted as the class any longer."""
    net = Colours().double().eval()
    image = image - 1  # zero, which deleted cells become, is then above most colours
    region = xaibench.predicted_region(net, image, 0)
    classifier = xaibench.RegionLogits(net, region)
    drops = torch.empty(4, 4, dtype=torch.float64)
    for row in range(4):
        for column in range(4):
            cell = (slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4))
            drops[row, column] = (image[0, 0][cell] * region[cell]).sum() / region.sum()
            deleted = image.clone()
            deleted[0, :, cell[0], cell[1]] = 0
            drop = (classifier(image) - classifier(deleted))[0, 0].item()
            assert drop == pytest.approx(float(drops[row, column]))
            moved = deleted[0].argmax(0) == 0
            assert not torch.equal(moved, region)
    best = drops.repeat_interleave(4, 0).repeat_interleave(4, 1)[None, None]
    assert xaibench.score("sds", classifier, image, [0], best) == pytest.approx(1)
    assert xaibench.score("sds", classifier, image, [0], -best) == pytest.approx(-1)


@pytest.mark.parametrize("name", ["deletion", "insertion", "combined", "ids", "srg", "saco", "sparseness"])
def test_protocols_without_annotations_take_it(name, image, region):
    classifier = xaibench.RegionLogits(small(), region)
    maps = xaibench.attribute(classifier, image, [0], "ixg")
    assert torch.isfinite(xaibench.score(name, classifier, image, [0], maps)).all()


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize(("name", "layer"), TORCHVISION.items())
def test_networks_of_torchvision(name, layer):
    torch.manual_seed(0)
    net = getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=3).eval()
    picture = torch.randn(1, 3, SIDE, SIDE)
    target = int(net(picture)["out"][0].argmax(0).flatten().mode().values)
    region = xaibench.predicted_region(net, picture, target)
    assert region.shape == (SIDE, SIDE)
    region[: SIDE // 2] = False  # the class may be predicted everywhere by random weights
    classifier = xaibench.RegionLogits(net, region)
    cam = LayerGradCam(lambda x: (net(x)["out"] * region).sum((2, 3)), net.get_submodule(layer))
    expected = F.interpolate(
        cam.attribute(picture, target=target, relu_attributions=True), (SIDE, SIDE), mode="bilinear"
    )
    found = region.sum() * xaibench.attribute(classifier, picture, [target], "grad-cam")
    assert expected.max() > 0
    assert torch.allclose(found, expected.detach(), rtol=1e-3, atol=1e-4 * float(expected.max()))
    assert xaibench.attribute(classifier, picture, [target], "occlusion", window=0.5, stride=0.5).isfinite().all()


def test_the_last_map_of_the_encoder_is_the_cam_layer(image, region):
    for part in ("backbone", "encoder"):
        net = small(part=part)
        found = xaibench.attribute(xaibench.RegionLogits(net, region), image, [0], "grad-cam")
        named = xaibench.attribute(xaibench.RegionLogits(net, region), image, [0], "grad-cam", cam_layer=f"net.{part}")
        assert torch.equal(found, named)
    other = xaibench.RegionLogits(small(part="features"), region)
    with pytest.raises(XaibenchError, match="layer"):
        xaibench.attribute(other, image, [0], "grad-cam")
    assert xaibench.attribute(other, image, [0], "grad-cam", cam_layer="net.features").isfinite().all()
    assert xaibench.attribute(other, image, [0], "ixg").isfinite().all()


def test_the_network_is_left_as_it_was(image, region):
    net = small()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    xaibench.attribute(xaibench.RegionLogits(net, region), image, [0], "grad-cam")
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not net.training and list(net.state_dict()) == list(before)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (torch.ones(16, 16), "a tensor .h, w. of truth values, not torch.float32"),
        (torch.zeros(16, 16, dtype=torch.bool), "is empty"),
        (torch.ones(1, 16, 16, dtype=torch.bool), "not torch.bool .1, 16, 16."),
        ([[True]], "not list"),
    ],
)
def test_regions_that_are_none(region, message):
    with pytest.raises(XaibenchError, match=message):
        xaibench.RegionLogits(small(), region)


def test_a_region_of_another_size_and_a_class_that_is_not_there(image):
    with pytest.raises(XaibenchError, match="the region has 8x8 places and the network gives 16x16"):
        xaibench.RegionLogits(small(), torch.ones(8, 8, dtype=torch.bool))(image)
    with pytest.raises(XaibenchError, match=r"class 7 is predicted nowhere .* the classes that are: \d \(\d+%\)"):
        xaibench.predicted_region(small(), image, 7)
    with pytest.raises(XaibenchError, match="of one image"):
        xaibench.predicted_region(small(), image.expand(2, -1, -1, -1), 0)
    with pytest.raises(XaibenchError, match="training mode"):
        xaibench.predicted_region(small().train(), image, 0)


@pytest.mark.parametrize(
    "output",
    [
        [{"boxes": torch.zeros(2, 4), "labels": torch.zeros(2), "scores": torch.zeros(2)}],
        {"class_queries_logits": torch.zeros(1, 5, 3), "masks_queries_logits": torch.zeros(1, 5, 4, 4)},
        torch.zeros(1, 3),
        torch.zeros(1, 3, 4, 4, dtype=torch.long),
        (torch.zeros(1, 3, 4, 4),),
    ],
)
def test_other_outputs_are_refused_in_one_line(output):
    with pytest.raises(XaibenchError, match="detection and of instances are not explained") as caught:
        dense_logits(output, 1)
    assert "\n" not in str(caught.value)


def test_a_segmentation_network_by_itself_is_told_of_regions(image):
    for net in (small(), small(key=None)):
        with pytest.raises(XaibenchError, match=r"explain one region: xaibench.RegionLogits"):
            xaibench.attribute(net, image, [0], "ixg")


@pytest.mark.process
def test_a_detector_of_torchvision_is_refused():
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    net = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3).eval()
    with pytest.raises(XaibenchError, match="detection and of instances are not explained"):
        xaibench.predicted_region(net, torch.rand(1, 3, 64, 64), 0)
