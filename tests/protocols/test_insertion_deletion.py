"""Deletion, insertion and their difference: hand-computed, in closed form, against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
import torchvision.transforms.functional as TF
from PIL import Image
from safetensors.torch import load_file
from scipy.integrate import trapezoid
from scipy.ndimage import gaussian_filter
from scipy.signal import convolve2d
from torch import Tensor
from torch.nn.functional import conv2d

from xaibench import registry
from xaibench.errors import XaibenchError
from xaibench.protocols.base import OK, UNDEFINED_MAP, UNDEFINED_REFERENCE
from xaibench.protocols.faithfulness.combined import Combined
from xaibench.protocols.faithfulness.deletion import Deletion
from xaibench.protocols.faithfulness.insertion import Insertion
from xaibench.protocols.insertion_deletion import blank_images, relative_heights, replacement_curve

ZERO = torch.tensor([0.4, -0.3, 0.2])


def sigmoid(value: float) -> float:
    return 1 / (1 + np.exp(-value))


def test_a_hand_computed_image_of_two_by_two_pixels(evidence, linear):
    """Contributions 3, 1, -2, 0 go in the order of the map: pixel 1, 0, 3, 2; the logit is 2, 1, -2, -2, 0."""
    image = torch.tensor([[[[3.0, 1.0], [-2.0, 0.0]]]]).double()
    e = evidence(linear(torch.ones(1, 2, 2).double()), image, [0])
    attribution = torch.tensor([[[[5.0, 9.0], [-1.0, 0.0]]]])
    protocol = Deletion(steps=4)
    score = protocol.score(protocol.prepare(e), attribution)
    heights = [sigmoid(value) for value in (2, 1, -2, -2, 0)]
    assert float(score.values) == pytest.approx(trapezoid(heights, dx=0.25), abs=1e-12)
    protocol = Insertion(steps=4, start="zero")  # the logit is 0, 1, 4, 4, 2
    heights = [sigmoid(value) for value in (0, 1, 4, 4, 2)]
    assert float(protocol.score(protocol.prepare(e), attribution).values) == pytest.approx(trapezoid(heights, dx=0.25))
    protocol = Insertion(steps=4, start="zero", output="logit")
    assert float(protocol.score(protocol.prepare(e), attribution).values) == pytest.approx((0.5 + 2 + 2 + 0.5) / 4)
    # three steps of 1, 3 and 4 pixels: fractions 0, 0.25, 0.75, 1
    protocol, heights = Deletion(steps=3), [sigmoid(value) for value in (2, 1, -2, 0)]
    expected = trapezoid(heights, [0, 0.25, 0.75, 1])
    assert float(protocol.score(protocol.prepare(e), attribution).values) == pytest.approx(expected, abs=1e-12)


def test_the_curve_of_a_linear_model_is_the_sum_of_what_is_left(evidence, linear):
    torch.manual_seed(0)
    weights, image = torch.rand(1, 8, 8).double(), torch.rand(1, 1, 8, 8).double()
    e, contributions = evidence(linear(weights), image, [0]), (weights * image[0])[None]
    at, heights = replacement_curve(e, contributions, 16, "zero", "logit", insertion=False)
    ordered = contributions.flatten().sort(descending=True).values
    left = 1 - torch.cat([torch.zeros(1), ordered.cumsum(0)[3::4]]) / ordered.sum()
    assert torch.allclose(heights[0], left, rtol=1e-10) and torch.equal(at, torch.arange(17).double() / 16)
    # no order deletes faster, and none inserts faster
    for protocol, sign in ((Deletion(output="logit"), 1), (Insertion(output="logit", start="zero"), -1)):
        best = protocol.score(protocol.prepare(e), contributions).values
        others = [protocol.score(protocol.prepare(e), torch.rand(1, 1, 8, 8)).values for _ in range(20)]
        assert all(sign * (other - best) > 0 for other in others)


def loop_area(net, image, blank, target, order, steps, insertion) -> float:
    """The area for an order of pixels, the image being copied and changed pixel by pixel."""
    pixels, heights, fractions = len(order), [], []
    for step in range(steps + 1):
        count = round(step * pixels / steps)
        current, other = (blank, image) if insertion else (image, blank)
        current = current.clone().flatten(1)
        current[:, order[:count]] = other.flatten(1)[:, order[:count]]
        heights.append(float(net(current.view_as(image)[None]).softmax(1)[0, target]))
        fractions.append(count / pixels)
    return float(trapezoid(heights, fractions))


def published_kernel(length: int, deviation: float) -> np.ndarray:
    """What the published code of RISE blurs with: SciPy's Gaussian filter of one 1 among length x length zeros."""
    delta = np.zeros((length, length))
    delta[length // 2, length // 2] = 1
    return gaussian_filter(delta, deviation)


def cut_kernel(length: int, deviation: float) -> np.ndarray:
    """A Gaussian that is cut off at the kernel."""
    line = np.exp(-(((np.arange(length) - length // 2) / deviation) ** 2) / 2)
    return np.outer(line, line) / np.outer(line, line).sum()


KERNELS = {"blur": published_kernel, "gaussian": cut_kernel}


def loop_blur(image: Tensor, name: str) -> Tensor:
    """The image, blurred by 11 taps of deviation 5 at 224 pixels, which scale with its longer side."""
    scale = max(image.shape[1:]) / 224
    kernel = KERNELS[name](2 * max(1, round(5 * scale)) + 1, 5 * scale)
    return torch.from_numpy(np.stack([convolve2d(channel, kernel, mode="same") for channel in image.numpy()]))


@pytest.mark.parametrize("start", ["blur", "gaussian"])
def test_curves_agree_with_a_plain_loop(start, net, images, labels, evidence):
    maps = torch.randn(6, 1, 16, 24)
    e = evidence(net, images, labels, zero=ZERO, chunk=11)
    protocol = Combined(steps=7, start=start)
    scores = protocol.score(protocol.prepare(e), maps)
    for i in range(6):
        order = (-maps[i].flatten()).argsort()
        blurred, blank = loop_blur(images[i], start), ZERO.double()[:, None, None].expand_as(images[i])
        insertion = loop_area(net, images[i], blurred, labels[i], order, 7, True)
        deletion = loop_area(net, images[i], blank, labels[i], order, 7, False)
        assert float(scores.also["insertion"].values[i]) == pytest.approx(insertion, rel=1e-6)
        assert float(scores.also["deletion"].values[i]) == pytest.approx(deletion, rel=1e-6)
        assert float(scores.values[i]) == pytest.approx(insertion - deletion, abs=1e-7)
    assert scores.status == [OK] * 6 and scores.also["tied"].values.tolist() == [0] * 6
    for single, name in ((Deletion(steps=7), "deletion"), (Insertion(steps=7, start=start), "insertion")):
        assert torch.equal(single.score(single.prepare(e), maps).values, scores.also[name].values)


@pytest.mark.parametrize("side", [32, 64, 75, 224, 448])
@pytest.mark.parametrize("name", KERNELS)
def test_blurred_images_agree_with_a_two_dimensional_kernel_of_scipy(name, side, net, evidence):
    images = torch.rand(2, 3, side, side // 2, dtype=torch.float64)
    found = blank_images(evidence(net, images, [0, 1]), name)
    expected = torch.stack([loop_blur(image, name) for image in images])
    assert torch.allclose(found, expected, rtol=0, atol=1e-6 if name == "gaussian" else 1e-14)


def test_the_kernels_at_224_pixels(net, evidence):
    image = torch.zeros(1, 3, 224, 224, dtype=torch.float64)
    image[0, :, 112, 112] = 1
    e = evidence(net, image, [0])
    for name, kernel in KERNELS.items():
        found = blank_images(e, name)[0, 0, 107:118, 107:118].numpy()
        assert np.abs(found - kernel(11, 5)).max() < 1e-7 and found.sum() == pytest.approx(1)
    ratios = [kernel(11, 5)[5, 10] / kernel(11, 5)[5, 5] for kernel in KERNELS.values()]
    assert ratios == pytest.approx([0.9359, 0.6065], abs=1e-4), "the published kernel is flatter"


def published_insertion(net, image: Tensor, saliency: Tensor, target: int, step: int) -> float:
    """The insertion of the published code of RISE: single precision, a dense kernel, `step` pixels at once."""
    kernel = torch.zeros(3, 3, 11, 11)
    for channel in range(3):
        kernel[channel, channel] = torch.from_numpy(published_kernel(11, 5)).float()
    shown, heights = conv2d(image[None].float(), kernel, padding=5).flatten(2), []
    order = (-saliency.flatten()).argsort(stable=True)
    for done in range(0, len(order) + step, step):
        shown[:, :, order[:done]] = image.flatten(1)[None, :, order[:done]].float()
        heights.append(float(net(shown.view(1, *image.shape).to(image.dtype)).softmax(1)[0, target]))
    return (sum(heights) - (heights[0] + heights[-1]) / 2) / (len(heights) - 1)


@pytest.mark.slow
def test_insertion_of_a_photo_of_224_pixels_is_the_published_one(net, evidence):
    random = torch.Generator().manual_seed(3)
    image = torch.rand(3, 28, 28, generator=random).repeat_interleave(8, 1).repeat_interleave(8, 2).double()
    saliency = torch.randn(1, 1, 224, 224, generator=random)
    e = evidence(net, 2 * image[None] - 1, [2])
    scores = {}
    for start in ("blur", "gaussian"):
        protocol = Insertion(steps=28, start=start)
        scores[start] = float(protocol.score(protocol.prepare(e), saliency).values)
    expected = published_insertion(net, 2 * image - 1, saliency, 2, 8 * 224)
    assert scores["blur"] == pytest.approx(expected, abs=1e-7)
    assert abs(scores["gaussian"] - expected) > 1e-6


def test_the_cards_say_which_blur_they_use():
    cards = {name: registry.card("protocol", name) for name in ("insertion", "combined", "insertion-gaussian")}
    assert {name: card.parameters["start"] for name, card in cards.items()} == {
        "insertion": "blur", "combined": "blur", "insertion-gaussian": "gaussian",
    }  # fmt: skip
    assert [card.version > 1 for card in cards.values()] == [True, True, False]


def test_ends_are_shared_and_only_the_way_costs(net, images, labels, maps, evidence):
    e = evidence(net, images, labels)
    protocol = Deletion(steps=5)
    prepared = protocol.prepare(e)
    assert e.runner.forwards == 6 * 2
    protocol.score(prepared, maps), protocol.score(prepared, maps)
    assert e.runner.forwards == 6 * (2 + 2 * 4)
    Deletion(steps=8).prepare(e), Combined().prepare(e), Insertion(start="zero").prepare(e)
    assert e.runner.forwards == 6 * (2 + 2 * 4 + 1), "the blurred image alone was new"


@pytest.mark.parametrize("protocol", [Deletion(steps=6), Insertion(steps=6), Combined(steps=6)])
def test_scores_do_not_depend_on_batches_chunks_and_order(protocol, net, images, labels, maps, evidence):
    together = protocol.score(protocol.prepare(evidence(net, images, labels, chunk=32)), maps)
    ids = [f"photo {i}" for i in range(6)]
    flipped = evidence(net, images.flip(0), labels.flip(0), ids[::-1], chunk=5)
    backwards = protocol.score(protocol.prepare(flipped), maps.flip(0))
    assert torch.allclose(backwards.values.flip(0), together.values, rtol=1e-9)
    one = evidence(net, images[4:5], labels[4:5], ["photo 4"])
    assert torch.allclose(protocol.score(protocol.prepare(one), maps[4:5]).values, together.values[4], rtol=1e-9)


def test_several_targets_of_an_image(net, images, labels, maps, evidence):
    targets, owner = torch.tensor([0, 4, 4]), torch.tensor([2, 2, 5])
    protocol = Combined(steps=6)
    found = protocol.score(protocol.prepare(evidence(net, images, labels).explaining(targets, owner)), maps[:3])
    for pair in range(3):
        i = int(owner[pair])
        alone = evidence(net, images[i : i + 1], targets[pair : pair + 1], [f"photo {i}"])
        value = protocol.score(protocol.prepare(alone), maps[pair : pair + 1]).values
        assert torch.allclose(found.values[pair], value[0], rtol=1e-9)


def test_undefined_maps_and_references(net, images, labels, maps, evidence, linear):
    maps[0], maps[1, 0, 3, 3], maps[2, 0, 0, 0] = 0.1, float("nan"), float("inf")
    for protocol in (Deletion(steps=4), Insertion(steps=4), Combined(steps=4)):
        scores = protocol.score(protocol.prepare(evidence(net, images, labels)), maps)
        assert scores.status == [UNDEFINED_MAP] * 3 + [OK] * 3
        assert scores.also["tied"].status == [OK] + [UNDEFINED_MAP] * 2 + [OK] * 3
        assert float(scores.also["tied"].values[0]) == 1
    flat = evidence(linear(torch.zeros(3, 16, 24).double()), images, torch.zeros(6, dtype=torch.long))
    protocol = Deletion(output="logit")
    assert protocol.score(protocol.prepare(flat), maps).status == [UNDEFINED_REFERENCE] * 6


def test_a_logit_is_a_share_of_its_way():
    heights = torch.tensor([[4.0, 1.0, 2.0], [4.0, 1.0, 2.0]])
    found = relative_heights(heights, torch.tensor([4.0, 2.0]), torch.tensor([2.0, 2.0]))
    assert found[0].tolist() == [1.0, -0.5, 0.0] and found[1].isnan().all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Deletion(steps=0), "steps is a whole number of at least 1, not 0"),
        (lambda: Deletion(baseline="random"), "baseline is zero or blur or gaussian, not 'random'"),
        (lambda: Insertion(start="mean"), "start is zero or blur or gaussian, not 'mean'"),
        (lambda: Combined(target="labels"), "target is label or prediction, not 'labels'"),
        (lambda: Deletion(steps=28).check((4, 4)), "28 steps need at least as many pixels"),
    ],
)
def test_settings_that_do_not_exist_are_refused(make, message):
    with pytest.raises(XaibenchError, match=message):
        make()


@pytest.mark.slow
def test_insertion_of_a_real_photo_is_the_published_one(real, evidence):
    """SqueezeNet on a photo of ImageNet, ordered by input x gradient: the curve of the published code."""
    net = torchvision.models.squeezenet1_0(weights=None)
    net.load_state_dict(load_file(real / "weights" / "squeezenet1_0_imagenet.safetensors"))
    net.eval().requires_grad_(False)
    photo = Image.open(sorted((real / "imagenet_sample").rglob("*.jpg"))[0]).convert("RGB")
    pixels = TF.to_tensor(TF.center_crop(photo, [224, 224]))
    image = TF.normalize(pixels, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)).requires_grad_()
    logits = net(image[None])[0]
    target = int(logits.argmax())
    saliency = (torch.autograd.grad(logits[target], image)[0] * image).sum(0).detach()
    image = image.detach()
    scores = {}
    for start in ("blur", "gaussian"):
        e = evidence(net, image[None], [target], zero=torch.zeros(3), cam_layer=None)
        protocol = Insertion(steps=28, start=start)
        scores[start] = float(protocol.score(protocol.prepare(e), saliency[None, None]).values)
    assert scores["blur"] == pytest.approx(published_insertion(net, image, saliency, target, 8 * 224), abs=1e-5)
    assert abs(scores["gaussian"] - scores["blur"]) > 0.01


def test_only_deletions_to_the_blurred_image_have_another_key():
    assert Deletion(baseline="blur").key_fields == {"blur": "folded"}
    assert [protocol.key_fields for protocol in (Deletion(), Deletion(baseline="gaussian"), Insertion())] == [{}] * 3
