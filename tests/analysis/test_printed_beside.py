"""Numbers of ours beside printed ones: another metric of a board, and the accuracy of arms on a group of images."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from xaibench import registry
from xaibench.analysis.arm import Arm
from xaibench.analysis.boards import boards
from xaibench.analysis.leaderboard import open_board
from xaibench.analysis.scored_board import Source
from xaibench.analysis.verdicts import Measured
from xaibench.cards import PrintedNumbers
from xaibench.reproduction import reported
from xaibench.reproduction.reproduce import reproduce


@pytest.fixture
def ours(tmp_path, monkeypatch):
    """ours(measured, names, **fields): the numbers that stand beside the printed ones of these names."""
    monkeypatch.setattr(reported, "reported", lambda: tmp_path)
    study = registry.card("study", "hesse-text")

    def compared(measured: Measured, names: dict[str, str], **fields):
        lines = "".join(f"{study.item!r},{name},0.5\n" for name in names).replace("'", '"')
        (tmp_path / "printed.csv").write_text(f"item,name,x\n{lines}")
        known = {name: ours for name, ours in names.items() if ours}
        printed = PrintedNumbers(file="printed.csv", key=("name",), value="x", ours=known, **fields)
        card = study.model_copy(update={"printed": (printed,), "claims": (), "figure": ()})
        return reproduce(card, "embedded", measured).beside[0].table["ours"].tolist()

    return compared


def test_another_metric_of_a_board_has_its_own_mean(store, kit, ours):
    ids, first, other = kit.ids(6), np.linspace(0.1, 0.6, 6), np.array([1.0, 4, 9, 16, 25, 36])
    kit.record(store, [kit.cell("ixg")], [dict(zip(ids, map(float, first), strict=True))], ids)
    made = open_board(store, boards(store)[0], held=True)
    rows = made.source.rows
    more = rows.assign(metric="pixels", score=rows["image_id"].map(dict(zip(ids, other, strict=True))))
    both, protocol = pd.concat([rows, more], ignore_index=True), {**made.context["protocol"], "further": {"pixels": {}}}
    made = replace(
        made, context={**made.context, "protocol": protocol}, source=Source(lambda: both, made.source.cells, tuple(ids))
    )
    names = {"a": "ixg@b", "b": "ixg@b:pixels", "c": "ixg@gone:pixels", "d": "rise@b:pixels", "e": "ixg@b:gone"}
    found = ours(Measured({"b": made}, {}, {}, {}), names)
    assert found[:2] == pytest.approx([first.mean(), other.mean()]) and np.isnan(found[2:]).all()


def test_means_of_classes_and_of_right_and_wrong_predictions(store, kit, ours):
    ids, scores = kit.ids(6), np.array([0.1, 0.2, 0.4, 0.7, 0.8, 0.9])
    kit.record(store, [kit.cell("ixg")], [dict(zip(ids, map(float, scores), strict=True))], ids)
    made = open_board(store, boards(store)[0], held=True)
    place = made.source.rows["image_id"].map(dict(zip(ids, range(6), strict=True)))
    label = (place % 2).astype("Int64")
    rows = made.source.rows.assign(target=label, label=label, correct=place.isin([0, 1, 5]))
    source = Source(lambda: rows, made.source.cells, tuple(ids), ("shiba_inu", "pug"))
    measured = Measured({"b": replace(made, source=source)}, {}, {}, {})
    found = ours(measured, dict.fromkeys(["Shiba Inu", "Pug", "Boxer"]), by="class", run="b", method="ixg")
    assert found[:2] == pytest.approx([scores[::2].mean(), scores[1::2].mean()]) and np.isnan(found[2])
    for group, expected in (("correct", scores[[0, 1, 5]].mean()), ("incorrect", scores[[2, 3, 4]].mean())):
        assert ours(measured, {"x": "ixg@b"}, by="correctness", group=group) == pytest.approx([expected])
    unknown = replace(source, read=lambda: rows.assign(correct=None))
    measured = Measured({"b": replace(made, source=unknown)}, {}, {}, {})
    assert np.isnan(ours(measured, {"x": "ixg@b"}, by="correctness", group="correct")).all()


def test_accuracies_of_arms_are_those_of_a_group_or_of_all_images(ours):
    right = np.array([[True, True, False, True], [True, False, False, False]])
    arms = {
        "guided": Arm("guided", np.zeros((2, 4, 1)), ("ixg",), ("method",), tuple("abcd"), correct=right,
                      groups=("G1", "G3", "G3", "G3")),
        "unknown": Arm("unknown", np.zeros((2, 4, 1)), ("ixg",), ("method",), tuple("abcd")),
    }  # fmt: skip
    study = SimpleNamespace(arms=arms, metric="epg", protocol="epg", protocol_label="epg")
    measured, names = Measured({}, {}, {"c": [study]}, {}), {"x": "guided", "y": "unknown", "z": "gone"}
    for group, expected in ((("other", "G3"), 2 / 6), (("G1",), 1.0), ((), 4 / 8)):
        found = ours(measured, names, comparison="c", accuracy=True, group=group)
        assert found[0] == pytest.approx(expected) and np.isnan(found[1:]).all()
    assert np.isnan(ours(measured, names, comparison="c", accuracy=True, group=("G7",))).all()
    assert np.isnan(ours(measured, names, comparison="absent", accuracy=True)).all()
