"""ObEy: wIoU by hand, its limits in the scale of maps, its further metrics, and images without prediction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from xaibench.datasets.base import Annotation
from xaibench.datasets.critters.dataset import Critters
from xaibench.datasets.image_annotations import ImageAnnotations
from xaibench.errors import XaibenchError
from xaibench.protocols.base import OK, UNDEFINED_MAP, UNDEFINED_REFERENCE
from xaibench.protocols.energy_pointing import energy_share
from xaibench.protocols.localization.obey import NORMALISATIONS, ObjectEvidence, intensities, weighted_iou

MAP = torch.tensor([[0.5, 1.0, 0, 0], [2.0, 0.25, 0, 0], [0, 0, 0.25, -3], [0, 0, 0, 0]])[None, None]


def square(y: int, x: int, side: int = 2) -> np.ndarray:
    mask = np.zeros((4, 4), dtype=bool)
    mask[y : y + side, x : x + side] = True
    return mask


def annotated(**objects: list[np.ndarray]) -> Annotation:
    levels = {name: np.array(masks, dtype=bool).reshape(-1, 4, 4) for name, masks in objects.items()}
    return Annotation((0,), np.zeros((0, 4), dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros((0, 4, 4)), levels)


@pytest.fixture
def make_evidence(evidence):
    """make_evidence([annotation, ...], targets, owner): evidence about images of 4 x 4 pixels."""

    def make(annotations, targets, owner=None, net=None, **settings):

        owner = torch.arange(len(annotations)) if owner is None else torch.tensor(owner)
        images = torch.arange(len(annotations) * 48.0).view(-1, 3, 4, 4)
        return evidence(net or nn.Flatten(), images, targets, owner=owner, annotations=annotations, **settings)

    return make


def score(protocol: ObjectEvidence, e, maps) -> tuple[float, float, float]:
    scores = protocol.score(protocol.prepare(e), maps)
    return tuple(float(s.values[0]) for s in (scores, scores.also["iou"], scores.also["intensity"]))


def test_a_hand_computed_image(make_evidence):
    """The upper left square holds 3.75 of 4; max(p, q) sums to 1 + 1 + 2 + 1 in it and to 0.25 outside."""
    e = make_evidence([annotated(things=[square(2, 2), square(0, 0)])], [3])
    assert score(ObjectEvidence(), e, MAP) == pytest.approx((3.75 / 5.25, 4 / 5, 4 / 16), abs=1e-12)
    clamped = score(ObjectEvidence(normalisation="raw-clamped"), e, MAP)
    assert clamped == pytest.approx((2.75 / 4.25, 4 / 5, 3 / 16), abs=1e-12)
    divided = score(ObjectEvidence(normalisation="max-normalised"), e, MAP)
    assert divided == pytest.approx((1.875 / 4.125, 4 / 5, 2 / 16), abs=1e-12)


def test_the_two_maxima_may_be_different_objects(make_evidence):
    """The bright pixel alone has the best wIoU, 2/4; the whole image the best IoU, 5/16."""
    bright = np.zeros((4, 4), dtype=bool)
    bright[1, 0] = True
    e = make_evidence([annotated(things=[bright, square(0, 0, 4), np.zeros((4, 4))])], [3])
    assert score(ObjectEvidence(), e, MAP)[:2] == pytest.approx((max(2 / 4, 4 / 17), max(1 / 5, 5 / 16)), abs=1e-12)


def test_wiou_is_the_sum_of_products_over_the_sum_of_maxima():
    draws = torch.Generator().manual_seed(0)
    masks, p = torch.rand(9, 12, 10, generator=draws) < 0.4, 3 * torch.rand(12, 10, generator=draws).double()
    expected = [(p * q).sum() / torch.maximum(p, q.double()).sum() for q in masks]
    assert torch.allclose(weighted_iou(p, masks), torch.stack(expected), rtol=1e-12)
    assert weighted_iou(p, masks[:0]).shape == (0,)


def test_raw_scores_tend_to_epg_as_maps_grow_and_to_the_mean_in_the_mask_as_they_shrink():
    draws = torch.Generator().manual_seed(1)
    maps, mask = torch.rand(1, 1, 16, 16, generator=draws) + 0.1, torch.rand(1, 16, 16, generator=draws) < 0.3
    p = intensities(maps)[0]
    large, small = weighted_iou(1e6 * p, mask), weighted_iou(1e-6 * p, mask)
    assert float(large) == pytest.approx(float(energy_share(maps, mask)), rel=1e-9)
    assert float(small) == pytest.approx(1e-6 * float(p[mask[0]].mean()), rel=1e-4)
    assert float(weighted_iou(1e-9 * p, mask)) == pytest.approx(1e-9 * float(p[mask[0]].mean()), rel=1e-7)


def test_only_divided_maps_forget_their_scale(make_evidence):
    e = make_evidence([annotated(things=[square(0, 0)])], [3])
    for normalisation in NORMALISATIONS:
        protocol = ObjectEvidence(normalisation=normalisation)
        same = score(protocol, e, 0.1 * MAP) == pytest.approx(score(protocol, e, MAP), rel=1e-6)
        assert same == (normalisation == "max-normalised")


def test_levels_of_objects(make_evidence):
    e = make_evidence([annotated(big=[square(0, 0)], small=[square(2, 2)], none=[])], [3])
    scores = {level: score(ObjectEvidence(level=level), e, MAP)[0] for level in ("all", "big", "small")}
    assert scores["all"] == scores["big"] > scores["small"] > 0
    protocol = ObjectEvidence(level="none")
    assert protocol.score(protocol.prepare(e), MAP).status == [UNDEFINED_REFERENCE]
    with pytest.raises(XaibenchError, match=r"level is all or one of the data set's \(big, small, none\), not 'tiny'"):
        ObjectEvidence(level="tiny").prepare(e)


def test_what_cannot_be_scored_says_whose_fault_it_is(make_evidence):
    """Zeros, negative values, NaN, a good map; an image without objects, and one whose object has no pixel."""
    things, nothing = annotated(things=[square(0, 0)]), annotated(things=[])
    e = make_evidence([things, nothing, annotated(things=[np.zeros((4, 4))])], [3] * 6, [0, 0, 0, 0, 1, 2])
    maps = MAP.repeat(6, 1, 1, 1)
    maps[0], maps[1], maps[2, 0, 3, 3] = 0, -1, torch.nan
    for normalisation in NORMALISATIONS:
        protocol = ObjectEvidence(normalisation=normalisation)
        scores = protocol.score(protocol.prepare(e), maps)
        assert scores.status == [UNDEFINED_MAP] * 3 + [OK] + [UNDEFINED_REFERENCE] * 2
        assert all(further.status == scores.status for further in scores.also.values())
        assert scores.values.isnan().tolist() == [True] * 3 + [False] + [True] * 2


class Brightness(nn.Module):
    """The logit of class 0 is above 0, that of class 1 below, of every image."""

    def forward(self, x):
        return torch.stack([x.mean((1, 2, 3)) + 1, -x.mean((1, 2, 3)) - 1], 1)


def test_an_image_without_prediction_has_no_reference(make_evidence):
    """A class below one half stands in where a model with a sigmoid predicts nothing; a softmax always predicts."""
    things, targets = [annotated(things=[square(0, 0)])] * 3, [0, 1, -1]
    maps = MAP.repeat(3, 1, 1, 1)
    for target, probability, expected in [
        ("predictions", "sigmoid", [OK, UNDEFINED_REFERENCE, UNDEFINED_REFERENCE]),
        ("predictions", "softmax", [OK, OK, UNDEFINED_REFERENCE]),
        ("labels", "sigmoid", [OK, OK, UNDEFINED_REFERENCE]),
    ]:
        protocol = ObjectEvidence(target=target)
        e = make_evidence(things, targets, net=Brightness().eval(), probability=probability)
        assert protocol.score(protocol.prepare(e), maps).status == expected


@pytest.fixture
def creatures(evidence):
    """Evidence about twenty drawn scenes, one pair each."""
    data = Critters("test", 20, 64)
    annotations = ImageAnnotations([data.load(image_id) for image_id in data.ids], data, lambda images: None)
    images, targets = torch.zeros(20, 3, 64, 64), torch.zeros(20, dtype=torch.long)
    return evidence(nn.Flatten(), images, targets, list(data.ids), annotations=annotations)


@pytest.mark.parametrize("level", ["all", "creatures", "parts"])
def test_the_mask_of_any_object_scores_one(level, creatures):
    annotations, protocol = creatures.annotations, ObjectEvidence(level=level, normalisation="max-normalised")
    prepared = protocol.prepare(creatures)
    for last in (0, -1):
        kind = "creatures" if level == "all" else level
        masks = [annotations[image].objects[kind][last] for image in range(20)]
        scores = protocol.score(prepared, 0.03 * torch.from_numpy(np.stack(masks))[:, None])
        assert scores.values == pytest.approx(torch.ones(20).double(), abs=1e-12)
        assert (scores.also["iou"].values == 1).all()
    for normalisation in NORMALISATIONS:
        protocol = ObjectEvidence(level=level, normalisation=normalisation)
        assert protocol.has_oracle and (protocol.score(prepared, protocol.oracle(prepared, (64, 64))).values == 1).all()


def test_scenes_without_distractors_have_no_reference_at_that_level(creatures):
    protocol = ObjectEvidence(level="distractors")
    prepared = protocol.prepare(creatures)
    some = [len(creatures.annotations[image].objects["distractors"]) > 0 for image in range(20)]
    for maps in (torch.ones(20, 1, 64, 64), protocol.oracle(prepared, (64, 64))):
        assert [status == OK for status in protocol.score(prepared, maps).status] == some
    assert 0 < sum(some) < 20


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"normalisation": "min-max"}, "normalisation is raw or raw-clamped or max-normalised, not 'min-max'"),
        ({"target": "guess"}, "target is label or prediction or labels or predictions, not 'guess'"),
    ],
)
def test_settings_that_do_not_exist_are_refused(setting, message):
    with pytest.raises(XaibenchError, match=message):
        ObjectEvidence(**setting)


def test_the_words_of_titles():
    assert ObjectEvidence().description == "predictions against all objects, logit, raw maps"
    protocol = ObjectEvidence(target="label", level="parts", normalisation="max-normalised")
    assert protocol.description == "label against all parts, logit, max-normalised maps"
