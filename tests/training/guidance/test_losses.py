"""Localisation losses: values by hand, gradients by finite differences, maps and masks at which quotients vanish."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from xaibench import registry
from xaibench.errors import XaibenchError
from xaibench.training.guidance.localisation import find_loss
from xaibench.training.guidance.losses import (
    energy_star,
    gradient_norm,
    gradient_norm_lambda,
    ppce,
    reduction_key_fields,
    weighted,
)

SHAPE = (3, 4, 5)
NAMES = registry.names("loss")


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MAPS, MASKS = drawn(0, *SHAPE), drawn(1, *SHAPE) > 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("energy", -5 / 8),
        ("energy-star", 1 - 5 / 8 / math.sqrt(2)),
        ("l1", (0 + 3 / 4 + 3 / 4 + 0) / 4),
        ("ppce", (math.log(1) + math.log(4)) / 2),
        ("rrr", (3 / 4) ** 2 + (2 / 4) ** 2),
    ],
)
def test_values_by_hand(name, value):
    """Of the positive part 4, 1 | 3, 0 the mask has the upper row."""
    maps, masks = torch.tensor([[[4.0, 1.0], [3.0, -2.0]]]), torch.tensor([[[True, True], [False, False]]])
    assert find_loss(name)(maps, masks).tolist() == pytest.approx([value])


@pytest.mark.parametrize(
    ("name", "values"),
    # the map -1 -5 | 0 -4, with the mask of the upper row, without any, of all; then zeros with the same masks
    [
        ("energy", [0, 0, 0, 0, 0, 0]),
        ("energy-star", [1, 1, 1, 1, 1, 1]),
        ("l1", [0.5, 0, 1, 0.5, 0, 1]),
        ("ppce", [6 * math.log(10), 0, 6 * math.log(10)] * 2),
        ("rrr", [0.64, 1.68, 0, 0, 0, 0]),
    ],
)
def test_values_where_nothing_is_positive(name, values):
    upper = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    masks = torch.stack([upper, torch.zeros(2, 2), torch.ones(2, 2)] * 2)
    negative = torch.tensor([[-1.0, -5.0], [0.0, -4.0]])
    maps = torch.stack([negative] * 3 + [torch.zeros(2, 2)] * 3)
    assert find_loss(name)(maps, masks).tolist() == pytest.approx(values)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("masks", [MASKS, MASKS * 0, MASKS * 0 + 1, drawn(2, *SHAPE).sigmoid()])
@pytest.mark.parametrize("maps", [MAPS, -MAPS.abs(), MAPS.abs(), 1e-9 * MAPS, 1e9 * MAPS])
def test_gradients_by_finite_differences(name, masks, maps):
    """A step that is small for the map; the gradients of small maps are large, so they are compared per unit of map."""
    unit = float(maps.abs().max())
    assert torch.autograd.gradcheck(lambda m: find_loss(name)(unit * m, masks), (maps / unit).requires_grad_())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_degenerate_maps_do_not_touch_the_others(name, dtype):
    """Zeros, a single value, values that underflow, next to an ordinary map: the gradient of that is as if alone."""
    spike = torch.zeros(4, 5)
    spike[1, 2] = 3
    small = torch.full((4, 5), torch.finfo(dtype).tiny)
    maps = torch.stack([m.to(dtype) for m in (torch.zeros(4, 5), spike, -spike, small, MAPS[0])])
    for mask in (MASKS[0], MASKS[0] & False, MASKS[0] | True):
        whole = maps.clone().requires_grad_()
        values = find_loss(name)(whole, mask.expand(5, 4, 5))
        values.sum().backward()
        assert values.isfinite().all() and whole.grad.isfinite().all()
        assert not whole.grad[[0, 3]].any(), "there is nothing to move"
        alone = maps[4:].clone().requires_grad_()
        find_loss(name)(alone, mask[None]).sum().backward()
        assert torch.equal(whole.grad[4:], alone.grad)


@pytest.mark.parametrize("name", NAMES)
def test_scale_changes_nothing_and_one_image_nothing_of_another(name):
    loss = find_loss(name)
    values = loss(MAPS, MASKS)
    assert torch.allclose(loss(MAPS * torch.tensor([1e-4, 7, 1e5]).double()[:, None, None], MASKS), values)
    assert torch.allclose(torch.cat([loss(m[None], k[None]) for m, k in zip(MAPS, MASKS, strict=True)]), values)


@pytest.mark.parametrize("name", NAMES)
def test_moving_attribution_into_the_mask_is_rewarded(name):
    inside, outside = MASKS.double() + 0.01, 1.01 - MASKS.double()
    assert (find_loss(name)(inside, MASKS) < find_loss(name)(outside, MASKS)).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_map_that_is_not_finite_is_not_hidden(name):
    for wrong in (math.nan, math.inf):
        maps = MAPS.clone()
        maps[1, 0, 0] = wrong
        assert find_loss(name)(maps, drawn(2, *SHAPE).sigmoid()).isfinite().tolist() == [True, False, True]


def test_ppce_trains_from_half_positive_maps():
    """The published code ended in NaN; here descent raises what is positive in the mask to the map's maximum."""
    maps = torch.tensor([[[0.1, 0.2, -0.3], [2.0, 0.0, 0.5]]], dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[[True, True, True], [False, False, False]]])
    start = ppce(maps, mask).item()
    for _ in range(400):
        (gradient,) = torch.autograd.grad(ppce(maps, mask).sum(), maps)
        maps = (maps - 0.01 * gradient).detach().requires_grad_()
    assert maps.isfinite().all() and ppce(maps, mask).item() < start - 1
    assert maps[0, 0, 2] == -0.3, "what is negative has no gradient in the published formula"
    assert ppce(maps, mask, floor=1e-3) < ppce(maps, mask, floor=1e-9)


def test_energy_star_at_any_exponent():
    part = torch.zeros(1, 4, 5)
    part[:, :2, :2] = 1
    assert energy_star(part, part, alpha=1).tolist() == pytest.approx([1 - 1 / 4])
    assert energy_star(part, part, alpha=0).tolist() == pytest.approx([0])


def test_half_precision_does_not_overflow():
    maps = torch.full((1, 300, 300), 60000.0, dtype=torch.float16)
    assert find_loss("energy")(maps, torch.ones(1, 300, 300)).tolist() == [-1.0]


def test_shapes_are_checked():
    for maps, masks in ((MAPS, MASKS[:2]), (MAPS[None], MASKS[None]), (MAPS[:1], MASKS)):
        with pytest.raises(XaibenchError, match=r"both are \(N, H, W\)"):
            find_loss("energy")(maps, masks)


# Of a batch ----------------------------------------------------------------------------------------------------------


def test_mean_times_64_is_the_published_sum_of_a_batch_of_64():
    values, every = drawn(3, 64), torch.ones(64, dtype=torch.bool)
    for over in ("annotated", "batch"):
        assert weighted(values, every, 5e-3, over).item() == pytest.approx(5e-3 * float(values.sum()))
        halves = [weighted(values[part], every[part], 5e-3, over) for part in (slice(0, 32), slice(32, 64))]
        assert sum(halves).item() / 2 == pytest.approx(5e-3 * float(values.sum())), "as with accumulation, or devices"


def test_images_without_annotation_do_not_count():
    values, annotated = torch.tensor([1.0, 100.0, 4.0, 100.0]), torch.tensor([True, False, True, False])
    assert weighted(values, annotated, 0.5).item() == 0.5 * 64 * 2.5
    assert weighted(values, annotated, 0.5, "batch").item() == 0.5 * 64 * 5 / 4
    sparse = torch.arange(64) == 7
    values = drawn(3, 64)
    assert weighted(values, sparse, 1, "batch").item() == pytest.approx(float(values[7])), "the published sum"
    leaf = values.clone().requires_grad_()
    weighted(leaf, sparse).backward()
    assert leaf.grad.nonzero().flatten().tolist() == [7]


@pytest.mark.parametrize("over", ["annotated", "batch"])
def test_a_batch_without_annotation_has_a_graph(over):
    leaf = torch.ones(3, requires_grad=True)
    nothing = weighted(leaf, torch.zeros(3, dtype=torch.bool), 2, over)
    nothing.backward()
    assert nothing.item() == 0 and leaf.grad.tolist() == [0, 0, 0]
    empty = weighted(leaf[:0], torch.zeros(0, dtype=torch.bool), 2, over)
    assert empty.item() == 0 and empty.requires_grad


def test_mistakes_in_a_batch_are_named():
    with pytest.raises(XaibenchError, match="over is annotated or batch, not 'images'"):
        weighted(torch.ones(2), torch.ones(2, dtype=torch.bool), over="images")
    with pytest.raises(XaibenchError, match=r"3,.* values but .*2,"):
        weighted(torch.ones(3), torch.ones(2, dtype=torch.bool))


def test_facts_of_the_reduction_are_those_of_the_numbers():
    key_fields, values = reduction_key_fields("batch"), drawn(3, 8)
    assert key_fields == {"reduction": "mean", "over": "batch", "times": 64}
    assert weighted(values, values > -9, 1, key_fields["over"]).item() == pytest.approx(
        key_fields["times"] * values.mean()
    )


def test_lambda_matched_in_gradient_norm():
    weights = [drawn(4, 4, 5).requires_grad_(), torch.ones(3, dtype=torch.float64, requires_grad=True)]
    unused = torch.ones(2, requires_grad=True)

    def value(name: str) -> Tensor:
        maps = MAPS * weights[0] + weights[1][:, None, None]
        return weighted(find_loss(name)(maps, MASKS), torch.ones(3, dtype=torch.bool))

    norms = {name: gradient_norm(value(name), [*weights, unused]) for name in ("energy", "energy-star")}
    gradients = torch.autograd.grad(value("energy"), weights)
    assert norms["energy"] == pytest.approx(float(torch.cat([g.flatten() for g in gradients]).norm()))
    matched = gradient_norm_lambda(1e-3, norms["energy"], norms["energy-star"])
    assert matched > 1e-3, "its gradient is divided by the root of the mask's pixels"
    pulls = gradient_norm(matched * value("energy-star"), weights), gradient_norm(1e-3 * value("energy"), weights)
    assert pulls[0] == pytest.approx(pulls[1])
    for wrong in (0.0, math.nan, math.inf):
        for pair in ((wrong, 1.0), (1.0, wrong)):
            with pytest.raises(XaibenchError, match="no lambda matches"):
                gradient_norm_lambda(1e-3, *pair)
