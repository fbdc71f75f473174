"""Entropic transport against a plain Sinkhorn in NumPy, SciPy's linear programme and POT; its gradients and error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment, linprog

from xaibench.errors import XaibenchError
from xaibench.training.lico.sinkhorn import sinkhorn


def costs(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain(cost, epsilon, rows, columns, steps=5000):
    """Sinkhorn and Knopp's scaling of exp(-cost / epsilon), as it stands in textbooks."""
    kernel = np.exp(-cost / epsilon)
    left, right = np.ones(len(rows)), np.ones(len(columns))
    for _ in range(steps):
        left = rows / (kernel @ right)
        right = columns / (kernel.T @ left)
    return left[:, None] * kernel * right


@pytest.mark.parametrize("epsilon", [0.03, 0.1, 1.0])
def test_the_plan_is_that_of_plain_scaling(epsilon):
    cost = costs(3, 5, 7)
    found = sinkhorn(cost, epsilon, tolerance=1e-12, iterations=5000)
    for one, plan, value in zip(cost.numpy(), found.plan.numpy(), found.cost.numpy(), strict=True):
        expected = plain(one, epsilon, np.full(5, 1 / 5), np.full(7, 1 / 7))
        np.testing.assert_allclose(plan, expected, atol=1e-10)
        assert value == pytest.approx((expected * one).sum(), abs=1e-10)


@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_weighted_transport_is_that_of_pot(epsilon):
    ot = pytest.importorskip("ot", reason="the package POT is not installed")
    cost = costs(2, 6, 4)
    rows = torch.tensor([[0.1, 0.2, 0.3, 0.1, 0.2, 0.1], [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]], dtype=torch.float64)
    columns = torch.tensor([0.4, 0.1, 0.2, 0.3], dtype=torch.float64)
    found = sinkhorn(cost, epsilon, rows=rows, columns=columns, tolerance=1e-12, iterations=10000)
    for one, weights, plan in zip(cost.numpy(), rows.numpy(), found.plan.numpy(), strict=True):
        expected = ot.sinkhorn(weights, columns.numpy(), one, epsilon, stopThr=1e-13, numItermax=10000)
        np.testing.assert_allclose(plan, expected, atol=1e-9)


def test_a_small_epsilon_gives_the_best_assignment():
    cost = costs(4, 6, 6)
    found = sinkhorn(cost, 5e-3, tolerance=1e-3, iterations=5000)
    assert (found.error <= 1e-3).all()
    for one, value in zip(cost.numpy(), found.cost.numpy(), strict=True):
        assert value == pytest.approx(
            one[linear_sum_assignment(one)].sum() / 6, abs=5e-3 * np.log(6)
        )  # what the entropy is worth at most


def test_a_small_epsilon_gives_the_best_transport():
    cost = costs(1, 3, 5)
    equations = [np.kron(row, np.ones(5)) for row in np.eye(3)] + [np.kron(np.ones(3), column) for column in np.eye(5)]
    best = linprog(cost.flatten().numpy(), A_eq=np.array(equations), b_eq=[1 / 3] * 3 + [1 / 5] * 5).fun
    assert float(sinkhorn(cost, 5e-3, tolerance=1e-4, iterations=5000).cost) == pytest.approx(best, abs=0.01)


def test_two_by_two_by_hand():
    """The plan is symmetric: p = 1/2 / (1 + exp(-1 / epsilon)) on the diagonal of costs 0, the rest at cost 1."""
    cost = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]], dtype=torch.float64)
    found = sinkhorn(cost, 0.5)
    diagonal = 0.5 / (1 + np.exp(-2))
    assert found.plan[0, 0, 0].item() == pytest.approx(diagonal) and found.cost.item() == pytest.approx(
        1 - 2 * diagonal
    )
    assert found.iterations.tolist() == [1] and found.error.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_the_error_is_that_of_the_rows(iterations):
    found = sinkhorn(costs(3, 8, 5), 0.02, iterations=iterations, tolerance=0)
    assert torch.allclose(found.error, (found.plan.sum(2) - 1 / 8).abs().sum(1), atol=1e-12)
    assert torch.allclose(found.plan.sum(1), torch.full((3, 5), 1 / 5, dtype=torch.float64))
    assert found.iterations.tolist() == [iterations] * 3


def test_published_settings_do_not_converge_and_say_so():
    features = torch.nn.functional.normalize(torch.randn(2, 64, 49, generator=torch.Generator().manual_seed(0)), dim=2)
    tokens = torch.nn.functional.normalize(torch.randn(2, 16, 49, generator=torch.Generator().manual_seed(1)), dim=2)
    cost = torch.cdist(features, tokens) ** 2
    published, ours = sinkhorn(cost, 1e-4, iterations=100), sinkhorn(cost)
    assert (published.error > 0.1).all() and (published.iterations == 100).all()
    assert (ours.error <= 1e-3).all() and (ours.iterations < 100).all()
    assert published.cost.isfinite().all() and published.plan.isfinite().all()


def test_an_image_does_not_depend_on_the_others():
    easy, hard = costs(1, 6, 6) * 0.01, costs(1, 6, 6, seed=3) * 3
    together = sinkhorn(torch.cat([easy, hard]), 0.05)
    assert together.iterations[0] < together.iterations[1]
    for number, alone in enumerate([sinkhorn(easy, 0.05), sinkhorn(hard, 0.05)]):
        assert torch.equal(together.plan[number], alone.plan[0])
        assert together.error[number] == alone.error[0] and together.iterations[number] == alone.iterations[0]


@pytest.mark.parametrize("scale", [1.0, 0.0])
def test_gradients_are_finite_differences(scale):
    cost = (costs(2, 3, 4) * scale).requires_grad_()
    for part in ("cost", "plan"):
        assert torch.autograd.gradcheck(
            lambda c, part=part: getattr(sinkhorn(c, 0.2, tolerance=1e-10), part), cost, atol=1e-6
        )


def test_low_precision_is_computed_in_float32():
    cost = costs(2, 5, 5).bfloat16()
    assert torch.equal(sinkhorn(cost).plan, sinkhorn(cost.float()).plan)


@pytest.mark.parametrize(
    ("cost", "settings", "words"),
    [
        (torch.ones(3, 3), {}, r"floating \(B, M, N\)"),
        (torch.ones(1, 3, 3, dtype=torch.int64), {}, "not torch.int64"),
        (torch.ones(1, 3, 3), {"epsilon": 0}, "epsilon > 0"),
        (torch.ones(1, 3, 3), {"iterations": 0}, "iterations >= 1"),
        (torch.ones(1, 3, 3), {"rows": torch.ones(2) / 2}, "do not fit"),
        (torch.ones(1, 3, 3), {"rows": torch.ones(3)}, "sum 1"),
        (torch.ones(1, 2, 3), {"rows": torch.tensor([1.0, 0.0])}, "positive"),
    ],
)
def test_what_is_no_transport_is_refused(cost, settings, words):
    with pytest.raises(XaibenchError, match=words):
        sinkhorn(cost, **settings)
