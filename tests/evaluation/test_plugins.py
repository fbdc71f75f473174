"""Runs with other people's methods, protocols, data sets and cards: what is ranked, another cell, or an error."""

from __future__ import annotations

import pytest

import xaibench
from xaibench.errors import XaibenchError
from xaibench.evaluation.plugin_errors import in_one_line

PROTOCOL = """
from dataclasses import dataclass
import torch, xaibench

@xaibench.protocol("mass", metric="mass", range=(0, 9), higher_is_better=True, undefined_cost=0, wide=False)
@dataclass(frozen=True)
class Mass(xaibench.Protocol):
    \"\"\"The mean of the map.\"\"\"
    target: str = "prediction"
    wide: bool = True
    def prepare(self, e):
        {prepare}
    def score(self, prepared, maps):
        values = maps.mean((1, 2, 3)).double()
        bad = torch.zeros(len(maps), dtype=torch.bool)
        {score}
"""
SCORE = "return xaibench.status_of(values, bad, bad)"
METHOD = """
import xaibench
from helper import factor

@xaibench.method("{name}")
def mine(evidence):
    return factor * evidence.gradient()
"""


def run(protocol="sds", **changes):
    arguments = {"model": "tiny", "dataset": "mini", "methods": "ixg", "out": "results", "images": 4, "quiet": True}
    return xaibench.run(protocol, **(arguments | changes))


def protocol_file(tmp_path, prepare="return None", score=SCORE):
    path = tmp_path / "mass.py"
    path.write_text(PROTOCOL.format(prepare=prepare, score=score))
    return path


def test_a_protocol_of_a_plugin_is_scored_with_its_settings(home, tmp_path):
    results = run("mass", plugins=[protocol_file(tmp_path)])
    board = results.leaderboard()
    assert board.context["protocol"]["settings"] == {"target": "prediction", "wide": False}
    e = results.rows
    assert e["metric"].unique().tolist() == ["mass"] and (e["target"] == e["prediction"]).all()
    assert run("mass", plugins=[protocol_file(tmp_path)], settings={"wide": True}).boards != results.boards


def test_an_edited_protocol_is_another_board(home, tmp_path):
    first = run("mass", plugins=[protocol_file(tmp_path)]).boards
    assert run("mass", plugins=[protocol_file(tmp_path)]).boards == first
    assert run("mass", plugins=[protocol_file(tmp_path, prepare="return 1")]).boards != first


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"prepare": "raise KeyError('edge')"}, "protocol mass failed: KeyError: 'edge'"),
        ({"score": "return values.tolist()"}, "protocol mass gave list, not Scores"),
        ({"score": "return xaibench.Scores(values[:1], ['ok'])"}, "gave 1 scores and 1 statuses for 4 maps"),
        ({"score": "return xaibench.Scores(values, ['fine'] * 4)"}, "gave the status 'fine'"),
        ({"score": "return xaibench.Scores(values * torch.nan, ['ok'] * 4)"}, "gave the score nan with status 'ok'"),
        ({"score": "return xaibench.Scores(values, ['undefined-map'] * 4)"}, r"gave the score .* 'undefined-map'"),
    ],
)
def test_a_protocol_that_fails_is_told_in_one_line(home, tmp_path, part, message):
    with pytest.raises(XaibenchError, match=message):
        run("mass", plugins=[protocol_file(tmp_path, **part)])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("np.zeros((32, 32))", r"image 0 is float64 \(32, 32\), not uint8 \(32, 32, 3\)"),
        ("np.zeros((16, 32, 3), np.uint8)", r"is uint8 \(16, 32, 3\)"),
        ("[[0]]", "is list, not uint8"),
        ("np.zeros((32, 32, 3), np.uint8), 12", "has class 12 of 10"),
    ],
)
def test_a_data_set_that_loads_something_else_is_told_in_one_line(home, tmp_path, image, message):
    path = tmp_path / "data.py"
    label = "" if ", 12" in image else ", 0"
    path.write_text(
        "import numpy as np, xaibench\n"
        "@xaibench.dataset('mine', geometry={'resize': 32, 'crop': 32}, needs_root=False)\n"
        "class Mine(xaibench.Dataset):\n"
        "    name, classes, ids = 'mine', tuple('abcdefghij'), ['0']\n"
        "    def __init__(self, size): pass\n"
        f"    def load(self, image_id): return xaibench.Sample('0', {image}{label}, '0')\n"
        "    def digest(self, image_id): return '0'\n"
    )
    run(methods="ixg")  # so that there are weights for ten classes
    from xaibench.models.trained import trained_weights

    weights = next(w.path for w in trained_weights("tiny", "mini") if w.header["alignment"] is None)
    with pytest.raises(XaibenchError, match=message):
        run(dataset="mine", plugins=[path], weights=str(weights))


@pytest.mark.process
def test_an_edit_beside_the_plugin_or_in_a_card_is_another_cell(home, tmp_path, monkeypatch):
    """No stale rows: neither after an edit of what a plug-in imports, nor of a card's target."""
    import sys

    (tmp_path / "mine.py").write_text(METHOD.format(name="mine"))
    keys = []
    for factor in (1, -1):
        (tmp_path / "helper.py").write_text(f"factor = {factor}\n")
        monkeypatch.delitem(sys.modules, "helper", raising=False)
        results = run(methods="mine", plugins=[tmp_path / "mine.py"])
        assert results.computed == 4
        keys += results.cells
        scores = results.rows[results.rows["cell"] == results.cells[0]]["score"].mean()
        keys.append(round(scores, 9))
    assert keys[0] != keys[2] and keys[1] == pytest.approx(-keys[3]), "the edited helper counts"
    monkeypatch.delitem(sys.modules, "helper", raising=False)

    cards = tmp_path / "cards" / "methods"
    cards.mkdir(parents=True)
    targets = ["xaibench.attribution.gradients:gradient", "xaibench.attribution.gradients:gradient_magnitude"]
    (tmp_path / "own.py").write_text("def a(e):\n    return e.inputs\n\ndef b(e):\n    return -e.inputs\n")
    cells = []
    for target in [*targets, "../../own.py:a", "../../own.py:b"]:
        (cards / "carded.toml").write_text(f'title = "x"\ntarget = "{target}"\n')
        cells += run(methods="carded", cards=[tmp_path / "cards"]).cells
    assert len(set(cells)) == 4


def test_methods_that_come_with_the_command_run_by_default(home, tmp_path):
    cards = tmp_path / "cards" / "methods"
    cards.mkdir(parents=True)
    (cards / "carded.toml").write_text('title = "x"\ntarget = "xaibench.attribution.gradients:gradient"\n')
    results = run(methods=None, images=1, cards=[tmp_path / "cards"])
    assert "carded" in set(results.rows["method"])


def test_a_folder_that_holds_no_cards_is_refused(home, tmp_path):
    with pytest.raises(XaibenchError, match=r"is not a folder of cards: it has none of methods/"):
        run(cards=[tmp_path])


def test_an_error_names_the_line_of_the_users_own_code(tmp_path):
    """What it calls of Python or of a package is not named; without code of the user nothing is."""
    path = tmp_path / "mine.py"
    path.write_text("import json, torch\n\ndef parse():\n    json.loads('{')\n\ndef add():\n    torch.ones(2) @ 'x'\n")
    space: dict = {}
    exec(compile(path.read_text(), str(path), "exec"), space)
    for name, kind, line in (("parse", "JSONDecodeError", 4), ("add", "TypeError", 7)):
        with pytest.raises((ValueError, TypeError)) as caught:
            space[name]()
        text = in_one_line(caught.value.with_traceback(caught.tb.tb_next))  # without the frame of this test
        assert text.startswith(f"{kind}: ") and text.endswith(f" (mine.py, line {line})")
    assert in_one_line(ValueError("x")) == "ValueError: x" and in_one_line(XaibenchError("y")) == "y"
