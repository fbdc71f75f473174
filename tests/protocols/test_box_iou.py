"""IoU of a binarised map with boxes, and the choice of its threshold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from xaibench.datasets.base import Annotation
from xaibench.errors import XaibenchError
from xaibench.protocols.base import OK, UNDEFINED_MAP, UNDEFINED_REFERENCE
from xaibench.protocols.localization.box_iou import CANDIDATES, BoxIoU, best_threshold, box_iou, scaled_positive_part

MAP = torch.tensor([[10.0, 8, 2, -30], [6, 5, 2, 0], [7, 0, 9, 2], [2, 2, 2, 2]])[None, None]


@pytest.fixture
def e(evidence):
    """Class 1 has the upper left quarter and a box in the lower right corner; class 2 has none; images of 4 x 4."""
    boxes = np.array([(0, 0, 2, 2), (3, 3, 4, 4)], dtype=np.int64)
    known = Annotation((1,), boxes, np.array([1, 1]), np.zeros((0, 4, 4), dtype=bool))
    annotations = [known]
    images, targets = torch.zeros(1, 3, 4, 4), torch.tensor([1, 1, 1, 1, 2])
    return evidence(nn.Identity(), images, targets, owner=torch.zeros(5, dtype=torch.long), annotations=annotations)


def test_a_hand_computed_image(e):
    """Scaled by 10: above 0.5 are 10, 8, 6, 7 and 9, not 5. Three of them lie in the five pixels of the boxes."""
    masks = BoxIoU().prepare(e)
    assert masks[0].sum() == 5 and not masks[4].any()
    assert float(box_iou(MAP, masks[:1])) == pytest.approx(3 / 7)
    assert float(box_iou(MAP, masks[:1], 0.45)) == pytest.approx(4 / 7), "5 is above 0.45"
    assert float(box_iou(MAP, masks[:1], 0.0)) == pytest.approx(5 / 13), "the zeros and the negative stay out"


def test_scaling_takes_the_positive_part_and_then_its_range():
    positive = MAP.clamp(min=1.0)
    assert torch.allclose(scaled_positive_part(positive), (positive[:, 0].double() - 1) / 9)
    assert torch.equal(scaled_positive_part(torch.full((1, 1, 4, 4), 0.1)), torch.ones(1, 4, 4, dtype=torch.float64))
    assert scaled_positive_part(-positive).isnan().all()
    masks = torch.rand(1, 4, 4) < 0.5
    for threshold in (0.0, 0.3, 0.5):
        assert torch.equal(box_iou(1e6 * MAP, masks, threshold), box_iou(MAP, masks, threshold))


def test_a_uniform_map_scores_the_area_share(e):
    protocol = BoxIoU()
    scores = protocol.score(protocol.prepare(e), torch.full((5, 1, 4, 4), 3.0))
    assert scores.values[:4].tolist() == [5 / 16] * 4


def test_what_cannot_be_scored_says_whose_fault_it_is(e):
    protocol, maps = BoxIoU(), MAP.repeat(5, 1, 1, 1)
    maps[0], maps[1], maps[2, 0, 0, 3] = 0, -1, -torch.inf
    scores = protocol.score(protocol.prepare(e), maps)
    assert scores.status == [UNDEFINED_MAP] * 3 + [OK, UNDEFINED_REFERENCE]
    assert scores.values.isnan().tolist() == [True] * 3 + [False, True]
    assert box_iou(maps, protocol.prepare(e)).isnan().tolist() == scores.values.isnan().tolist()


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9])
def test_the_oracle_scores_one(threshold, e):
    protocol = BoxIoU(threshold=threshold)
    prepared = protocol.prepare(e)
    assert (
        protocol.has_oracle
        and protocol.score(prepared, protocol.oracle(prepared, (4, 4))).values[:4].tolist() == [1] * 4
    )


@pytest.fixture
def held_out():
    """Maps that are above 0.7 in the mask and below 0.55 outside, with noise, in batches of three and two."""
    draws = torch.Generator().manual_seed(0)
    masks = torch.rand(5, 16, 16, generator=draws) < 0.3
    noise = torch.rand(5, 1, 16, 16, generator=draws)
    maps = torch.where(masks[:, None], 0.7 + 0.3 * noise, 0.55 * noise)
    maps[1], masks[4] = -1.0, False
    return maps, masks


def test_the_best_threshold_has_the_highest_mean(held_out):
    maps, masks = held_out
    means = [float(np.nanmean(box_iou(maps, masks, t).numpy())) for t in CANDIDATES]
    chosen = best_threshold(maps, masks)
    assert chosen == CANDIDATES[int(np.argmax(means))] and 0.5 < chosen <= 0.7 and max(means) == 1
    assert best_threshold(maps, masks, [0.9, 0.2, 0.65, 0.6]) == 0.6, "the lowest of equals"


def test_fitting_gives_a_new_protocol_and_does_not_depend_on_batches(held_out):
    maps, masks = held_out
    protocol = BoxIoU(target="label")
    fitted = protocol.fit([masks[:3], masks[3:]], [maps[:3], maps[3:]])
    assert fitted == BoxIoU(target="label", threshold=best_threshold(maps, masks)) and protocol.threshold == 0.5
    assert fitted.description == f"label, logit, threshold {fitted.threshold:g}"


def test_there_is_nothing_to_choose_on_without_boxes(held_out):
    maps, masks = held_out
    with pytest.raises(XaibenchError, match="no held-out image has a box"):
        best_threshold(maps, torch.zeros_like(masks))
    with pytest.raises(XaibenchError, match="no held-out image"):
        BoxIoU().fit([], [])
    assert best_threshold(-maps.abs(), masks) == 0, "all candidates are equal where no map says anything"


@pytest.mark.parametrize("threshold", [1.0, -0.1, "0.5", None, float("nan")])
def test_thresholds_that_do_not_exist_are_refused(threshold):
    with pytest.raises(XaibenchError, match=r"threshold is a number from 0 to 0\.999"):
        BoxIoU(threshold=threshold)
