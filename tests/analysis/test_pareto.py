"""The Pareto front: its definition by brute force, ties, and what is left out."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xaibench.analysis.across_models import across_models
from xaibench.analysis.leaderboard import open_leaderboard
from xaibench.analysis.pareto import beats, pareto_front, pareto_of_costs, pareto_of_models
from xaibench.errors import XaibenchError

points = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=9)


@given(points, st.booleans(), st.booleans())
def test_the_front_is_what_nothing_beats_by_the_definition(listed, x_high, y_high):
    x, y = (np.array(values, dtype=float) for values in zip(*listed, strict=True))
    good = [((a if x_high else -a), (b if y_high else -b)) for a, b in listed]
    front = [
        not any(u >= a and v >= b and (u > a or v > b) for u, v in good)
        for a, b in good
    ]  # fmt: skip
    assert pareto_front(x, y, x_high, y_high).tolist() == front
    assert any(front), "something is always on the front"


def test_ties_rounding_and_missing_numbers():
    x, y = np.array([1.0, 1.0, 1.0, 2.0, np.nan, 0.5]), np.array([0.3, 0.1 + 0.2, 0.2, 0.3, 0.9, np.nan])
    assert pareto_front(x, y).tolist() == [True, True, False, False, False, False]
    assert beats(x, y)[:, 2].tolist() == [True, True, False, False, False, False]


COSTS = {"cheap": 3.0, "good": 48.0, "bad": 48.0, "same": 3.0}
MEANS = {"cheap": 0.5, "good": 0.9, "bad": 0.4, "same": 0.5}


def cost(passes: float) -> dict:
    return {
        "images": 4, "maps": 4, "forward_equivalents_alone": passes, "forward_equivalents_shared": passes / 2,
        "seconds_alone": passes / 100, "seconds_shared": passes / 200,
    }  # fmt: skip


@pytest.fixture
def filled(kit, store):
    ids = kit.ids(4)
    for number, model in enumerate(("resnet50", "vgg16", "tiny")):
        context = kit.context(model)
        cells = [kit.cell(name, context=context) for name in [*MEANS, "unknown"]]
        cells.append(kit.cell("random", "control", context=context))
        scores = [dict.fromkeys(ids, mean - 0.1 * number) for mean in [*MEANS.values(), 0.1, 0.0]]
        kit.record(
            store, cells, scores, ids, accuracy={"correct": 1 + number % 2, "images": 4},
            costs={name: cost(value) for name, value in COSTS.items()} | {"random": cost(0.0)},
        )  # fmt: skip
    return store


def test_methods_by_their_cost(filled):
    board = open_leaderboard(filled, "idsds", model="resnet50")
    found = pareto_of_costs(board)
    rows = found.table.set_index("method")
    assert rows.index.tolist() == ["cheap", "same", "good", "bad"], "controls and unknown costs are left out"
    assert rows["on_front"].to_dict() == {"cheap": True, "same": True, "good": True, "bad": False}
    assert rows.loc["bad", "beaten_by"] == "good" and rows.loc["good", "beaten_by"] == ""
    assert any("left out, as no run recorded their cost: unknown" in note for note in found.notes)
    assert pareto_of_costs(board, "seconds_shared").table["seconds_shared"].tolist() == [0.015, 0.015, 0.24, 0.24]
    sure = pd.DataFrame(False, index=rows.index, columns=rows.index)
    assert not pareto_of_costs(board, surely_better=sure).table["surely"].any()
    sure.loc["cheap", "bad"] = sure.loc["good", "cheap"] = True  # the latter costs more, so it does not beat it
    surely = pareto_of_costs(board, surely_better=sure).table.set_index("method")["surely"]
    assert surely.to_dict() == {"cheap": False, "same": False, "good": False, "bad": True}
    with pytest.raises(XaibenchError, match="the cost is one of passes"):
        pareto_of_costs(board, "money")


def test_models_by_their_accuracy(filled):
    models = across_models(filled, "idsds", comparable=True)
    found = pareto_of_models(models)
    rows = found.table.set_index("model")
    assert rows["on_front"].to_dict() == {"resnet50": True, "vgg16": True, "tiny": False}
    assert rows.loc["tiny", "beaten_by"] == "resnet50" and rows.index[0] == "vgg16"
    assert any("its mean is higher than on others" in note for note in found.notes)
    with pytest.raises(XaibenchError, match="not made for comparing models"):
        pareto_of_models(across_models(filled, "idsds", comparable=False))


@pytest.mark.slow
@pytest.mark.process  # many pages and figures
def test_the_command_prints_and_draws_both(filled, command, tmp_path):
    for words, x in (((), "passes"), (("--cost", "seconds"), "seconds"), (("--by", "model"), "accuracy")):
        for format_ in ("table", "md", "csv", "json", "html"):
            words_ = ("leaderboard", "idsds", "--pareto", *words, "--out", filled.root, "--format", format_)
            status, text, error = command(*words_)
            assert status == 0 and x in text and "on_front" in text, error
        paths = [tmp_path / f"{number}{x}.svg" for number in range(2)]
        for path in paths:
            assert command("leaderboard", "idsds", "--pareto", *words, "--out", filled.root, "--figure", path)[0] == 0
        assert paths[0].read_bytes() == paths[1].read_bytes() and "good" in paths[0].read_text()
    rows = json.loads(command("leaderboard", "idsds", "--pareto", "--out", filled.root, "--format", "json")[1])["rows"]
    assert {row["method"] for row in rows if row["on_front"]} == {"cheap", "same", "good"}


def test_a_board_without_costs_says_so(kit, store, command):
    ids = kit.ids(4)
    kit.record(store, [kit.cell("ig"), kit.cell("rise")], [dict.fromkeys(ids, 0.1), dict.fromkeys(ids, 0.3)], ids)
    status, _, error = command("leaderboard", "idsds", "--pareto", "--out", store.root)
    assert status and "no run of this board recorded what its methods cost" in error and error.count("\n") == 1
    assert "passes" not in command("leaderboard", "idsds", "--out", store.root)[1]
