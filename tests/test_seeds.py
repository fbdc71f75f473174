"""Randomness by seed, purpose and image id."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from xaibench.seeds import derive, generator


@pytest.mark.process
def test_numbers_are_the_same_in_another_process():
    code = "from xaibench.seeds import derive; print(derive(7, 'noise 2', 'val/n01440764/x.jpg', 3))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(printed) == derive(7, "noise 2", "val/n01440764/x.jpg", 3)


def test_numbers_are_pinned():
    """Every stored result hangs on these."""
    assert derive(0, "image list", "a") == 9029431862040914024
    assert torch.rand(1, generator=generator(0, "noise 0", "a")).item() == pytest.approx(0.49141639471054077)


PARTS = st.lists(st.text(st.characters(exclude_characters="\x1f", exclude_categories=["Cs"]), max_size=5), max_size=4)


@given(PARTS, PARTS)
def test_parts_are_not_run_together(first, second):
    assert (derive(0, *first) == derive(0, *second)) == (first == second)


def test_every_part_counts():
    numbers = {derive(*parts) for parts in [(0, "a", "b"), (1, "a", "b"), (0, "b", "a"), (0, "ab"), (0, "a", "b", 0)]}
    assert len(numbers) == 5 and all(0 <= number < 2**63 for number in numbers)


def test_generators_repeat_themselves_and_leave_torchs_own_alone():
    before = torch.get_rng_state()
    first, again = (torch.randn(5, generator=generator(3, "noise", "a")) for _ in range(2))
    assert torch.equal(first, again) and torch.equal(before, torch.get_rng_state())
    assert not torch.equal(first, torch.randn(5, generator=generator(3, "noise", "b")))


def test_first_draws_of_many_images_are_uniform_and_independent():
    draws = np.array([torch.rand(2, generator=generator(0, "cell", i)).tolist() for i in range(2000)])
    assert kstest(draws.ravel(), "uniform").pvalue > 0.01
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.06
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.06
