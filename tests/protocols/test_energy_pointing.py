"""EPG, SegEPG, X-SegEPG and SCH: worked by hand, on drawn creatures, and what cannot be scored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from torch import nn

from xaibench import registry
from xaibench.datasets.base import Annotation
from xaibench.datasets.critters.dataset import Critters
from xaibench.datasets.image_annotations import ImageAnnotations
from xaibench.errors import XaibenchError
from xaibench.protocols.api import make_protocol
from xaibench.protocols.base import OK, UNDEFINED_MAP, UNDEFINED_REFERENCE
from xaibench.protocols.energy_pointing import energy_share
from xaibench.protocols.localization.border_energy import BorderEnergy, border_mask
from xaibench.protocols.localization.epg import BoxEnergy
from xaibench.protocols.localization.seg_epg import ObjectEnergyInBoxes
from xaibench.protocols.localization.x_seg_epg import ObjectEnergy
from xaibench.protocols.masks import box_masks

BORDER = BorderEnergy(border=0.3)  # one pixel of four
GAMES = [BoxEnergy, ObjectEnergyInBoxes, ObjectEnergy]
MAP = torch.tensor([[1.0, 2, -9, 4], [0, 3, 5, -1], [2, 0, 1, 1], [-2, 6, 0, 0]])[None, None]


def instances(*pixels: list[tuple[int, int]]) -> np.ndarray:
    masks = np.zeros((len(pixels), 4, 4), dtype=bool)
    for number, places in enumerate(pixels):
        for row, column in places:
            masks[number, row, column] = True
    return masks


def annotated(labels, boxes, masks=None) -> Annotation:
    shape, boxes = (0, 4, 4), np.array(boxes, dtype=np.int64).reshape(-1, 4)
    masks = np.zeros(shape, dtype=bool) if masks is None else masks
    return Annotation(tuple(dict.fromkeys(labels)), boxes, np.array(labels, dtype=np.int64), masks)


@pytest.fixture
def make_evidence(evidence):
    """make_evidence([(annotation, targets), ...]): evidence about these targets of images of 4 x 4 pixels."""

    def make(*images):
        annotations = [annotation for annotation, _ in images]
        pairs = [(image, target) for image, (_, targets) in enumerate(images) for target in targets]
        owner, targets = (torch.tensor(part, dtype=torch.long) for part in zip(*pairs, strict=True))
        return evidence(nn.Identity(), torch.zeros(len(images), 3, 4, 4), targets, owner=owner, annotations=annotations)

    return make


TWO_BOXES = annotated(
    [7, 2, 7],
    [(0, 0, 2, 2), (2, 2, 4, 4), (1, 1, 3, 2)],
    instances([(0, 1), (1, 1)], [(2, 2)], [(1, 2), (3, 1)]),
)


def test_the_three_games_on_one_hand_computed_image(make_evidence):
    """Class 7 has boxes over columns 0-1 of rows 0-1 and columns 1-2 of row 1: 1 + 2 + 0 + 3 + 5 = 11 of 25.

    Its mask holds 2, 3 and 5 in the boxes and 6 outside of them: 10 of the 11, and 16 of the 25.
    """
    e = make_evidence((TWO_BOXES, [7]))
    scores = [game().score(game().prepare(e), MAP) for game in GAMES]
    assert [float(s.values) for s in scores] == pytest.approx([11 / 25, 10 / 11, 16 / 25], abs=1e-15)
    assert [s.status for s in scores] == [[OK]] * 3 and scores[0].values.dtype == torch.float64
    also = scores[0].also
    assert float(also["box-pixels"].values) == 5
    assert float(also["epg-alpha"].values) == pytest.approx(11 / 25 / 5**0.5, abs=1e-15)
    linear = BoxEnergy(alpha=1.0)
    assert float(linear.score(linear.prepare(e), MAP).also["epg-alpha"].values) == pytest.approx(11 / 125)


def test_each_class_has_its_own_region_and_a_prediction_that_of_all(make_evidence):
    """Class 2 has the lower right quarter, 2 of 25; all boxes together 13 of 25; all masks 17 of 25."""
    e = make_evidence((TWO_BOXES, [7, 2]))
    maps = MAP.repeat(2, 1, 1, 1)
    assert BoxEnergy().score(BoxEnergy().prepare(e), maps).values.tolist() == pytest.approx([11 / 25, 2 / 25])
    protocol = BoxEnergy(target="prediction")
    e = make_evidence((TWO_BOXES, [9, 2]))
    assert protocol.score(protocol.prepare(e), maps).values.tolist() == pytest.approx([13 / 25, 13 / 25])
    protocol = ObjectEnergy(target="prediction")
    assert protocol.score(protocol.prepare(e), maps).values.tolist() == pytest.approx([17 / 25, 17 / 25])
    assert protocol.description == "prediction against all objects, logit"


def test_boxes_end_before_x1_and_y1_and_are_cut_at_the_border():
    masks = box_masks(torch.tensor([[1, 0, 3, 1], [-5, 2, 1, 99], [2, 2, 2, 4], [7, 0, 9, 4]]), (4, 5))
    expected = torch.zeros(4, 4, 5, dtype=torch.bool)
    expected[0, 0, 1:3], expected[1, 2:, 0] = True, True
    assert torch.equal(masks, expected)
    assert not box_masks(torch.tensor([[2, 2, 2, 4], [7, 0, 9, 4]]), (4, 5), margin=3).any()
    assert box_masks(torch.zeros(0, 4, dtype=torch.long), (4, 5)).shape == (0, 4, 5)


@pytest.mark.parametrize("game", GAMES)
def test_what_cannot_be_scored_says_whose_fault_it_is(game, make_evidence):
    """No positive value, NaN, minus infinity, a good map; then a class without box, and without box and mask."""
    other = annotated([3, 4], [(1, 1, 1, 3), (0, 0, 4, 4)], instances([], [(0, 0)]))
    e = make_evidence((TWO_BOXES, [7, 7, 7, 7, 5]), (other, [3]))
    maps = MAP.repeat(6, 1, 1, 1)
    maps[0] = -maps[0].abs()
    maps[1, 0, 3, 3], maps[2, 0, 3, 3] = torch.nan, -torch.inf
    maps[5] = 0
    scores = game().score(game().prepare(e), maps)
    assert scores.status == [UNDEFINED_MAP] * 3 + [OK] + [UNDEFINED_REFERENCE] * 2
    assert scores.values.isfinite().tolist() == [s == OK for s in scores.status]
    for name, further in scores.also.items():
        undefined = [OK] * 4 if name == "box-pixels" else scores.status[:4]
        assert further.status == undefined + [UNDEFINED_REFERENCE] * 2


def test_a_map_without_attribution_in_the_boxes_has_no_segepg_but_an_epg_of_zero(make_evidence):
    e, maps = make_evidence((TWO_BOXES, [2])), MAP.clone()
    maps[..., 2:, 2:] = 0
    assert ObjectEnergyInBoxes().score(ObjectEnergyInBoxes().prepare(e), maps).status == [UNDEFINED_MAP]
    scores = BoxEnergy().score(BoxEnergy().prepare(e), maps)
    assert scores.status == [OK] and float(scores.values) == 0


def test_images_without_masks_have_no_reference(make_evidence):
    e = make_evidence((annotated([7], [(0, 0, 2, 2)]), [7]))
    assert ObjectEnergy().score(ObjectEnergy().prepare(e), MAP).status == [UNDEFINED_REFERENCE]
    assert BoxEnergy().score(BoxEnergy().prepare(e), MAP).status == [OK]


def test_masks_of_another_size_are_refused(make_evidence):
    e = make_evidence((annotated([7], [(0, 0, 2, 2)], np.zeros((1, 8, 8), dtype=bool)), [7]))
    with pytest.raises(XaibenchError, match=r"masks of instances are \(1, 8, 8\), not .* \(1, 4, 4\)"):
        ObjectEnergy().prepare(e)


def test_evidence_without_annotations_says_what_is_missing(evidence):
    e = evidence(nn.Identity(), torch.zeros(1, 3, 4, 4), [0])
    with pytest.raises(XaibenchError, match="needs annotated images"):
        BoxEnergy().prepare(e)


@pytest.mark.parametrize("scale", [1e-12, 0.3, 1e9])
def test_the_scale_of_a_map_and_its_negative_values_change_nothing(scale):
    maps = torch.randn(5, 1, 16, 16, dtype=torch.float64)
    part, whole = torch.rand(5, 16, 16) < 0.3, torch.rand(5, 16, 16) < 0.8
    expected = energy_share(maps, part & whole, whole)
    assert torch.allclose(energy_share(scale * maps, part & whole, whole), expected, rtol=1e-12)
    deeper = torch.where(maps < 0, 7 * maps, maps)
    assert torch.equal(energy_share(deeper, part & whole, whole), expected)


@pytest.fixture(scope="module")
def critters():
    return Critters("test", 20, 64)


@pytest.fixture
def creatures(evidence, critters):
    """Evidence about every labelled class of twenty drawn scenes."""
    samples = [critters.load(image_id) for image_id in critters.ids]
    pairs = [(i, label) for i, image_id in enumerate(critters.ids) for label in critters.annotate(image_id).labels]
    owner, targets = (torch.tensor(part) for part in zip(*pairs, strict=True))
    annotations = ImageAnnotations(samples, critters, lambda images: torch.from_numpy(images).permute(0, 3, 1, 2))
    images = torch.zeros(len(samples), 3, 64, 64)
    return evidence(nn.Identity(), images, targets, list(critters.ids), owner=owner, annotations=annotations)


def by_hand(critters, e) -> torch.Tensor:
    """The visible pixels of each pair's class."""
    masks = []
    for image, target in zip(e.owner.tolist(), e.targets.tolist(), strict=True):
        annotation = critters.annotate(critters.ids[image])
        masks.append(annotation.instances[annotation.box_labels == target].any(0))
    return torch.from_numpy(np.stack(masks))


@pytest.mark.parametrize("name", ["epg", "seg-epg", "x-seg-epg", "sch"])
def test_the_mask_of_the_creatures_scores_one_and_so_does_the_oracle(name, critters, creatures):
    protocol = make_protocol(registry.card("protocol", name), {})
    prepared, masks = protocol.prepare(creatures), by_hand(critters, creatures)
    scores = protocol.score(prepared, masks[:, None].float() * 0.02 - 0.01)
    assert scores.status == [OK] * len(masks) and (scores.values == 1).all()
    assert protocol.has_oracle and (protocol.score(prepared, protocol.oracle(prepared, (64, 64))).values == 1).all()


def test_a_uniform_map_scores_the_area_share_and_a_random_one_does_on_average(critters, creatures):
    masks, games = by_hand(critters, creatures), [game() for game in GAMES]
    boxes = games[0].prepare(creatures).part
    shares = [m.double().mean((1, 2)) for m in (boxes, masks, masks)]
    shares[1] = masks.sum((1, 2)) / boxes.sum((1, 2)).double()
    uniform = torch.full((len(masks), 1, 64, 64), 0.1)
    for protocol, share in zip(games, shares, strict=True):
        prepared = protocol.prepare(creatures)
        assert torch.allclose(protocol.score(prepared, uniform).values, share, rtol=1e-12)
        noise = torch.randn(40, *uniform.shape, generator=torch.Generator().manual_seed(0))
        mean = torch.stack([protocol.score(prepared, maps).values for maps in noise]).mean(0)
        assert float((mean - share).abs().max()) < 0.015


def test_sch_is_x_seg_epg_under_another_name():
    sch, x_seg_epg = registry.card("protocol", "sch"), registry.card("protocol", "x-seg-epg")
    assert sch.target == x_seg_epg.target and sch.parameters == x_seg_epg.parameters | {"target": "label"}
    assert sch.range == x_seg_epg.range and sch.undefined_cost == x_seg_epg.undefined_cost == 0


def test_dividing_by_the_boxes_takes_their_size_out_of_uniform_maps(creatures):
    protocol = BoxEnergy(alpha=1.0)
    scores = protocol.score(protocol.prepare(creatures), torch.ones(len(creatures.targets), 1, 64, 64))
    pixels = scores.also["box-pixels"].values
    assert pearsonr(scores.values, pixels).statistic == pytest.approx(1)
    assert torch.allclose(scores.also["epg-alpha"].values, torch.full_like(pixels, 1 / 64**2), rtol=1e-12)


@pytest.mark.parametrize(
    ("game", "setting", "message"),
    [
        (ObjectEnergy, {"target": "predictions"}, "target is labels or label or prediction, not 'predictions'"),
        (BoxEnergy, {"attribution_output": "loss"}, "attribution_output is logit or probability"),
        (BoxEnergy, {"alpha": 2}, "alpha is a number from 0 to 1, not 2"),
        (BoxEnergy, {"alpha": "0.5"}, "alpha is a number from 0 to 1, not '0.5'"),
    ],
)
def test_settings_that_do_not_exist_are_refused(game, setting, message):
    with pytest.raises(XaibenchError, match=message):
        game(**setting)


def test_the_words_of_titles():
    assert BoxEnergy().description == "labels, logit, alpha 0.5"
    assert ObjectEnergyInBoxes(target="label", attribution_output="probability").description == "label, probability"


def test_border_energy_is_the_share_outside_of_the_middle(make_evidence):
    e = make_evidence((TWO_BOXES, [7]))
    positive = [[1, 2, 0, 4], [0, 3, 5, 0], [2, 0, 1, 1], [0, 6, 0, 0]]
    middle = sum(positive[row][column] for row in (1, 2) for column in (1, 2))
    total = sum(map(sum, positive))
    scores = BORDER.score(BORDER.prepare(e), MAP)
    assert scores.values.tolist() == [pytest.approx(1 - middle / total)] and scores.status == ["ok"]
    assert BORDER.score(BORDER.prepare(e), -MAP.abs()).status == [UNDEFINED_MAP]


@pytest.mark.parametrize(("size", "border", "inner"), [((64, 64), 0.1, 52 * 52), ((10, 20), 0.1, 8 * 16),
                                                       ((4, 4), 0.01, 4), ((3, 3), 0.4, 1)])  # fmt: skip
def test_a_uniform_map_scores_the_share_of_the_border(size, border, inner):
    mask = border_mask(size, border)
    assert int((~mask).sum()) == inner and mask.shape == size
    assert torch.equal(mask, mask.flip(0)) and torch.equal(mask, mask.flip(1))
    share = energy_share(torch.ones(1, 1, *size), mask[None])
    assert share.item() == pytest.approx(1 - inner / (size[0] * size[1]))


def test_a_border_that_is_no_border_is_refused():
    for border in (0, 0.5, -0.1, float("nan")):
        with pytest.raises(XaibenchError, match="share of the side"):
            BorderEnergy(border=border)
