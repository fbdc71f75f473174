"""The draw of a replay, and how likely it finds a forgery: against SciPy and a simulation."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy.stats import hypergeom

from xaibench.submission.draw import detection_probability, drawn, seed_of


def test_detection_is_hypergeometric():
    for results in (1, 24, 500):
        for forged in {0, 1, results // 5, results}:
            for replayed in {0, 1, min(20, results), results}:
                expected = 1 - hypergeom(results, forged, replayed).pmf(0)
                assert detection_probability(results, forged, replayed) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ValueError, match="not 3 can be forged"):
        detection_probability(2, 3, 1)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_the_draw_finds_as_many_forgeries_as_stated(share):
    """2000 submissions of 400 results of which 20 are replayed: found within four standard errors of the stated."""
    forged = set(np.random.default_rng(0).choice(400, round(share * 400), replace=False).tolist())
    found = [bool(forged & set(drawn(range(400), 20, seed_of("name", str(n))))) for n in range(2000)]
    stated = detection_probability(400, len(forged), 20)
    assert np.mean(found) == pytest.approx(stated, abs=4 * (stated * (1 - stated) / 2000) ** 0.5)


def test_the_draw_follows_from_the_record_and_from_nothing_else():
    pairs = [(cell, image) for cell in "ab" for image in range(50)]
    first = drawn(pairs, 20, seed_of("f" * 64, "0" * 32))
    assert first == drawn(pairs, 20, seed_of("f" * 64, "0" * 32)) and len(set(first)) == 20 and set(first) <= set(pairs)
    assert first != drawn(pairs, 20, seed_of("f" * 64, "1" * 32)) != drawn(pairs, 20, seed_of("e" * 64, "1" * 32))
    assert drawn(pairs, None, 0) == drawn(pairs, 1000, 0) == pairs
    assert seed_of("a", "b") == int.from_bytes(hashlib.sha256(b"a:b").digest(), "big")
