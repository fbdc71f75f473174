"""The pointing game: hits, tolerance and ties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from xaibench.datasets.base import Annotation
from xaibench.errors import XaibenchError
from xaibench.protocols.base import OK, UNDEFINED_MAP, UNDEFINED_REFERENCE
from xaibench.protocols.localization.pointing_game import PointingGame, pointing_hit
from xaibench.protocols.masks import box_masks


@pytest.fixture
def make_evidence(evidence):
    """make_evidence(boxes, targets, size): evidence about classes of one image, where all boxes are of class 1."""

    def make(boxes, targets, size=(4, 4)):
        known = Annotation(
            (1,), np.array(boxes, dtype=np.int64), np.ones(len(boxes), dtype=np.int64), np.zeros((0, *size), dtype=bool)
        )
        annotations = [known]
        owner = torch.zeros(len(targets), dtype=torch.long)
        return evidence(nn.Identity(), torch.zeros(1, 3, *size), targets, owner=owner, annotations=annotations)

    return make


def one_pixel(row: int, column: int, size=(4, 4)) -> torch.Tensor:
    maps = torch.zeros(1, 1, *size)
    maps[0, 0, row, column] = 0.4
    return maps


def test_a_hit_is_the_maximum_in_a_box_of_the_class(make_evidence):
    protocol = PointingGame(tolerance=0.0)
    maps = torch.cat([one_pixel(1, 1), one_pixel(1, 2), one_pixel(3, 3), one_pixel(0, 0) - 7])
    prepared = protocol.prepare(make_evidence([(0, 0, 2, 2), (3, 3, 4, 4)], [1, 1, 1, 1]))
    assert protocol.score(prepared, maps).values[:3].tolist() == [1, 0, 1]
    assert protocol.score(prepared, maps).status == [OK, OK, OK, UNDEFINED_MAP]


def test_of_tied_maxima_the_share_that_hits_counts(make_evidence):
    """Of the four fives three lie in the box; the uniform map scores the box's share of the area."""
    maps = torch.tensor([[5.0, 5, 5, 1], [5, 0, 0, 0], [0, 0, 0, 0], [-9, 0, 0, 0]])[None, None]
    protocol = PointingGame(tolerance=0.0)
    prepared = protocol.prepare(make_evidence([(0, 0, 2, 2)], [1, 1]))
    assert protocol.score(prepared, torch.cat([maps, torch.full_like(maps, 0.1)])).values.tolist() == [3 / 4, 4 / 16]


@pytest.mark.parametrize("size", [(224, 224), (112, 224), (224, 100), (112, 112), (64, 64)])
def test_the_tolerance_is_fifteen_pixels_at_224_and_grows_with_the_longer_side(size, make_evidence):
    """A box that ends at pixel 10, and another far away: a maximum straight above and one askew."""
    reach = 15 * max(size) / 224
    protocol = PointingGame()
    near = protocol.prepare(make_evidence([(0, 0, 11, 11)], [1], size)).near
    y, x = np.mgrid[: size[0], : size[1]]
    distance = np.hypot(np.maximum(y - 10, 0), np.maximum(x - 10, 0))
    expected = torch.from_numpy(distance <= reach * (1 + 1e-3))
    assert torch.equal(near[0], expected)
    if size == (224, 224):
        hits = [pointing_hit(one_pixel(row, column, size), near) for row, column in [(25, 0), (26, 0), (19, 22)]]
        assert [float(hit) for hit in hits] == [1, 0, 1], "9 down and 12 to the right are 15"
        assert float(pointing_hit(one_pixel(21, 21, size), near)) == 0, "11 and 11 are more than 15"


def test_a_grown_box_is_the_disc_around_each_of_its_pixels():
    boxes, size = torch.tensor([[3, 4, 6, 5], [0, 8, 2, 9]]), (12, 14)
    grown = box_masks(boxes, size, margin=2.5)
    for box, ours in zip(box_masks(boxes, size), grown, strict=True):
        pixels = box.nonzero().double()
        every = torch.ones(size).nonzero().double()
        assert torch.equal(ours.flatten(), torch.cdist(every, pixels).amin(1) <= 2.5)


def test_what_cannot_be_scored_says_whose_fault_it_is(make_evidence):
    maps = torch.cat([one_pixel(0, 0)] * 6)
    maps[0], maps[1], maps[2, 0, 3, 3], maps[3, 0, 3, 3] = 0, -1, torch.inf, torch.nan
    protocol = PointingGame()
    scores = protocol.score(protocol.prepare(make_evidence([(0, 0, 2, 2)], [1, 1, 1, 1, 1, 4])), maps)
    assert scores.status == [UNDEFINED_MAP] * 4 + [OK, UNDEFINED_REFERENCE]
    empty = protocol.prepare(make_evidence([(2, 2, 2, 3)], [1] * 6))
    assert protocol.score(empty, maps).status == [UNDEFINED_REFERENCE] * 6, "tolerance does not revive an empty box"


def test_the_oracle_scores_one_and_a_prediction_points_at_any_object(make_evidence):
    protocol = PointingGame(target="prediction", tolerance=0.0)
    prepared = protocol.prepare(make_evidence([(0, 0, 2, 2), (3, 3, 4, 4)], [1, 9]))
    assert protocol.has_oracle and protocol.score(prepared, protocol.oracle(prepared, (4, 4))).values.tolist() == [1, 1]
    assert protocol.description == "prediction against all objects, logit, tolerance 0 of the longer side"


@pytest.mark.parametrize("tolerance", [-0.1, 15, "15"])
def test_tolerances_that_are_no_share_are_refused(tolerance):
    with pytest.raises(XaibenchError, match="tolerance is a number from 0 to 1"):
        PointingGame(tolerance=tolerance)
