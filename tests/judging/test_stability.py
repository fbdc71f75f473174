"""Agreement of rankings against SciPy; MetaQuantus against its definition, written out."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xaibench import registry
from xaibench.judging.few import choose_few
from xaibench.judging.metaquantus import consistency
from xaibench.judging.stability import halves, kendall, mean_of_known, meta_rank_tau, other_settings


def test_kendall_is_scipys():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 5, 8).astype(float), rng.normal(size=8)
        assert kendall(a, b) == pytest.approx(stats.kendalltau(a, b).statistic)
    assert np.isnan(kendall(np.array([1.0, np.nan, 2.0]), np.array([1.0, 2.0, 3.0])))


def test_means_are_of_images_that_all_methods_have():
    quality = np.array([[1.0, 2.0, np.nan, 4.0], [5.0, 6.0, 7.0, 8.0]])
    assert mean_of_known(quality).tolist() == pytest.approx([7 / 3, 19 / 3])
    first, second = halves(quality)
    assert first.tolist() == [1.0, 5.0] and second.tolist() == [3.0, 7.0]


def test_other_settings_are_settings_of_the_protocol():
    card = registry.card("protocol", "sds")
    assert other_settings(card, {}) == {"baseline": {"baseline": "blur"}, "grid": {"grid": 8}}
    assert other_settings(card, {"grid": 8})["grid"] == {"grid": 4}
    assert other_settings(registry.card("protocol", "epg"), {}) == {}
    assert "grid" not in other_settings(registry.card("protocol", "ids"), {})  # its units are pixels


def test_meta_rank_is_the_mean_tau_of_boards():
    index = [f"image {i}" for i in range(6)]
    rng = np.random.default_rng(1)
    boards = {name: pd.DataFrame(rng.normal(size=(6, 5)), index, list("abcde")) for name in ("x", "y", "z")}
    pairs = [("x", "y"), ("x", "z"), ("y", "z")]
    wanted = [stats.kendalltau(boards[a].mean(), boards[b].mean()).statistic for a, b in pairs]
    assert meta_rank_tau(boards) == pytest.approx(np.mean(wanted))
    assert np.isnan(meta_rank_tau({"x": boards["x"]}))


def test_consistency_by_its_definition():
    rng = np.random.default_rng(2)
    before = rng.normal(size=(3, 12))
    small, wild = before + 0.01 * rng.normal(size=(3, 12)), before - rng.random((3, 12))
    found = consistency(before, small, wild)
    p = [stats.wilcoxon(a, b, zero_method="zsplit", method="approx").pvalue for a, b in zip(before, small, strict=True)]
    assert found.intra_noise == pytest.approx(np.mean(p))
    assert found.intra_adversary > 0.99 and found.inter_adversary == 1.0
    same = [np.argsort(before[:, i]) == np.argsort(small[:, i]) for i in range(12)]
    assert found.inter_noise == pytest.approx(np.mean(same))
    assert found.score == pytest.approx(np.mean(found))
    unmoved = consistency(before, before, before)
    assert (unmoved.intra_noise, unmoved.inter_noise, unmoved.intra_adversary, unmoved.inter_adversary) == (1, 1, 0, 0)
    assert consistency(before[:, :4], small[:, :4], wild[:, :4]) is None


def test_few_finds_the_two_that_make_up_the_mean_and_tests_them_elsewhere():
    rng = np.random.default_rng(3)
    ranks = {}
    for network in "abcd":
        one, two = rng.permutation(30) + 1.0, rng.permutation(30) + 1.0
        # two groups of three protocols that rank alike: one of each group says what all say
        columns = {f"one {i}": one for i in range(3)} | {f"two {i}": two for i in range(3)}
        ranks[network] = pd.DataFrame(columns)
    found = choose_few(ranks, ["a", "b"], ["c", "d"], most=3)
    assert {name[:3] for name in found.chosen[:2]} == {"one", "two"}
    assert found.unseen[1] == pytest.approx(1.0) and found.seen[1] == pytest.approx(1.0)
    assert found.unseen[0] < 0.9
