"""Ranks over settings: by SciPy, by hand, where boards agree and where they do not, and from a results folder."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, rankdata

from xaibench.analysis.alike import meta_rank_of_boards
from xaibench.analysis.meta_rank import meta_rank
from xaibench.errors import XaibenchError


def frame(scores: np.ndarray, images=None) -> pd.DataFrame:
    names = [f"m{number}" for number in range(scores.shape[1])]
    return pd.DataFrame(scores, columns=names, index=images or [f"{number:03d}.png" for number in range(len(scores))])


@pytest.fixture
def several() -> dict[str, pd.DataFrame]:
    """Four boards of six methods on 12 images, which agree more or less."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=6)
    return {name: frame(means + 0.3 * rng.normal(size=6) + 0.4 * rng.normal(size=(12, 6))) for name in "abcd"}


SETTINGS = {
    "a": {"grid": 4, "baseline": "zero"}, "b": {"grid": 8, "baseline": "zero"}, "c": {"grid": 4, "baseline": "blur"},
    "d": {"grid": 2, "baseline": "zero"},
}  # fmt: skip


def test_ranks_and_taus_are_scipys(several):
    higher = {"a": True, "b": False, "c": True, "d": True}
    signed = {name: each.mean().to_numpy() * (1 if higher[name] else -1) for name, each in several.items()}
    found = meta_rank(several, higher, settings=SETTINGS)
    placed = pd.DataFrame({name: rankdata(-each, "min") for name, each in signed.items()}, index=several["a"].columns)
    table = found.table.set_index("method")
    for method, row in placed.iterrows():
        assert table.loc[method, "mean_rank"] == pytest.approx(row.mean())
        assert table.loc[method, "spread"] == pytest.approx(row.std(ddof=0))
        assert table.loc[method, ["best_rank", "worst_rank"]].tolist() == [row.min(), row.max()]
    assert found.table["mean_rank"].is_monotonic_increasing
    assert found.ranks.loc[placed.index, list("abcd")].to_numpy().tolist() == placed.to_numpy().tolist()
    taus = {pair: kendalltau(*(signed[name] for name in pair)).statistic for pair in combinations("abcd", 2)}
    assert found.tau == pytest.approx(np.mean(list(taus.values())))
    boards = found.boards.set_index("name")
    for name in "abcd":
        assert boards.loc[name, "tau"] == pytest.approx(np.mean([tau for pair, tau in taus.items() if name in pair]))
    assert found.boards["tau"].is_monotonic_increasing and boards.index[0] == "b", "the turned board is least alike"
    factors = found.factors.set_index("setting")
    grid = np.mean([taus["a", "b"], taus["a", "d"], taus["b", "d"]])
    assert factors.loc["grid", ["tau", "n_pairs"]].tolist() == [pytest.approx(grid), 3]
    assert factors.loc["baseline", ["tau", "n_pairs", "values"]].tolist() == [
        pytest.approx(taus["a", "c"]), 1, "zero, blur"
    ]  # fmt: skip


def test_intervals_resample_the_images_of_all_boards_together(several):
    found = meta_rank(several, dict.fromkeys(several, True))
    assert found.tau_low <= found.tau <= found.tau_high and found.tau_low < found.tau_high
    same = {name: several["a"] + shift for name, shift in zip("abc", (0, 1, 2), strict=True)}
    alike = meta_rank(same, dict.fromkeys(same, True))
    assert (alike.tau, alike.tau_low, alike.tau_high) == (1, 1, 1), "other images for each board would be below 1"
    assert (alike.table["spread"] == 0).all()
    shuffled = {name: each.iloc[::-1] for name, each in several.items()}
    assert meta_rank(shuffled, dict.fromkeys(several, True)).tau_low == found.tau_low


def test_only_methods_and_images_that_all_boards_have_count(several):
    several["b"] = several["b"].drop(columns="m5").drop(index="000.png")
    found = meta_rank(several, dict.fromkeys(several, True))
    assert set(found.table["method"]) == {f"m{n}" for n in range(5)} and found.n_images == 11
    assert found.notes == ("not ranked by every board, so left out: m5",)
    with pytest.raises(XaibenchError, match="have 1 ranked methods and 11 images in common"):
        meta_rank({"a": several["a"][["m1"]], "b": several["b"]}, {"a": True, "b": True})
    elsewhere = several["a"].set_axis([f"x{n}" for n in range(12)])
    with pytest.raises(XaibenchError, match="and 0 images in common"):
        meta_rank({"a": elsewhere, "b": several["b"]}, {"a": True, "b": True})
    with pytest.raises(XaibenchError, match="two boards or more"):
        meta_rank({"a": several["a"]}, {"a": True})


def test_a_board_on_which_all_methods_tie_is_undefined_and_says_so(several):
    several["d"] = several["d"] * 0
    found = meta_rank(several, dict.fromkeys(several, True))
    boards = found.boards.set_index("name")
    assert np.isnan(found.tau) and boards["tau"].isna().all(), "each of them meets d"
    assert "undefined, as a board ties all methods" in found.caption
    assert json.loads(found.to_json())["tau"] is None


def test_a_larger_change_of_the_setting_moves_ranks_more():
    """Simulated: boards whose true means share less are less alike, and the setting that does it comes first."""
    rng = np.random.default_rng(1)
    means, other = rng.normal(size=(2, 10))
    noise = lambda: 0.05 * rng.normal(size=(20, 10))  # noqa: E731
    boards = {"a": frame(means + noise()), "b": frame(means + noise()), "c": frame(other + noise())}
    settings = {"a": {"seed": 0, "baseline": 0}, "b": {"seed": 1, "baseline": 0}, "c": {"seed": 0, "baseline": 1}}
    found = meta_rank(boards, dict.fromkeys(boards, True), settings=settings)
    assert found.factors["setting"].tolist() == ["baseline", "seed"] and found.factors["tau"][1] > 0.8
    assert found.boards["name"][0] == "c"


# From a results folder ----------------------------------------------------------------------------------------------


def fill(kit, store, contexts: dict[str, dict]) -> None:
    rng = np.random.default_rng(0)
    ids = kit.ids(8)
    for number, context in enumerate(contexts.values()):
        cells = [kit.cell(f"m{n}", context=context) for n in range(5)]
        cells.append(kit.cell("random", "control", context=context))
        scores = [dict(zip(ids, rng.normal(n, 0.5, 8).tolist(), strict=True)) for n in range(6)]
        kit.record(store, cells, scores, ids, started=f"2026-01-0{number + 1}T00:00:00+00:00")


@pytest.fixture
def filled(kit, store):
    label = "idsds (grid {}, {} baseline)"
    fill(kit, store, {
        "first": kit.context(label=label.format(4, "zero")),
        "grid": kit.context(label=label.format(8, "zero"), settings={"grid": 8}),
        "seed": kit.context(label=label.format(4, "zero")) | {"seed": 1},
        "model": kit.context("vgg16", label=label.format(4, "zero")),
        "protocol": kit.context(name="sds", label="sds (grid 4)"),
    })  # fmt: skip
    return store


def test_boards_of_one_protocol_that_differ_in_settings_or_seed_are_taken(filled):
    found = meta_rank_of_boards(filled, "idsds", model="resnet50")
    assert sorted(found.boards["name"]) == ["grid 4, seed 0", "grid 4, seed 1", "grid 8, seed 0"]
    assert sorted(found.factors["setting"]) == ["grid", "seed"] and found.factors["n_pairs"].tolist() == [1, 1]
    assert len(found.table) == 5, "controls are not ranked"
    assert found.title.startswith("ranks across settings and seeds · idsds · resnet50")
    with pytest.raises(XaibenchError, match="no two boards that differ in the setting or seed alone"):
        meta_rank_of_boards(filled, "sds")


@pytest.mark.slow
@pytest.mark.process  # figures
def test_the_command_prints_and_draws_it(filled, command, tmp_path):
    for format_ in ("table", "md", "csv", "json", "html"):
        status, text, error = command("leaderboard", "idsds", "--meta-rank", "--out", filled.root, "--format", format_)
        assert status == 0 and "m4" in text, error
        assert format_ == "csv" or "grid 8" in text
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    for path in (first, second):
        status, text, error = command("leaderboard", "idsds", "--meta-rank", "--out", filled.root, "--figure", path)
        assert status == 0 and "figure:" in text, error
    assert first.read_bytes() == second.read_bytes() and "m4" in first.read_text()
    for words, message in (
        (("--meta-rank",), "name a protocol"), (("idsds", "--meta-rank", "--agree"), "make different tables"),
        (("idsds", "--meta-rank", "--metric", "x"), "--meta-rank compares several boards"),
        (("sds", "--meta-rank"), "no two boards that differ in the setting or seed alone"),
    ):  # fmt: skip
        status, _, error = command("leaderboard", *words, "--out", filled.root)
        assert status and message in error and error.count("\n") == 1
