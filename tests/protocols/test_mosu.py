"""MOSU: the divergence of areas and salience against SciPy's, overlapping boxes, and images with one instance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import nn

from xaibench import registry
from xaibench.datasets.base import Annotation
from xaibench.datasets.critters.dataset import Critters
from xaibench.datasets.image_annotations import ImageAnnotations
from xaibench.errors import XaibenchError
from xaibench.protocols.base import OK, UNDEFINED_MAP, UNDEFINED_REFERENCE
from xaibench.protocols.localization.mosu import REVERSE, MultiObjectUniformity, smoothed_kl_divergence

# Boxes of 4, 3 and 2 pixels of class 5, the last two sharing one, and one of class 6.
BOXES = [(0, 0, 2, 2), (2, 0, 4, 4), (2, 2, 3, 4), (0, 3, 1, 4)]
LABELS = [5, 5, 5, 6]
MAP = torch.tensor([[1.0, 2, 3, 0], [0, -4, 1, 0], [9, 9, 2, 1], [7, 9, 0, 5]])[None, None]


@pytest.fixture
def make_evidence(evidence):
    """make_evidence(targets, boxes, labels): evidence about classes of one image of 4 x 4 pixels."""

    def make(targets, boxes=BOXES, labels=LABELS):
        boxes, labels = np.array(boxes, dtype=np.int64).reshape(-1, 4), np.array(labels, dtype=np.int64)
        known = Annotation(tuple(labels), boxes, labels, np.zeros((0, 4, 4), dtype=bool))
        annotations = [known]
        owner = torch.zeros(len(targets), dtype=torch.long)
        return evidence(nn.Identity(), torch.zeros(1, 3, 4, 4), targets, owner=owner, annotations=annotations)

    return make


def smooth(values, epsilon=1e-6) -> np.ndarray:
    return np.array(values) / np.sum(values) + epsilon


def test_a_hand_computed_image(make_evidence):
    """Areas 4, 8 and 2; salience 3, 12 and 2, of which 2 lie in the second box and the third."""
    protocol = MultiObjectUniformity()
    scores = protocol.score(protocol.prepare(make_evidence([5])), MAP)
    area, salience = smooth([4, 8, 2]), smooth([3, 12, 2])
    assert float(scores.values) == pytest.approx(entropy(area, salience), abs=1e-14)
    assert float(scores.also[REVERSE].values) == pytest.approx(entropy(salience, area), abs=1e-14)
    plain = sum(a * math.log(a / s) for a, s in [(4 / 14, 3 / 17), (8 / 14, 12 / 17), (2 / 14, 2 / 17)])
    assert float(scores.values) == pytest.approx(plain, abs=1e-5), "the epsilon hardly counts here"
    assert scores.status == [OK] and scores.values.dtype == torch.float64


@pytest.mark.parametrize("epsilon", [1e-6, 1e-3, 1.0])
def test_the_divergence_is_scipys_and_bounded(epsilon):
    draws = np.random.default_rng(0)
    for size in (2, 5, 40):
        p, q = draws.exponential(size=(2, size))
        p[0], q[1] = 0, 0
        ours = smoothed_kl_divergence(torch.tensor(p), torch.tensor(q), epsilon)
        assert float(ours) == pytest.approx(entropy(smooth(p, epsilon), smooth(q, epsilon)), abs=1e-12)
        assert 0 < float(ours) < math.log(1 + 1 / epsilon)
    worst = smoothed_kl_divergence(torch.tensor([1e9, 1.0]), torch.tensor([0.0, 1.0]), epsilon)
    assert float(worst) == pytest.approx(math.log(1 + 1 / epsilon), rel=0.01 if epsilon < 1 else 0.7)


def test_the_card_counts_an_undefined_map_as_the_worst_that_there_is():
    card = registry.card("protocol", "mosu")
    bound = math.log(1 + 1 / card.parameters["epsilon"])
    assert not card.higher_is_better and card.undefined_cost == card.range[1] >= bound
    assert card.range[1] == pytest.approx(bound, abs=1e-3)


def test_salience_in_proportion_to_area_scores_zero(make_evidence):
    protocol = MultiObjectUniformity()
    scores = protocol.score(protocol.prepare(make_evidence([5])), torch.full((1, 1, 4, 4), 0.3))
    assert float(scores.values) == pytest.approx(0, abs=1e-12) and float(scores.values) >= 0
    assert float(scores.also[REVERSE].values) == pytest.approx(0, abs=1e-12)


def test_what_lies_outside_of_the_boxes_and_below_zero_does_not_count(make_evidence):
    protocol, other = MultiObjectUniformity(), MAP.clone()
    other[0, 0, 2:, :2], other[0, 0, 1, 1] = 0.5, -0.1
    prepared = protocol.prepare(make_evidence([5]))
    expected = protocol.score(prepared, MAP).values
    assert torch.equal(protocol.score(prepared, other).values, expected)
    assert torch.allclose(protocol.score(prepared, 1e-4 * MAP).values, expected, rtol=1e-6)


def test_an_instance_without_salience_costs_much_and_not_infinitely(make_evidence):
    protocol, maps = MultiObjectUniformity(), MAP.clone()
    maps[..., :2, :2] = 0
    scores = protocol.score(protocol.prepare(make_evidence([5])), maps)
    assert float(scores.values) == pytest.approx(entropy(smooth([4, 8, 2]), smooth([0, 12, 2])), abs=1e-12)
    assert float(scores.values) > 3 and scores.status == [OK]


def test_what_cannot_be_scored_says_whose_fault_it_is(make_evidence):
    """Zeros, salience only outside of the boxes, NaN outside of them, a good map; one instance, no instance."""
    protocol = MultiObjectUniformity()
    maps = MAP.repeat(6, 1, 1, 1)
    maps[0], maps[1, 0, :2], maps[1, 0, :, 2:], maps[2, 0, 3, 0] = 0, 0, 0, torch.nan
    scores = protocol.score(protocol.prepare(make_evidence([5, 5, 5, 5, 6, 1])), maps)
    assert scores.status == [UNDEFINED_MAP] * 3 + [OK] + [UNDEFINED_REFERENCE] * 2
    assert scores.also[REVERSE].status == scores.status
    assert scores.values.isnan().tolist() == [True] * 3 + [False] + [True] * 2


def test_a_box_without_a_pixel_is_no_instance(make_evidence):
    protocol = MultiObjectUniformity()
    prepared = protocol.prepare(make_evidence([5], [(0, 0, 2, 2), (2, 2, 2, 4), (4, 0, 6, 2)], [5, 5, 5]))
    assert len(prepared[0]) == 1 and protocol.score(prepared, MAP).status == [UNDEFINED_REFERENCE]


def test_a_prediction_is_compared_with_all_objects(make_evidence):
    protocol = MultiObjectUniformity(target="prediction")
    scores = protocol.score(protocol.prepare(make_evidence([1])), MAP)
    assert float(scores.values) == pytest.approx(entropy(smooth([4, 8, 2, 1]), smooth([3, 12, 2, 7])), abs=1e-12)
    assert protocol.description == "prediction against all objects, logit, epsilon 1e-06"


def test_drawn_scenes_with_two_creatures_of_a_class(evidence):
    data = Critters("test", 20, 64)
    annotations = ImageAnnotations([data.load(image_id) for image_id in data.ids], data, lambda images: None)
    targets = torch.tensor([data.label(image_id) for image_id in data.ids])
    e = evidence(nn.Identity(), torch.zeros(20, 3, 64, 64), targets, list(data.ids), annotations=annotations)
    annotations = [data.annotate(image_id) for image_id in data.ids]
    several = [int((a.box_labels == label).sum()) > 1 for a, label in zip(annotations, targets.tolist(), strict=True)]
    protocol, draws = MultiObjectUniformity(), torch.Generator().manual_seed(0)
    prepared = protocol.prepare(e)
    random = protocol.score(prepared, torch.randn(20, 1, 64, 64, generator=draws))
    assert [status == OK for status in random.status] == several and 0 < sum(several) < 20
    first = protocol.score(prepared, torch.from_numpy(np.stack([a.instances[0] for a in annotations]))[:, None].float())
    both = torch.tensor(several)
    assert (random.values[both] < 0.05).all() and (first.values[both] > 0.1).all()


@pytest.mark.parametrize("epsilon", [0, 1e-9, -1, "1e-6"])
def test_epsilons_that_leave_the_range_of_the_card_are_refused(epsilon):
    with pytest.raises(XaibenchError, match="epsilon is a number from 1e-06 to 1"):
        MultiObjectUniformity(epsilon=epsilon)
