"""From what a network returns to logits, probabilities and predictions."""

from __future__ import annotations

import pytest
import torch

from xaibench.models.outputs import as_matrix, described, is_right, probabilities, two_sided, usable

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("shape", "count", "expected"),
    [((3, 5), 3, (3, 5)), ((3, 1), 3, (3, 1)), ((3,), 3, (3, 1)), ((), 1, (1, 1)), ((1,), 1, (1, 1)),
     ((1, 4), 1, (1, 4)), ((5,), 1, None), ((), 3, None), ((3, 2, 2), 3, None), ((4, 2), 3, None), ((3, 0), 3, None)],
)  # fmt: skip
def test_outputs_are_a_row_for_each_input(shape, count, expected):
    found = as_matrix(torch.zeros(shape), count)
    assert (None if found is None else tuple(found.shape)) == expected


def test_what_is_no_tensor_of_numbers_is_described():
    for output, text in (
        (torch.zeros(2, 3, dtype=torch.long), "int64 of shape (2, 3)"), ({}, "dict"), (torch.zeros(2), "shape (2,)"),
    ):  # fmt: skip
        assert described(output) == text
    assert as_matrix(torch.zeros(2, 3, dtype=torch.long), 2) is None and as_matrix((torch.zeros(2, 3),), 2) is None


def test_two_sides_of_one_output_have_the_sigmoid_and_the_binary_cross_entropy():
    z = torch.randn(50, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 5
    logits = two_sided(z)
    chances = probabilities(logits, "sigmoid")
    torch.testing.assert_close(chances[:, 1], z[:, 0].sigmoid(), rtol=0, atol=0)
    torch.testing.assert_close(chances.sum(1), torch.ones(50, dtype=torch.float64))
    torch.testing.assert_close(chances, torch.cat([torch.zeros_like(z), z], 1).softmax(1))
    assert logits.argmax(1).tolist() == (z[:, 0] > 0).long().tolist()
    three = torch.randn(4, 3)
    assert two_sided(three) is three


def test_logits_without_a_finite_largest_predict_nothing():
    rows = torch.tensor([[1.0, 2.0], [NAN, 2.0], [1.0, NAN], [INF, 0.0], [-INF, 0.0], [-INF, -INF], [-INF, INF]])
    assert usable(rows).tolist() == [True, False, False, False, True, False, False]
    assert usable(rows[None])[0].tolist() == usable(rows).tolist()
    assert is_right(rows, torch.tensor([1, 0, 1, 0, 1, 0, 1])).tolist() == [
        True,
        False,
        False,
        False,
        True,
        False,
        False,
    ]
