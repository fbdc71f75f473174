"""A protocol scores maps of a known network as `xaibench.functional` scores them by hand."""

import numpy as np
import pytest
import torch

from xaibench import registry
from xaibench.functional import energy_share, single_deletion_score
from xaibench.judging.known import make
from xaibench.judging.scoring import Annotated, Scorer, bounds_of, evidence_about, reason_against
from xaibench.protocols.api import make_protocol


@pytest.fixture(scope="module")
def known():
    return make("and")


@pytest.fixture(scope="module")
def image_ids(known):
    return [i for i in known.dataset.ids[:40] if len(known.masks(i)) > 1][:3]


def scorer(name, e):
    card = registry.card("protocol", name)
    return Scorer(card, make_protocol(card, {}), e)


def test_every_feature_is_an_instance_of_the_explained_class(known, image_ids):
    for image_id in image_ids:
        found, masks = Annotated(known).annotate(image_id), known.masks(image_id)
        assert len(found.boxes) == len(found.instances) == len(masks)
        assert set(found.box_labels.tolist()) == {known.target(image_id)} == set(found.labels)
        for (x0, y0, x1, y1), mask in zip(found.boxes.tolist(), masks.values(), strict=True):
            assert mask[y0:y1, x0:x1].sum() == mask.sum()
            assert mask[y0].any() and mask[y1 - 1].any() and mask[:, x0].any() and mask[:, x1 - 1].any()
        assert np.array_equal(found.masks[known.target(image_id)], np.logical_or.reduce(list(masks.values())))


def test_epg_is_the_share_in_the_boxes(known, image_ids):
    maps = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    boxes = torch.zeros(3, 64, 64, dtype=torch.bool)
    for number, image_id in enumerate(image_ids):
        for x0, y0, x1, y1 in Annotated(known).annotate(image_id).boxes.tolist():
            boxes[number, y0:y1, x0:x1] = True
    with evidence_about(known, image_ids, 0) as e:
        found = scorer("epg", e)(maps)
    assert found.quality == pytest.approx(energy_share(maps, boxes).numpy())
    assert found.status == ["ok"] * 3


def test_sds_measures_drops_of_the_class_that_the_network_predicts(known, image_ids):
    maps = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    inputs = known.inputs(image_ids)
    targets = [known.target(i) for i in image_ids]
    drops = torch.zeros(3, 16, dtype=torch.float64)
    with torch.no_grad():
        for cell in range(16):
            changed = inputs.clone()
            row, column = divmod(cell, 4)
            changed[:, :, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = 0
            for number, target in enumerate(targets):
                drops[number, cell] = (known.network(inputs) - known.network(changed))[number, target]
    wanted = single_deletion_score(drops, maps).numpy()
    with evidence_about(known, image_ids, 0) as e:
        found = scorer("sds", e)(maps).quality
    assert np.allclose(found, wanted, equal_nan=True)


def test_lower_is_better_turns_the_sign_and_a_bad_map_costs(known, image_ids):
    maps = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    maps[0] = torch.nan
    with evidence_about(known, image_ids, 0) as e:
        found = scorer("border-energy", e)(maps)
    card = registry.card("protocol", "border-energy")
    assert not card.higher_is_better and bounds_of(card) == (-1, 0)
    assert found.status[0] == "undefined-map" and found.quality[0] == -card.undefined_cost
    assert (found.quality[1:] < 0).all()


def test_reasons_are_found_before_anything_is_computed(known):
    for name, words in (
        ("sds-accuracy", "model alone"),
        ("grid-pg", "other images"),
        ("model-similarity", "model alone"),
    ):
        card = registry.card("protocol", name)
        assert words in reason_against(card, make_protocol(card, {}), known)
    card = registry.card("protocol", "box-iou")
    assert "fitted" in reason_against(card, make_protocol(card, {"threshold": "fit"}), known)
    assert reason_against(card, make_protocol(card, {}), known) is None
