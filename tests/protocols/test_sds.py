"""SDS against a plain loop: delete a cell, measure, correlate with SciPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from scipy.stats import spearmanr
from torch import Tensor, nn

from xaibench.cards import Alignment
from xaibench.errors import XaibenchError
from xaibench.protocols.base import OK, UNDEFINED_MAP, UNDEFINED_REFERENCE
from xaibench.protocols.faithfulness.sds import SingleDeletion, single_deletion_score
from xaibench.protocols.single_deletion import deletion_drops
from xaibench.seeds import generator

SEED = 3
ZERO = torch.tensor([0.4, -0.3, 0.2])
NAN = float("nan")


def stand_in(name: str, image: Tensor, image_id: str, cell: int) -> Tensor:
    """What replaces a cell of an image (C, H, W)."""
    if name == "zero":
        return ZERO.double()[:, None, None].expand_as(image)
    if name == "random":
        draw = torch.rand(image.shape, generator=generator(SEED, "deleted cell", image_id, cell))
        return 2 * draw.double() - 1
    scale = max(image.shape[1:]) / 224
    radius = round(25 * scale)
    line = np.exp(-((np.arange(-radius, radius + 1) / (2 * 41 * scale)) ** 2))
    kernel = np.outer(line, line) / np.outer(line, line).sum()
    return torch.from_numpy(np.stack([convolve2d(channel, kernel, mode="same") for channel in image.numpy()]))


def squashed(logits: Tensor, output: str, probability: str) -> Tensor:
    if output == "logit":
        return logits
    return logits.softmax(0) if probability == "softmax" else 1 / (1 + torch.exp(-logits))


def loop_drops(net, image, target, image_id, grid, baseline, output, probability="softmax") -> list[float]:
    height, width = image.shape[1] // grid, image.shape[2] // grid
    intact = squashed(net(image[None])[0], output, probability)[target]
    drops = []
    for row in range(grid):
        for column in range(grid):
            rows = slice(row * height, (row + 1) * height)
            columns = slice(column * width, (column + 1) * width)
            deleted = image.clone()
            other = stand_in(baseline, image, image_id, row * grid + column)
            deleted[:, rows, columns] = other[:, rows, columns]
            drops.append(float(intact - squashed(net(deleted[None])[0], output, probability)[target]))
    return drops


def loop_sums(attribution: np.ndarray, grid: int) -> list[float]:
    height, width = attribution.shape[0] // grid, attribution.shape[1] // grid
    return [
        float(attribution[r * height : (r + 1) * height, c * width : (c + 1) * width].sum())
        for r in range(grid)
        for c in range(grid)
    ]


@pytest.mark.parametrize("grid", [2, 4, 8])
@pytest.mark.parametrize("baseline", ["zero", "random", "blur"])
@pytest.mark.parametrize("output", ["logit", "probability"])
def test_drops_and_scores_agree_with_a_plain_loop(grid, baseline, output, net, images, labels, maps, evidence):
    e = evidence(net, images, labels, seed=SEED, zero=ZERO, chunk=10)
    protocol = SingleDeletion(grid=grid, baseline=baseline, drop_output=output)
    drops = protocol.prepare(e)
    pairs = zip(images, labels.tolist(), e.image_ids, strict=True)
    expected = np.array([loop_drops(net, *pair, grid, baseline, output) for pair in pairs])
    np.testing.assert_allclose(drops.numpy(), expected, atol=1e-6 * np.abs(expected).max())
    scores = protocol.score(drops, maps)
    reference = [
        spearmanr(loop_sums(m, grid), d).statistic for m, d in zip(maps[:, 0].numpy(), drops.numpy(), strict=True)
    ]
    np.testing.assert_allclose(scores.values.numpy(), reference, atol=1e-6)
    assert scores.status == [OK] * 6 and scores.values.dtype == torch.float64
    np.testing.assert_array_equal(single_deletion_score(drops, maps).numpy(), scores.values.numpy())


@pytest.mark.parametrize("probability", ["softmax", "sigmoid"])
def test_the_explained_output_does_not_decide_the_measured_one(probability, net, images, labels, evidence):
    for explained in ("logit", "probability"):
        e = evidence(net, images, labels, output=explained, probability=probability, zero=ZERO)
        for measured in ("logit", "probability"):
            drops = SingleDeletion(attribution_output=explained, drop_output=measured).prepare(e)
            expected = loop_drops(net, images[1], int(labels[1]), "photo 1", 4, "zero", measured, probability)
            np.testing.assert_allclose(drops[1].numpy(), expected, rtol=1e-6, atol=1e-12)


class BrightCells(nn.Module):
    """The logit of class 0 is a weighted sum of the four quadrants' brightness; class 1 does not look."""

    def __init__(self, weights):
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float64))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        quadrants = nn.functional.avg_pool2d(x.mean(1, keepdim=True), 2)[:, 0].flatten(1)
        logit = quadrants @ self.weights
        return torch.stack([logit, torch.full_like(logit, 3.0)], 1)


def test_a_hand_computed_image_of_four_by_four_pixels(evidence):
    """Quadrants of brightness 1, 2, 3, 4 with weights 1, 2, -1, 0.5: drops 1, 4, -3, 2, ranks 2, 4, 1, 3.

    The map's quadrants sum to 4, 9, 5, 5, ranks 1, 4, 2.5, 2.5: the correlation is 3 / sqrt(5 * 4.5).
    """
    quadrants = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    image = quadrants.repeat_interleave(2, 0).repeat_interleave(2, 1).expand(1, 3, 4, 4)
    attribution = torch.tensor([[1.0, 1, 0, 9], [1, 1, 0, 0], [5, 0, 2, 1], [0, 0, 1, 1]])[None, None]
    net, protocol = BrightCells([1.0, 2.0, -1.0, 0.5]), SingleDeletion(grid=2)
    drops = protocol.prepare(evidence(net, image, torch.tensor([0]), ["x"]))
    assert drops.tolist() == [[1.0, 4.0, -3.0, 2.0]]
    assert float(protocol.score(drops, attribution).values) == pytest.approx(3 / (5 * 4.5) ** 0.5, abs=1e-12)


@pytest.mark.parametrize("baseline", ["zero", "random", "blur"])
def test_the_oracle_scores_one_and_its_opposite_minus_one(baseline, net, images, labels, evidence):
    protocol = SingleDeletion(baseline=baseline)
    assert protocol.has_oracle
    drops = protocol.prepare(evidence(net, images, labels))
    oracle = protocol.oracle(drops, (16, 24))
    for dtype in (torch.float64, torch.float32):
        assert torch.allclose(protocol.score(drops, oracle.to(dtype)).values, torch.ones(6, dtype=torch.float64))
    assert torch.allclose(protocol.score(drops, -oracle).values, -torch.ones(6, dtype=torch.float64))


def test_maps_that_cannot_be_ranked_are_undefined(net, images, labels, maps, evidence):
    protocol = SingleDeletion()
    maps = maps.clone()
    maps[0], maps[1] = 0.1, 0
    maps[2, 0, 3, 3] = NAN
    maps[3, 0, 0, 0] = float("inf")
    scores = protocol.score(protocol.prepare(evidence(net, images, labels)), maps)
    assert scores.status == [UNDEFINED_MAP] * 4 + [OK] * 2
    assert scores.values.isnan().tolist() == [True] * 4 + [False] * 2
    assert protocol.score(protocol.prepare(evidence(net, images, labels)), maps.float()).status == scores.status


def test_a_map_that_differs_only_within_cells_is_undefined(net, images, labels, evidence):
    inside = torch.zeros(6, 1, 16, 24)
    inside[:, :, ::4, ::6] = 0.3
    drops = SingleDeletion().prepare(evidence(net, images, labels))
    assert SingleDeletion().score(drops, inside).status == [UNDEFINED_MAP] * 6


def test_drops_that_cannot_be_ranked_are_the_references_fault(maps):
    drops = torch.randn(6, 16, dtype=torch.float64)
    drops[0], drops[1, 5], maps[0] = 2.0, NAN, 1.0
    scores = SingleDeletion().score(drops, maps)
    assert scores.status == [UNDEFINED_REFERENCE] * 2 + [OK] * 4
    assert scores.values.isnan().tolist() == [True] * 2 + [False] * 4


def test_a_model_that_does_not_look_has_an_undefined_reference(evidence):
    images = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    e = evidence(BrightCells([1.0, 2.0, 3.0, 4.0]), images, torch.tensor([1, 0]))
    protocol = SingleDeletion(grid=2)
    assert protocol.score(protocol.prepare(e), torch.rand(2, 1, 4, 4)).status == [UNDEFINED_REFERENCE, OK]


@pytest.mark.parametrize(("scale", "shift"), [(1e-6, 0.0), (300.0, -5.0), (0.5, 1e3)])
def test_positive_affine_maps_of_an_attribution_change_nothing(scale, shift, net, images, labels, maps, evidence):
    protocol = SingleDeletion()
    drops = protocol.prepare(evidence(net, images, labels))
    assert torch.equal(protocol.score(drops, maps).values, protocol.score(drops, scale * maps + shift).values)


@pytest.mark.parametrize("baseline", ["zero", "random", "blur"])
def test_drops_do_not_depend_on_batches_chunks_and_order(baseline, net, images, labels, evidence):
    together = deletion_drops(evidence(net, images, labels, seed=SEED), 4, baseline, "logit")
    tolerance = {"rtol": 0, "atol": 1e-9 * float(together.abs().max())}
    small = deletion_drops(evidence(net, images, labels, seed=SEED, chunk=5), 4, baseline, "logit")
    assert torch.allclose(small, together, **tolerance)
    for index in (4, 1):
        alone = evidence(net, images[index : index + 1], labels[index : index + 1], [f"photo {index}"], seed=SEED)
        assert torch.allclose(deletion_drops(alone, 4, baseline, "logit")[0], together[index], **tolerance)
    ids = [f"photo {i}" for i in reversed(range(6))]
    backwards = evidence(net, images.flip(0), labels.flip(0), ids, seed=SEED)
    assert torch.allclose(deletion_drops(backwards, 4, baseline, "logit").flip(0), together, **tolerance)


def test_random_cells_follow_the_seed(net, images, labels, evidence):
    drops = [deletion_drops(evidence(net, images, labels, seed=s), 4, "random", "logit") for s in (0, 0, 1)]
    assert torch.equal(drops[0], drops[1]) and not torch.allclose(drops[0], drops[2])


def test_deleted_images_are_shared_by_outputs_and_targets(net, images, labels, evidence):
    e = evidence(net, images, labels)
    SingleDeletion().prepare(e), SingleDeletion().prepare(e)
    cost = e.runner.forwards
    assert cost == 6 * 17
    SingleDeletion(drop_output="probability").prepare(e)
    SingleDeletion().prepare(e.explaining(labels.flip(0)))
    assert e.runner.forwards == cost
    SingleDeletion(baseline="blur").prepare(e), SingleDeletion(grid=2).prepare(e)
    assert e.runner.forwards == cost + 6 * (16 + 4)


def test_several_targets_of_an_image(net, images, labels, evidence):
    e = evidence(net, images, labels, zero=ZERO)
    targets, owner = torch.tensor([0, 4, 4]), torch.tensor([2, 2, 5])
    drops = SingleDeletion().prepare(e.explaining(targets, owner))
    for pair in range(3):
        image = int(owner[pair])
        expected = loop_drops(net, images[image], int(targets[pair]), f"photo {image}", 4, "zero", "logit")
        np.testing.assert_allclose(drops[pair].numpy(), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"grid": 1}, "grid is a whole number of cells a side, such as 2, 4 or 8, not 1"),
        ({"baseline": "mean"}, "baseline is zero or random or blur, not 'mean'"),
        ({"target": "second"}, "target is label or prediction"),
        ({"attribution_output": "loss"}, "attribution_output is logit or probability"),
        ({"drop_output": "softmax"}, "drop_output is logit or probability"),
    ],
)
def test_settings_that_do_not_exist_are_refused(setting, message):
    with pytest.raises(XaibenchError, match=message):
        SingleDeletion(**setting)


def test_sizes_that_do_not_divide_are_refused():
    SingleDeletion().check((16, 24))
    with pytest.raises(XaibenchError, match="do not divide into 4x4"):
        SingleDeletion().check((16, 18))


def test_weights_fit_where_grid_and_baseline_are_those_of_the_alignment():
    protocol, alignment = SingleDeletion(), Alignment(grid=4, baseline="zero", probability=0.5)
    assert protocol.check_weights(alignment) is None
    assert "grid 4" in replace(protocol, grid=8).check_weights(alignment)
    assert "zero baseline" in replace(protocol, baseline="blur").check_weights(alignment)
    assert "not trained on deletions" in protocol.check_weights(None)


def test_settings_in_words_name_both_outputs_where_they_differ():
    assert SingleDeletion().description == "grid 4, zero baseline, label, logit"
    both = SingleDeletion(grid=2, baseline="blur", target="prediction", attribution_output="probability")
    assert both.description == "grid 2, blur baseline, prediction, probability explained, logit drops"


class Uneven(nn.Module):
    """A linear network whose logits depend, by a rounding of theirs, on an input's place in the pass."""

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.stack([x.mean((1, 2, 3)), x[:, 0].mean((1, 2))], 1) + 5
        return logits * (1 + 1e-7 * torch.arange(len(x), dtype=x.dtype)[:, None])


@pytest.mark.parametrize("chunk", [1, 3, 32])
def test_a_cell_that_is_the_baseline_already_costs_nothing(images, labels, evidence, chunk):
    shown = images[:, :, :, :16].clone()
    shown[:, :, :8] = ZERO[:, None, None]  # the upper 8 of 16 cells
    shown[0, 1, 9, 3] = ZERO[1]  # one value of one pixel does not make a cell blank
    e = evidence(Uneven().eval(), shown, labels % 2, zero=ZERO, chunk=chunk)
    drops = deletion_drops(e, 4, "zero", "logit")
    assert (drops[:, :8] == 0).all() and (drops[:, 8:] != 0).all()
    maps = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    sums = maps[:, 0].double().unflatten(1, (4, 4)).unflatten(3, (4, 4)).sum((2, 4)).flatten(1)
    plain = evidence(Uneven().eval(), shown, labels % 2, zero=ZERO, chunk=1)  # each input first in its pass
    expected = [spearmanr(a, b).statistic for a, b in zip(sums, deletion_drops(plain, 4, "zero", "logit"), strict=True)]
    np.testing.assert_allclose(SingleDeletion().score(drops, maps).values, expected, atol=1e-12)


def test_other_baselines_change_every_cell(images, labels, evidence):
    e = evidence(Uneven().eval(), torch.zeros_like(images[:, :, :, :16]), labels % 2)
    assert (deletion_drops(e, 4, "random", "logit") != 0).all()
