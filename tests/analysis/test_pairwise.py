"""Pairs of methods: differences, effect sizes and p against SciPy and statsmodels, and their pages."""

from __future__ import annotations

import csv
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import permutation_test

from xaibench.analysis.leaderboard import leaderboard
from xaibench.analysis.pairwise import COLUMNS, effect_sizes, pairwise
from xaibench.errors import XaibenchError

SCORES = {
    "a": [0.9, 0.8, 0.7, 0.9, 0.8, 0.9, 0.7, 0.8, 0.9, 0.8],
    "b": [0.5, 0.8, 0.6, 0.4, 0.9, 0.6, 0.7, 0.5, 0.6, 0.4],
    "twin": [0.5, 0.8, 0.6, 0.4, 0.9, 0.6, 0.7, 0.5, 0.6, 0.4],
    "c": [0.1, "undefined-map", 0.3, 0.1, 0.0, 0.2, 0.1, 0.4, 0.2, 0.1],
    "chance": [0.0] * 10,
}


@pytest.fixture
def board(kit):
    return made(kit, SCORES)


def made(kit, scores, context=None):
    cells = [kit.cell(name, kind="control" if name == "chance" else "method", context=context) for name in scores]
    names = kit.ids(len(scores["a"]))
    rows = [
        pd.DataFrame(kit.rows(cell, dict(zip(names, scores[cell.method_name], strict=True)))).assign(
            label=1, correct=True
        )
        for cell in cells
    ]
    return leaderboard(pd.concat(rows), cells, names)


def test_each_pair_of_ranked_methods_once_the_better_first(board):
    table = board.pairwise().table
    assert tuple(table.columns) == COLUMNS
    assert list(zip(table["first"], table["second"], strict=True)) == [
        ("a", "b"), ("a", "twin"), ("a", "c"), ("b", "twin"), ("b", "c"), ("twin", "c"),
    ]  # fmt: skip
    assert (table["n_images"] == 10).all()


def test_numbers_by_scipy(board):
    scores = board.image_scores()
    for row in board.pairwise().table.to_dict("records"):
        x, y = scores[row["first"]].to_numpy(), scores[row["second"]].to_numpy()
        assert row["difference"] == pytest.approx(x.mean() - y.mean(), abs=1e-12)
        expected = permutation_test(
            (x, y), lambda a, b, axis: np.mean(a - b, axis=axis), permutation_type="samples", n_resamples=np.inf,
            vectorized=True,
        ).pvalue  # fmt: skip
        assert row["p"] == pytest.approx(expected, abs=1e-12)


def test_holm_is_over_all_pairs(board):
    multipletests = pytest.importorskip("statsmodels.stats.multitest").multipletests
    table = board.pairwise().table
    assert table["p_holm"].to_numpy() == pytest.approx(multipletests(table["p"], method="holm")[1], abs=1e-12)


def test_effect_sizes_by_hand():
    difference, d_z, superiority, tied = effect_sizes(np.array([1.0, 2, 3, 3]), np.array([0.0, 2, 4, 1]))
    assert (difference, superiority, tied) == (0.5, 0.625, 1)  # two better, one tied, one worse
    assert d_z == pytest.approx(0.5 / np.sqrt(5 / 3))  # differences 1, 0, -1, 2
    assert effect_sizes(np.array([1.0, 2, 3, 3]), np.array([0.0, 2, 4, 1]), higher=False)[2] == 0.375
    for constant in (np.full(4, 0.3), np.zeros(4)):
        assert np.isnan(effect_sizes(constant + 0.1, np.full(4, 0.1))[1])


def test_identical_methods_are_tied(board):
    row = board.pairwise().table.set_index(["first", "second"]).loc[("b", "twin")]
    assert (row["p"], row["p_holm"], row["superiority"], row["n_tied"], row["difference"]) == (1, 1, 0.5, 10, 0)
    assert not row["surely_better"] and np.isnan(row["d_z"])


def test_the_verdict_is_the_boards(board):
    """Whatever p says: no table contradicts the board."""
    found = board.pairwise()
    for row in found.table.to_dict("records"):
        assert row["surely_better"] == board.surely_better.loc[row["first"], row["second"]]
    none = pd.DataFrame(False, index=found.methods, columns=found.methods)
    every = pairwise(board, ~none).table
    assert every["surely_better"].all() and not pairwise(board, none).table["surely_better"].any()
    told, holm = pairwise(board, none), int((every["p_holm"] <= 0.05).sum())
    assert holm and f"{holm} pairs with p_holm <= 0.05 cannot be told apart by the board" in told.caption
    one = none.copy()
    one.loc["b", "twin"] = True
    assert "by the board, and 1 pair with a larger p_holm can." in pairwise(board, one).caption
    lines = [line for line in told.to_text().splitlines() if line.endswith(("not told apart", "identical"))]
    assert len(lines) == 6 and "surely better\n" not in told.to_text()


def test_lower_is_better_turns_the_pairs_round(kit, board):
    upside_down = {name: [-v if not isinstance(v, str) else v for v in values] for name, values in SCORES.items()}
    table = made(kit, upside_down, kit.context(higher_is_better=False)).pairwise().table
    before = board.pairwise().table
    assert table["difference"].tolist() == pytest.approx((-before["difference"]).tolist(), abs=1e-12)
    assert table["ci_low"].tolist() == pytest.approx((-before["ci_high"]).tolist(), abs=1e-12)
    columns = ["first", "second", "superiority", "n_tied", "p", "p_holm", "surely_better"]
    assert table[columns].equals(before[columns])


def test_images_that_a_method_has_no_score_of_are_left_out_as_on_the_board(kit):
    """One of two methods has an instance whose reference is undefined, and no other row of that image."""
    cells, names = [kit.cell("a"), kit.cell("b")], kit.ids(9)
    scores = [dict(zip(names, SCORES[name], strict=False)) for name in ("a", "c")]
    scores[1] |= {names[1]: "undefined-reference"}
    rows = [kit.rows(cell, values, unit="instance") for cell, values in zip(cells, scores, strict=True)]
    board = leaderboard(pd.concat(map(pd.DataFrame, rows)).assign(label=1, correct=True), cells, names)
    assert board.table["rank"].notna().all()
    row = board.pairwise().table.iloc[0]
    assert row["n_images"] == 8 and board.winner.splits
    assert row["difference"] == pytest.approx(board.table["mean"][0] - board.table["mean"][1], abs=1e-12)


def test_few_images_are_said_to_be_too_few(kit):
    found = made(kit, {name: values[:5] for name, values in SCORES.items()}).pairwise()
    assert "p is at least 0.062 with 5 images, which is 0.38 after Holm's step over 6 pairs" in found.notes[-1]
    assert found.table[["ci_low", "ci_high"]].isna().all(axis=None)
    seven = made(kit, {name: values[:7] for name, values in SCORES.items()}).pairwise()
    assert "p is at least 0.016 with 7 images, which is 0.094 after" in seven.notes[-1]
    assert not any("Holm" in note for note in made(kit, SCORES).pairwise().notes)


def test_one_method_has_no_pair(kit):
    with pytest.raises(XaibenchError, match="a pair needs two ranked methods; this board has 1"):
        made(kit, {"a": SCORES["a"], "chance": SCORES["chance"]}).pairwise()


@pytest.fixture
def folder(kit, store):
    cells = [kit.cell(name, kind="control" if name == "chance" else "method") for name in SCORES]
    names = kit.ids(10)
    kit.record(store, cells, [dict(zip(names, SCORES[cell.method_name], strict=True)) for cell in cells], names)
    return store.root


@pytest.mark.slow
def test_every_format_and_the_figure(folder, command, tmp_path):
    words = ("leaderboard", "idsds", "--out", folder, "--pairs")
    status, text, _ = command(*words)
    assert (
        status == 0
        and "identical" in text
        and "6 pairs of 4 ranked methods on 10 images" in text
        and "all 1024 flips" in text
    )
    assert "n_tied" in text
    rows = list(csv.DictReader(io.StringIO(command(*words, "--format", "csv")[1])))
    assert [tuple(row) for row in rows[:1]] == [COLUMNS] and len(rows) == 6
    assert rows[3]["d_z"] == "" and rows[3]["p_holm"] == "1.0"
    value = json.loads(command(*words, "--format", "json")[1])
    assert value["flips"] == {"count": 512, "exact": True} and value["rows"][3]["d_z"] is None
    assert "| first | second |" in command(*words, "--format", "md")[1]
    assert '<th scope="row" style="text-align: left">a</th>' in command(*words, "--format", "html")[1]
    picture = tmp_path / "pairs.svg"
    assert command(*words, "--figure", picture)[0] == 0
    drawn = picture.read_text()
    assert all(f">{name}<" in drawn for name in ("a", "b", "twin", "c")) and ">chance<" not in drawn
    shares = [float(row["superiority"]) for row in rows]
    numbers = sorted(f"{100 * share:.0f}" for value in shares for share in (value, 1 - value))
    assert sorted(re.findall(r">(\d+)</text>", drawn)) == numbers
    assert command(*words, "--figure", tmp_path / "again.svg")[0] == 0
    assert (tmp_path / "again.svg").read_bytes() == picture.read_bytes()


@pytest.mark.parametrize("other", [("--by", "class"), ("--correlate", "size"), ("--by", "model")])
def test_options_that_make_other_tables_are_refused(folder, command, other):
    status, _, error = command("leaderboard", "idsds", "--out", folder, "--pairs", *other)
    assert status == 2 and error.strip() == (
        f"xaibench: {other[0]} and --pairs make different tables; give one of them"
    )
