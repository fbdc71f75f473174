"""Part deletion on critters: masks, scenes drawn without a part, ranks of few parts, controls."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from xaibench.datasets.critters import Critters
from xaibench.datasets.image_annotations import ImageAnnotations
from xaibench.errors import XaibenchError
from xaibench.models.base import Encoding
from xaibench.protocols.base import OK, UNDEFINED_MAP, UNDEFINED_REFERENCE
from xaibench.protocols.faithfulness.deletion import Deletion
from xaibench.protocols.faithfulness.part_deletion import PartDeletion, Parts, part_deletion_score, part_sums

ENCODE = Encoding((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def encode(images: np.ndarray) -> Tensor:
    return ENCODE(images).double()


@pytest.fixture
def annotations():
    """Makes the scenes of some images of critters, 32 pixels a side."""

    def make(ids, **settings) -> ImageAnnotations:
        data = Critters(size=32, **settings)
        return ImageAnnotations([data.load(data.ids[i]) for i in ids], data, encode)

    return make


@pytest.fixture
def make_evidence(evidence):
    """Makes evidence about scenes: make_evidence(net, scenes, ...)."""

    def make(net, annotations: ImageAnnotations, **settings):
        images = encode(np.stack([sample.image for sample in annotations.samples]))
        ids, labels = [s.image_id for s in annotations.samples], [s.label for s in annotations.samples]
        return evidence(net, images, torch.tensor(labels) % 5, ids, annotations=annotations, **settings)

    return make


def test_hand_computed_sums_and_correlation():
    attribution = torch.tensor([[[[1.0, 2, 0, 0], [3, 4, 0, 9], [0, 0, -1, 0], [5, 0, 0, 0]]]])
    masks = torch.zeros(1, 5, 4, 4, dtype=torch.bool)
    masks[0, 0, :2, 0], masks[0, 1, :2, 1], masks[0, 2, 2, 2], masks[0, 3, 3, 0] = True, True, True, True
    sums = part_sums(attribution, masks)
    assert sums.tolist() == [[4.0, 6.0, -1.0, 5.0, 0.0]] and sums.dtype == torch.float64
    drops = torch.tensor([[0.3, 0.4, 0.1, 0.2, torch.nan]]).double()
    visible = masks.flatten(2).any(2)
    assert visible.tolist() == [[True, True, True, True, False]]
    # ranks 2 4 1 3 and 3 4 1 2: 1 - 6 * (1 + 1) / (4 * 15)
    assert float(part_deletion_score(sums, drops, visible)) == pytest.approx(0.8)
    scores = PartDeletion().score(Parts(masks, drops), attribution)
    assert scores.status == [OK] and float(scores.also["rho-scaled"].values) == pytest.approx(0.9)


def test_drops_and_scores_agree_with_a_plain_loop(net, annotations, make_evidence):
    some = annotations([0, 1, 2, 3, 4], drop_parts=0.4)
    e = make_evidence(net, some, chunk=4)
    protocol, maps = PartDeletion(least_parts=2), torch.randn(5, 1, 32, 32)
    scores = protocol.score(protocol.prepare(e), maps)
    for i, sample in enumerate(some.samples):
        parts = some.dataset.annotate(sample.image_id).parts
        drops, sums = [], []
        for name, mask in parts.items():
            without = encode(some.dataset.draw(sample.image_id, [name])[None])
            drops.append(float((net(e.images[i : i + 1]) - net(without))[0, sample.label % 5]))
            sums.append(float(maps[i, 0][torch.from_numpy(mask)].double().sum()))
        assert float(scores.values[i]) == pytest.approx(spearmanr(sums, drops).statistic, abs=1e-9)
    assert len({len(some[i].parts) for i in range(5)}) > 1, "images differ in what is visible"


@pytest.mark.parametrize("settings", [{}, {"drop_output": "probability"}])
def test_the_map_of_the_drops_scores_one_and_its_opposite_minus_one(settings, net, annotations, make_evidence):
    e = make_evidence(net, annotations([3, 4, 5, 6]))
    protocol = PartDeletion(**settings)
    prepared = protocol.prepare(e)
    oracle = protocol.oracle(prepared, (32, 32))
    assert protocol.has_oracle and oracle.shape == (4, 1, 32, 32)
    assert torch.allclose(protocol.score(prepared, oracle).values, torch.ones(4).double())
    assert torch.allclose(protocol.score(prepared, oracle.float()).values, torch.ones(4).double())
    opposite = protocol.score(prepared, -oracle)
    assert torch.allclose(opposite.values, -torch.ones(4).double())
    assert torch.allclose(opposite.also["rho-scaled"].values, torch.zeros(4).double())


def test_each_scene_is_drawn_and_passed_once(net, annotations, make_evidence):
    some = annotations([0, 1])
    e, drawn, draw = make_evidence(net, some), [], some.dataset.draw
    some.dataset.draw = lambda image_id, without: drawn.append(tuple(without)) or draw(image_id, without)
    PartDeletion().prepare(e), PartDeletion(drop_output="probability").prepare(e)
    PartDeletion().prepare(e.explaining(torch.tensor([0, 1, 2]), torch.tensor([1, 1, 0])))
    parts = sum(len(some[i].parts) for i in range(2))
    assert len(drawn) == parts and e.runner.forwards == 2 + parts


def test_several_targets_and_single_images_score_the_same(net, annotations, make_evidence):
    e = make_evidence(net, annotations([7, 8]))
    maps, protocol = torch.randn(3, 1, 32, 32), PartDeletion()
    targets, owner = torch.tensor([0, 1, 2]), torch.tensor([1, 1, 0])
    found = protocol.score(protocol.prepare(e.explaining(targets, owner)), maps)
    for pair in range(3):
        alone = make_evidence(net, annotations([7 + int(owner[pair])])).explaining(targets[pair : pair + 1])
        assert torch.allclose(protocol.score(protocol.prepare(alone), maps[pair : pair + 1]).values, found.values[pair])


def test_what_cannot_be_ranked(net, annotations, make_evidence):
    some = annotations([0, 1, 2])
    e, protocol = make_evidence(net, some), PartDeletion()
    maps = torch.randn(3, 1, 32, 32)
    maps[0], maps[1, 0, 0, 0] = 0.7, float("nan")
    outside = np.stack(list(some[2].parts.values())).any(0)
    maps[2, 0][torch.from_numpy(outside)] = 0
    assert protocol.score(protocol.prepare(e), maps).status == [UNDEFINED_MAP] * 3
    maps = torch.randn(3, 1, 32, 32)
    assert PartDeletion(least_parts=7).score(protocol.prepare(e), maps).status == [UNDEFINED_REFERENCE] * 3
    prepared = protocol.prepare(e)
    flat = Parts(prepared.masks, torch.where(prepared.drops.isnan(), torch.nan, 0.0))
    assert protocol.score(flat, maps).status == [UNDEFINED_REFERENCE] * 3
    with pytest.raises(XaibenchError, match="needs a data set with parts"):
        protocol.prepare(make_evidence(net, some).with_model(e.runner, None).at(e.images))


@pytest.mark.parametrize("bare", [{0}, {0, 1, 2}])
def test_images_without_any_visible_part(bare, net, annotations, make_evidence):
    some = annotations([0, 1, 2])
    for i in bare:
        some._annotations[i] = replace(some[i], parts={})
    e, protocol = make_evidence(net, some), PartDeletion()
    scores = protocol.score(protocol.prepare(e), torch.randn(3, 1, 32, 32))
    assert scores.status == [UNDEFINED_REFERENCE if i in bare else OK for i in range(3)]
    assert protocol.oracle(protocol.prepare(e), (32, 32)).isfinite().all()


class OneMask(nn.Module):
    """The logit of class 0 says how much the pixels of a mask look as they do in an image; the others are 0."""

    def __init__(self, image: Tensor, mask: Tensor):
        super().__init__()
        self.register_buffer("weights", 30 * image * mask / (image.square() * mask).sum())
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        logit = (x * self.weights).sum((1, 2, 3))
        return torch.stack([logit] + [torch.zeros_like(logit)] * 4, 1)


def test_a_model_that_sees_only_the_beak(annotations, evidence):
    some = annotations(range(20), rule="one:beak")
    number = max(range(20), key=lambda i: some[i].parts.get("beak", np.zeros(1)).sum())
    sample, known = some.samples[number], some[number]
    image = encode(sample.image[None])
    beak, creature = torch.from_numpy(known.parts["beak"]), torch.from_numpy(known.instances[0])
    one = ImageAnnotations([sample], some.dataset, encode)
    e = evidence(OneMask(image[0], beak), image, [0], [sample.image_id], annotations=one)
    protocol = Deletion(steps=32)
    found = [protocol.score(protocol.prepare(e), mask.double()[None, None]).values for mask in (beak, creature)]
    assert found[0] < 0.6 * found[1]
    protocol = PartDeletion()
    drops = protocol.prepare(e).drops[0]
    parts = list(known.parts)
    assert int(drops.argmax()) == parts.index("beak")
    assert all(abs(float(drop)) < 1e-9 for part, drop in zip(parts, drops, strict=True) if part != "beak")
