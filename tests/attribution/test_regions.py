"""Windows and feature masks in shares of the image, and methods whose regions are the protocol's own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from xaibench import registry
from xaibench.attribution.adapters.regions import (
    cell_labels,
    method_regions,
    same_partition,
    window_labels,
    window_size,
)
from xaibench.errors import XaibenchError
from xaibench.evaluation.plan import MethodRun, Plan, ProtocolRun
from xaibench.protocols.faithfulness.sds import SingleDeletion


@pytest.mark.parametrize(("size", "cells"), [((64, 64), 7), ((10, 17), 4), ((5, 5), 5), ((6, 9), 1)])
def test_cells_end_at_the_floor_of_their_share(size, cells):
    labels = cell_labels(size, cells)
    assert labels.shape == size and labels.dtype == torch.int64
    for row in range(cells):
        for column in range(cells):
            top, bottom = (i * size[0] // cells for i in (row, row + 1))
            left, right = (i * size[1] // cells for i in (column, column + 1))
            assert (labels[top:bottom, left:right] == row * cells + column).all()
    assert len(labels.unique()) == cells**2


def test_windows_are_shares_of_each_side():
    assert window_size(0.1875, (64, 64)) == (12, 12) and window_size(0.0625, (224, 448)) == (14, 28)
    assert window_size(0.01, (10, 10)) == (1, 1)
    labels = window_labels(0.25, 0.25, (8, 12))
    assert labels[0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert labels[:, 0].tolist() == [0, 0, 4, 4, 8, 8, 12, 12]
    assert window_labels(0.25, 0.125, (8, 8)) is None
    assert window_labels(0.3, 0.3, (10, 10))[9].tolist() == [12, 12, 12, 13, 13, 13, 14, 14, 14, 15]


@pytest.mark.parametrize("cells", [0, 9, 2.0, "7"])
def test_cells_without_pixels_are_refused(cells):
    with pytest.raises(XaibenchError, match="the number per side of an image of 8x8 pixels"):
        cell_labels((8, 8), cells)


@pytest.mark.parametrize("share", [0, -0.1, 1.5, 12])
def test_windows_are_no_pixels(share):
    with pytest.raises(XaibenchError, match="shares of the image's side"):
        window_size(share, (64, 64))


def test_partitions_are_compared_whatever_their_numbers():
    one = torch.tensor([[0, 0, 1], [2, 2, 1]])
    assert same_partition(one, torch.tensor([[5, 5, 0], [3, 3, 0]]))
    assert not same_partition(one, torch.tensor([[0, 0, 1], [0, 0, 1]])), "coarser"
    assert not same_partition(one, torch.tensor([[0, 3, 1], [2, 2, 1]])), "finer"
    assert not same_partition(one, torch.tensor([[0, 0], [1, 1]]))


def test_the_protocol_tells_its_cells():
    assert SingleDeletion(grid=2).regions((4, 4)).tolist() == [[0, 0, 1, 1]] * 2 + [[2, 2, 3, 3]] * 2


@pytest.mark.parametrize("side", [64, 224])
@pytest.mark.parametrize("grid", [2, 4, 8])
def test_no_shipped_card_perturbs_a_protocols_own_cells(grid, side):
    asked = SingleDeletion(grid=grid).regions((side, side))
    for card in (registry.card("method", name) for name in registry.names("method")):
        if card.target:
            own = method_regions(card, card.parameters, (side, side))
            assert own is None or not same_partition(own, asked), card.name


@pytest.mark.parametrize(
    ("name", "parameters", "kind"),
    [
        ("occlusion", {}, "method"),
        ("occlusion", {"window": 0.25, "stride": 0.25}, "oracle"),
        ("occlusion", {"window": 0.25, "stride": 0.125}, "method"),
        ("occlusion", {"window": 0.5, "stride": 0.5}, "method"),
        ("feature-ablation", {"cells": 4}, "oracle"),
        ("feature-ablation", {"cells": 8}, "method"),
        ("kernel-shap", {"cells": 4}, "oracle"),
        ("rise", {"cells": 4}, "method"),
        ("ixg", {}, "method"),
        ("saliency-l1", {}, "variant"),
    ],
)
def test_what_perturbs_the_protocols_cells_is_listed_as_its_oracle(name, parameters, kind):
    card = registry.card("method", name)
    plan = Plan(
        dataset=None,
        model=SimpleNamespace(stages={}),
        protocols=(ProtocolRun(registry.card("protocol", "sds"), SingleDeletion(grid=4), {}),),
        methods=(MethodRun(card, card.parameters | parameters),),
        images=(),
        skipped={},
        training=None,
        side=32,
        comparable=True,
    )
    (job,) = plan.jobs
    assert job.cell.kind == kind
