"""SES: what moves with the image scores one, what stays does not, and moves are bound to seed and image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine
from torch.nn.functional import interpolate

from xaibench.errors import XaibenchError
from xaibench.protocols.base import OK, UNDEFINED_MAP
from xaibench.protocols.robustness.ses import Equivariance, equivariance_similarity
from xaibench.protocols.transforms import Crop, Flip, Shift, draw_offset, draw_window

SIZE = (16, 24)
NAMES = ["crop", "translation", "flip"]
ZERO = torch.tensor([0.4, -0.3, 0.2])


def channel_sum(e):
    """A method that moves exactly as the image does, of either sign."""
    return e.inputs.sum(1, keepdim=True)


def fixed(e):
    """A method that looks away: a ramp from the left to the right."""
    return torch.linspace(0, 1, SIZE[1]).expand(len(e.targets), 1, *SIZE)


def scored(e, method, protocol=None):
    protocol = protocol or Equivariance()
    return protocol.score_method(protocol.prepare(e), method(e), method)


def test_an_equivariant_method_scores_one_and_a_fixed_map_less(net, images, labels, evidence):
    e = evidence(net, images, labels, zero=ZERO)
    scores = scored(e, channel_sum)
    assert scores.status == [OK] * 6 and list(scores.also) == NAMES
    for values in [scores.values, *(further.values for further in scores.also.values())]:
        assert torch.allclose(values, torch.ones(6, dtype=torch.float64), atol=1e-12) and (values <= 1).all()
    stays = scored(e, fixed)
    assert stays.status == [OK] * 6 and (stays.values < 0.97).all()
    ramp = np.linspace(0, 1, SIZE[1])
    assert stays.also["flip"].values.numpy() == pytest.approx(1 - cosine(ramp, ramp[::-1]), abs=1e-6)
    mean = torch.stack([further.values for further in stays.also.values()]).mean(0)
    assert torch.allclose(stays.values, mean, rtol=1e-12)


def test_noise_that_is_new_each_time_scores_what_unrelated_positive_values_have(net, images, labels, evidence):
    """Of positive parts of normal values: E[x]^2 / E[x^2] = 1 / pi."""
    draws = torch.Generator().manual_seed(0)
    e = evidence(net, images, labels)
    scores = scored(e, lambda make_evidence: torch.randn(6, 1, *SIZE, generator=draws))
    assert float(scores.also["flip"].values.mean()) == pytest.approx(1 / math.pi, abs=0.03)


def test_similarity_is_the_cosine_of_what_both_show():
    ours = torch.tensor([[1.0, 2, -5], [0, 3, 4]])[None, None]
    theirs = torch.tensor([[2.0, 0, 1], [-1, 1, 9]])[None, None]
    visible = torch.ones(1, 2, 3, dtype=torch.bool)
    assert float(equivariance_similarity(ours, theirs, visible)) == pytest.approx(
        1 - cosine([1, 2, 0, 0, 3, 4], [2, 0, 1, 0, 1, 9])
    )
    visible[..., 2] = False
    expected = 1 - cosine([1, 2, 0, 3], [2, 0, 0, 1])
    assert float(equivariance_similarity(ours, theirs, visible)) == pytest.approx(expected)
    assert float(equivariance_similarity(1e-200 * ours.double(), 1e200 * theirs.double(), visible)) == pytest.approx(
        expected
    )


def test_maps_that_cannot_be_compared_are_undefined(net, images, labels, evidence):
    """A constant, nothing positive, NaN, constant on the moved image only, and a good map."""
    protocol = Equivariance()
    e = evidence(net, images, labels)
    maps = channel_sum(e).clone()
    maps[0], maps[1] = 0.3, -maps[1].abs()
    maps[2, 0, 3, 3] = torch.nan

    def again(moved):
        made = channel_sum(moved).clone()
        made[3] = 2.0
        return made

    scores = protocol.score_method(protocol.prepare(e), maps, again)
    assert scores.status == [UNDEFINED_MAP] * 4 + [OK] * 2
    assert all(further.status == scores.status for further in scores.also.values())


def test_one_undefined_move_leaves_the_others_their_score(net, images, labels, evidence):
    """Only the pixel in a corner is positive: where it is shifted or cropped out of sight there is nothing to see."""
    maps = torch.zeros(6, 1, *SIZE)
    maps[:, :, 0, 0] = 1
    scores = scored(evidence(net, images, labels), lambda e: maps)
    assert scores.also["flip"].status == [OK] * 6 and scores.also["flip"].values.tolist() == [0.0] * 6
    gone = [status == UNDEFINED_MAP for status in scores.also["translation"].status]
    assert any(gone)
    for pair, status in enumerate(scores.status):
        assert (status == UNDEFINED_MAP) == any(further.status[pair] != OK for further in scores.also.values())


def test_each_move_by_hand():
    values = torch.arange(24.0).view(2, 1, 3, 4)
    fill = torch.tensor([-1.0])
    assert torch.equal(Flip()(values, fill), values.flip(-1))
    moved = Shift([(1, -2), (-1, 1)])(values, fill)
    assert moved[0, 0].tolist() == [[-1, -1, -1, -1], [2, 3, -1, -1], [6, 7, -1, -1]]
    assert moved[1, 0].tolist() == [[-1, 16, 17, 18], [-1, 20, 21, 22], [-1, -1, -1, -1]]
    cut = Crop([(1, 0, 2, 3), (0, 0, 3, 4)])(values, fill)
    assert torch.equal(cut[:1], interpolate(values[:1, :, 1:3, 0:3], (3, 4), mode="bilinear", align_corners=False))
    assert torch.equal(cut[1], values[1]), "the whole image stays as it is"


def test_what_a_translation_uncovers_is_the_zero_of_the_encoded_space(net, images, labels, evidence):
    e = evidence(net, images, labels, zero=ZERO)
    prepared = Equivariance().prepare(e)
    shown = prepared.moves["translation"](torch.ones(6, 1, *SIZE), torch.zeros(1))
    moved = prepared.evidence["translation"].images
    for image, seen in zip(moved, shown, strict=True):
        hidden = image[:, seen[0] == 0]
        assert hidden.shape[1] and torch.equal(hidden, ZERO.to(hidden)[:, None].expand_as(hidden))


def test_the_explained_class_and_noise_are_those_of_the_image_as_it_was(net, images, labels, evidence):
    e = evidence(net, images, labels).explaining(torch.tensor([1, 4, 1]), torch.tensor([2, 2, 5]), output="probability")
    for moved in Equivariance().prepare(e).evidence.values():
        assert torch.equal(moved.targets, e.targets) and moved.output == "probability"
        assert moved.image_ids == ["photo 2", "photo 2", "photo 5"] and moved.seed == e.seed
        assert torch.equal(moved.images[0], moved.images[1]), "pairs of an image are moved alike"


def test_windows_cover_the_range_of_areas_and_stay_inside():
    windows = [draw_window((100, 120), 0.08, 0, f"photo {i}") for i in range(400)]
    areas = np.array([h * w for _, _, h, w in windows]) / 12000
    assert all(y >= 0 and x >= 0 and y + h <= 100 and x + w <= 120 for y, x, h, w in windows)
    assert areas.min() < 0.11 and areas.max() > 0.85 and 0.45 < areas.mean() < 0.6
    ratios = [w / h for _, _, h, w in windows if h < 100 and w < 120]
    assert min(ratios) > 0.7 and max(ratios) < 1.4
    places = [y / (100 - h) for y, _, h, _ in windows if h < 60]
    assert min(places) < 0.05 and max(places) > 0.95 and 0.4 < np.mean(places) < 0.6


def test_offsets_move_along_both_axes_up_to_the_largest():
    offsets = np.array([draw_offset((40, 80), 0.25, 0, f"photo {i}") for i in range(600)])
    assert sorted(set(np.abs(offsets[:, 0]))) == list(range(1, 11))
    assert sorted(set(np.abs(offsets[:, 1]))) == list(range(1, 21))
    assert all(0.4 < (offsets[:, axis] > 0).mean() < 0.6 for axis in (0, 1))


def test_moves_are_bound_to_seed_and_image_and_not_to_the_batch(net, images, labels, evidence):
    protocol = Equivariance()
    together = protocol.prepare(evidence(net, images, labels, seed=3))
    alone = protocol.prepare(evidence(net, images[4:5], labels[4:5], ["photo 4"], seed=3))
    other = protocol.prepare(evidence(net, images, labels, seed=4))
    torch.manual_seed(99)
    again = protocol.prepare(evidence(net, images, labels, seed=3))
    assert again.moves == together.moves != other.moves
    assert together.moves["crop"].windows[4] == alone.moves["crop"].windows[0]
    assert together.moves["translation"].offsets[4] == alone.moves["translation"].offsets[0]
    assert len(set(together.moves["crop"].windows)) == 6
    ours = protocol.score_method(together, fixed(again.evidence["flip"]), fixed).values[4]
    assert torch.equal(protocol.score_method(alone, fixed(alone.evidence["flip"]), fixed).values[0], ours)


def test_methods_share_what_is_known_of_the_moved_images(net, images, labels, evidence):
    protocol, e = Equivariance(), evidence(net, images, labels)
    prepared = protocol.prepare(e)

    def gradient(make_evidence):
        return make_evidence.gradient().sum(1, keepdim=True)

    first = protocol.score_method(prepared, gradient(e), gradient)
    cost = e.runner.forward_equivalents
    second = protocol.score_method(prepared, gradient(e), gradient)
    assert torch.equal(first.values, second.values) and e.runner.forward_equivalents == cost
    assert first.status == [OK] * 6 and ((first.values > 0) & (first.values < 1)).all()


def test_maps_alone_are_refused(net, images, labels, maps, evidence):
    protocol = Equivariance()
    with pytest.raises(XaibenchError, match="it needs the method, not maps"):
        protocol.score(protocol.prepare(evidence(net, images, labels)), maps)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"crop": 0}, r"crop is a number from 0\.01 to 1, not 0"),
        ({"translation": 0.9}, r"translation is a number from 0\.01 to 0\.5, not 0\.9"),
        ({"target": "guess"}, "target is label or prediction or labels or predictions"),
    ],
)
def test_settings_that_do_not_exist_are_refused(setting, message):
    with pytest.raises(XaibenchError, match=message):
        Equivariance(**setting)


def test_images_too_small_to_be_moved_are_refused():
    Equivariance().check((4, 64))
    with pytest.raises(XaibenchError, match=r"translation 0\.02 of 32 pixels moves nothing"):
        Equivariance(translation=0.02).check((32, 64))
