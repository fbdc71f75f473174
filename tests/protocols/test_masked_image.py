"""Average drop, average gain, ADCC and ARCC: plain loops, SciPy and pytorch-grad-cam as oracles; what attacks get."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from pytorch_grad_cam.metrics.arcc import ARCC
from pytorch_grad_cam.metrics.arcc import Coherency as TheirCoherency
from pytorch_grad_cam.metrics.cam_mult_image import CamMultImageConfidenceChange
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget
from scipy.stats import hmean, pearsonr

from xaibench.errors import XaibenchError
from xaibench.functional import adcc_score, average_drop_score, average_gain_score, coherency_score, scaled_map
from xaibench.models.base import Encoding
from xaibench.protocols.base import OK, UNDEFINED_MAP, UNDEFINED_REFERENCE
from xaibench.protocols.faithfulness.adcc import Adcc
from xaibench.protocols.faithfulness.arcc import Arcc
from xaibench.protocols.faithfulness.average_drop import AverageDrop
from xaibench.protocols.faithfulness.average_gain import AverageGain

ENCODING = Encoding((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
WAYS = {
    "min-max": lambda a: (a - a.min()) / (a.max() - a.min()),
    "positive": lambda a: a.clip(0) / a.clip(0).max(),
    "absolute": lambda a: (abs(a) - abs(a).min()) / (abs(a).max() - abs(a).min()),
}


@pytest.fixture
def signed() -> torch.Tensor:
    """Signed maps of the six images, whose positive part reaches 0."""
    return torch.randn(6, 1, 16, 24, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def ixg(e):
    return (e.inputs * e.gradient()).sum(1, keepdim=True)


def loop(net, images, labels, maps, scaling="min-max", black=None) -> list[tuple[float, float]]:
    """Probabilities of each image and of the image that fades to a colour (0, or black) where its map is low."""
    found = []
    for image, label, each in zip(images, labels, maps, strict=True):
        mask = torch.from_numpy(WAYS[scaling](each.numpy()))
        start = torch.zeros_like(image) if black is None else black.expand_as(image)
        both = net(torch.stack([image, mask * image + (1 - mask) * start])).softmax(1)[:, label]
        found.append(tuple(both.tolist()))
    return found


@pytest.mark.parametrize("scaling", WAYS)
@pytest.mark.parametrize("baseline", ["zero", "black"])
def test_drop_and_gain_agree_with_a_plain_loop(scaling, baseline, net, images, labels, signed, evidence):
    black = (-torch.tensor(ENCODING.mean) / torch.tensor(ENCODING.std)).double()[:, None, None]
    pairs = loop(net, images, labels, signed, scaling, black if baseline == "black" else None)
    e = evidence(net, images, labels, encoding=ENCODING, chunk=4)
    drop, gain = (kind(scaling, baseline).score(e, signed) for kind in (AverageDrop, AverageGain))
    assert e.runner.forwards == 6 + 2 * 6
    assert drop.values.tolist() == pytest.approx([max(0, p - q) / p for p, q in pairs], abs=1e-9)
    assert gain.values.tolist() == pytest.approx([max(0, q - p) / (1 - p) for p, q in pairs], abs=1e-9)
    assert drop.also["increase"].values.tolist() == [float(q > p) for p, q in pairs]
    assert 0 < sum(drop.also["increase"].values) < 6, "both happen, or the test shows little"
    areas = [float(WAYS[scaling](each.numpy()).mean()) for each in signed]
    for scores in (drop, gain):
        assert scores.status == [OK] * 6 and scores.also["complexity"].values.tolist() == pytest.approx(areas)


def test_the_product_is_that_of_pytorch_grad_cam(net, images, labels, signed, evidence):
    cams = scaled_map(signed)[:, 0].numpy()
    targets = [ClassifierOutputSoftmaxTarget(int(label)) for label in labels]
    change = CamMultImageConfidenceChange()(images, cams, targets, net)
    e = evidence(net, images, labels)
    intact = net(images).softmax(1).gather(1, labels[:, None])[:, 0].numpy()
    theirs = np.maximum(-change, 0) / intact
    np.testing.assert_allclose(AverageDrop().score(e, signed).values.numpy(), theirs, atol=1e-6)


def test_scale_and_shift_of_a_map_change_nothing_and_bounds_hold(net, images, labels, signed, evidence):
    e = evidence(net, images, labels, encoding=ENCODING)
    for kind in (AverageDrop(), AverageGain(), AverageDrop(baseline="black")):
        expected = kind.score(e, signed).values
        assert torch.allclose(kind.score(e, 3 * signed + 7).values, expected, atol=1e-12)
        assert ((expected >= 0) & (expected <= 1)).all()
    positive = AverageDrop("positive")
    assert torch.allclose(positive.score(e, 5 * signed).values, positive.score(e, signed.relu()).values)
    assert torch.equal(
        AverageDrop("absolute").score(e, -signed).values, AverageDrop("absolute").score(e, signed).values
    )


def test_a_map_of_ones_but_for_one_pixel_is_perfect(net, images, labels, evidence):
    """The attack: it hides one pixel of 384. With another one, of a single hot pixel, everything is hidden."""
    e, ones = evidence(net, images, labels), torch.ones(6, 1, 16, 24).double()
    ones[:, 0, 0, 0] = 0
    drop = AverageDrop().score(e, ones)
    assert float(drop.values.max()) < 0.05 and float(drop.also["complexity"].values.min()) > 0.997
    outlier = torch.zeros_like(ones)
    outlier[:, 0, 3, 3], outlier[:, 0, 0, 0] = 1, -1
    grey = AverageDrop().score(e, outlier).also["complexity"].values
    assert torch.allclose(grey, torch.full_like(grey, 0.5)), "a signed map of two outliers shows the image at half"
    # what is scaled to ones with nothing hidden is the image itself: no drop and no gain
    same = net(images).softmax(1).gather(1, labels[:, None])[:, 0]
    assert average_drop_score(same, same).tolist() == average_gain_score(same, same).tolist() == [0] * 6


def test_undefined_cases_have_a_status(net, images, labels, signed, evidence):
    e = evidence(net, images, labels)
    signed[0], signed[1], signed[2, 0, 4, 4] = 0, 1, float("nan")
    signed[3] = -signed[3].abs()
    expected = {"min-max": [UNDEFINED_MAP] * 3 + [OK] * 3, "positive": [UNDEFINED_MAP] * 4 + [OK] * 2}
    for scaling, status in expected.items():
        for kind in (AverageDrop, AverageGain):
            scores = kind(scaling).score(e, signed)
            assert scores.status == status == scores.also["complexity"].status
            assert scores.values.isnan().tolist() == [one != OK for one in status]
    signed[4, 0, 0, 0] = float("inf")
    assert scaled_map(signed).flatten(1).isnan().all(1).tolist() == [True] * 3 + [False, True, False]
    assert average_drop_score(torch.tensor([0.0]), torch.tensor([0.5])).isnan().all()
    assert average_gain_score(torch.tensor([1.0]), torch.tensor([0.5])).isnan().all()
    with pytest.raises(XaibenchError, match="baseline is zero or black, not 'blur'"):
        AverageDrop(baseline="blur")
    with pytest.raises(XaibenchError, match="scaling is min-max or positive or absolute"):
        scaled_map(signed, "softmax")
    with pytest.raises(XaibenchError, match="needs a model whose encoding is known"):
        AverageDrop(baseline="black").prepare(e)


def test_a_certain_model_has_room_in_double_precision_alone(linear, evidence):
    """p = 1 - 1e-12 in float32 is 1, where the gain would not exist; p = 1 exactly is nobody's fault."""
    weights = torch.zeros(1, 4, 4)
    weights[0, 0, 0] = 1
    image, maps = torch.ones(2, 1, 4, 4), torch.rand(2, 1, 4, 4)
    image[0, 0, 0, 0], image[1, 0, 0, 0] = 28.0, 800.0
    gain = AverageGain().score(evidence(linear(weights), image, [0, 0]), maps)
    assert gain.status == [OK, UNDEFINED_REFERENCE]
    drop = AverageDrop().score(evidence(linear(-weights), image, [0, 0]), maps)
    assert drop.status == [OK, UNDEFINED_REFERENCE], "e^-800 is 0"


def adcc_by_hand(net, images, labels, maps, scaling="min-max") -> list[tuple[float, float, float]]:
    """Coherency, complexity and average drop of input x gradient maps."""
    found = []
    for image, label, each, (p, q) in zip(images, labels, maps, loop(net, images, labels, maps, scaling), strict=True):
        mask = WAYS[scaling](each.numpy())
        shown = (torch.from_numpy(mask) * image)[None].requires_grad_(True)
        net(shown)[0, label].backward()
        second = WAYS[scaling]((shown * shown.grad).sum(1).detach().numpy())
        found.append(((pearsonr(mask.ravel(), second.ravel())[0] + 1) / 2, mask.mean(), max(0, p - q) / p))
    return found


@pytest.mark.parametrize("scaling", WAYS)
def test_adcc_agrees_with_a_plain_loop(scaling, net, images, labels, evidence):
    e, protocol = evidence(net, images, labels, chunk=5), Adcc(scaling)
    maps = ixg(e)
    before = e.runner.forward_equivalents
    scores = protocol.score_method(protocol.prepare(e), maps, ixg)
    assert e.runner.forward_equivalents - before == 6 + 6 + 3 * 6, "the image, the masked one, and its map"
    parts = adcc_by_hand(net, images, labels, maps.detach(), scaling)
    for place, name in enumerate(("coherency", "complexity", "average-drop")):
        assert scores.also[name].values.tolist() == pytest.approx([part[place] for part in parts], abs=1e-9)
    expected = [hmean([coherency, 1 - area, 1 - drop]) for coherency, area, drop in parts]
    assert scores.values.tolist() == pytest.approx(expected, abs=1e-9) and scores.status == [OK] * 6
    with pytest.raises(XaibenchError, match="the method is needed, not only its maps"):
        protocol.score(e, maps)


def test_harmonic_means_at_their_ends():
    ends = torch.tensor([1.0, 0.0, 1.0, 1.0]), torch.tensor([0.0, 0.5, 1.0, 0.5]), torch.tensor([1.0, 1.0, 1.0, 0.5])
    assert adcc_score(*ends).tolist() == pytest.approx([1, 0, 0, hmean([1, 0.5, 0.5])])
    assert adcc_score(torch.tensor([float("nan")]), *(torch.ones(1) / 2,) * 2).isnan().all()
    maps = torch.randn(3, 1, 8, 8).double()
    assert coherency_score(maps, -2 * maps + 1).tolist() == pytest.approx([0] * 3, abs=1e-12)
    assert coherency_score(maps, torch.ones(3, 1, 8, 8)).isnan().all()


def test_a_method_that_sees_nothing_is_coherent_and_a_lost_second_map_is_undefined(
    net, images, labels, signed, evidence
):
    """Controls that do not look at the image have the coherency 1: that part alone says nothing."""
    e, protocol = evidence(net, images, labels), Adcc()
    scores = protocol.score_method(e, signed, lambda other: signed)
    assert scores.also["coherency"].values.tolist() == pytest.approx([1] * 6)
    signed[0], broken = 1, torch.randn(6, 1, 16, 24).double()
    broken[1], broken[2, 0, 0, 0] = 0, float("inf")
    scores = protocol.score_method(e, signed, lambda other: broken)
    assert scores.status == [UNDEFINED_MAP] * 3 + [OK] * 3
    assert scores.also["complexity"].status == [UNDEFINED_MAP] + [OK] * 5


class Theirs:
    """Input x gradient as pytorch-grad-cam calls a method: maps (n, H, W), scaled to [0, 1]."""

    def __init__(self, net, labels):
        self.net, self.labels = net, labels

    def __call__(self, input_tensor, targets):
        shown = input_tensor.detach().requires_grad_(True)
        self.net(shown).gather(1, self.labels[:, None]).sum().backward()
        return np.stack([WAYS["min-max"](each) for each in (shown * shown.grad).sum(1).detach().numpy()])


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")
def test_arcc_agrees_with_pytorch_grad_cam(net, images, labels, evidence):
    """Coherency and complexity exactly; ROAD up to its noise and its rounding of the cuts."""
    e, protocol = evidence(net, images, labels), Arcc(noise=0.0)
    maps = ixg(e)
    scores = protocol.score_method(protocol.prepare(e), maps, ixg)
    cams = scaled_map(maps)[:, 0].numpy()
    targets, method = [ClassifierOutputSoftmaxTarget(int(label)) for label in labels], Theirs(net, labels)
    coherency = TheirCoherency()(images, cams, targets, net, method)
    np.testing.assert_allclose(scores.also["coherency"].values.numpy(), coherency, atol=1e-6)
    torch.manual_seed(0)
    single = deepcopy(net).float()  # their imputation knows float32 alone
    theirs = ARCC(Theirs(single, labels))(images.float(), np.float32(cams), targets, single)
    assert scores.also["road"].values.min() > 0.05  # near 0 the harmonic mean turns small differences into large ones
    np.testing.assert_allclose(scores.values.numpy(), theirs, atol=0.005)
    opposite = protocol.score_method(protocol.prepare(e), -maps, lambda other: -ixg(other))
    assert opposite.values.tolist() == [0] * 6 and (opposite.also["road"].values < 0).all()


def test_scores_do_not_depend_on_batches(net, images, labels, evidence):
    for protocol in (Adcc(), Arcc(steps=2), AverageDrop()):
        e, one = evidence(net, images, labels), evidence(net, images[4:5], labels[4:5], ["photo 4"])
        together = protocol.score_method(protocol.prepare(e), ixg(e), ixg).values[4]
        alone = protocol.score_method(protocol.prepare(one), ixg(one), ixg).values[0]
        assert float(alone) == pytest.approx(float(together), rel=1e-9)
