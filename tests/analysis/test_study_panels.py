"""Figures of studies as the papers draw them: the numbers of each panel, and files that are drawn."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from xaibench import registry
from xaibench.analysis.arm import Arm
from xaibench.analysis.printed import beside
from xaibench.analysis.reproduction import Panel, Reproduction
from xaibench.analysis.verdicts import Measured
from xaibench.cards.study import Drawn
from xaibench.errors import XaibenchError
from xaibench.report.reproduction_figure import reproduction_figure
from xaibench.reproduction.panels import GROUPS, panels


def card(*figure):
    return SimpleNamespace(figure=figure)


def board(means, higher=True):
    table = pd.DataFrame({"method": list("abc"), "mean": means, "rank": pd.array([1, 2, None], dtype="Int64")})
    return SimpleNamespace(table=table, higher_is_better=higher, metric="rho")


def test_the_best_ranked_score_stands_against_the_accuracy():
    boards = {"one": board([0.5, 0.7, 0.9]), "low": board([0.5, 0.7, 0.1], higher=False), "unknown": board([1, 2, 3])}
    measured = Measured(boards, {"one": 0.9, "low": 0.8, "unknown": np.nan}, {}, {})
    (panel,) = panels(card(Drawn(kind="accuracy")), measured, ())
    assert panel.table.to_dict("list") == {
        "x": [0.9, 0.8],
        "y": [0.7, 0.5],
        "series": ["one", "low"],
        "group": ["", ""],
    }


def test_a_front_has_a_point_for_each_training_with_known_accuracy():
    scores = np.arange(2 * 3 * 2, dtype=float).reshape(2, 3, 2)
    known = {"m: x": (0.5, np.nan), "n: y": (0.6, 0.7)}
    arms = [
        Arm(name, scores + place, ("ixg", "random"), ("method", "control"), ("a", "b", "c"), accuracies)
        for place, (name, accuracies) in enumerate(known.items())
    ]
    study = SimpleNamespace(
        arms={arm.name: arm for arm in arms}, metric="epg", protocol="epg", protocol_label="epg, alpha 1"
    )
    measured = Measured({}, {}, {"c": [study]}, {})
    (panel,) = panels(card(Drawn(kind="front", comparison="c", protocol="epg")), measured, ())
    assert panel.table["x"].tolist() == [0.5, 0.6, 0.7] and panel.table["y"].tolist() == [2.0, 3.0, 9.0]
    assert panel.table["series"].tolist() == ["x", "y", "y"] and panel.table["group"].tolist() == ["m", "n", "n"]
    assert panel.y == "epg" and not panels(card(Drawn(kind="front", comparison="gone")), measured, ())
    assert not panels(card(Drawn(kind="front", comparison="c", protocol="box-iou")), measured, ())


def test_accuracies_of_a_group_stand_against_those_of_all_images():
    right = np.array([[1, 1, 0, 0], [0, 1, 1, 1]], bool)
    shape = np.zeros((2, 4, 1))
    named = ("ixg",), ("method",), tuple("abcd")
    arms = [
        Arm("m: x", shape, *named, correct=right, groups=("own", "other", "other", "")),
        Arm("unknown", shape, *named, groups=("own", "other", "other", "")),
        Arm("ungrouped", shape, *named, correct=right),
    ]
    study = SimpleNamespace(arms={arm.name: arm for arm in arms}, protocol="epg", protocol_label="epg")
    measured = Measured({}, {}, {"c": [study], "d": [study]}, {})
    drawn = Drawn(kind="group-accuracy", comparison="c", group=("G3", "other"))
    (panel,) = panels(card(drawn), measured, ())
    assert panel.table.to_dict("list") == {
        "x": [0.5, 0.75], "y": [0.5, 1.0], "series": ["x", "x"], "group": ["m", "m"]
    }  # fmt: skip
    assert (panel.x, panel.y) == ("accuracy on all images", "c: accuracy on other")
    assert not panels(card(drawn.model_copy(update={"group": ("G3",)})), measured, ())
    assert Drawn(kind="group-accuracy", comparison="c", group="other").group == ("other",)
    with pytest.raises(ValueError, match="'group-accuracy' needs group"):
        Drawn(kind="group-accuracy", comparison="c")


def test_a_line_is_of_arms_that_differ_in_the_option_alone():
    options = {
        "m: baseline": ("", {}), "m: without": ("guided", {"lambda": 0.0}),
        "m: E, few, 1 %": ("guided", {"lambda": 1, "fraction": 0.01}),
        "m: E, few, 10 %": ("guided", {"lambda": 1, "fraction": 0.1}), "m: E, few": ("guided", {"lambda": 1}),
        "m: L, 1 %": ("guided", {"lambda": 1, "loss": "l1", "fraction": 0.01}),
    }  # fmt: skip
    kinds = ("method", "control")
    arms = {
        name: Arm(name, np.full((2, 3, 2), [[[place, 99]], [[place + 1, 99]]]), ("ixg", "random"), kinds, tuple("abc"),
                  (0.5, 0.1 * place))
        for place, name in enumerate(options)
    }  # fmt: skip
    study = SimpleNamespace(arms=arms, metric="epg", protocol="epg", protocol_label="epg, alpha 1")
    measured = Measured({}, {}, {"c": [study]}, {})
    cards = {name[3:]: SimpleNamespace(way=way, options=given) for name, (way, given) in options.items()}
    drawn = Drawn(kind="lines", comparison="c", protocol="epg", option="fraction")
    (panel,) = panels(card(drawn), measured, (), {"c": cards})
    found = panel.table.groupby("series", sort=False)[["x", "y"]].agg(list).to_dict("index")
    assert panel.x == "fraction" and panel.y == "epg" and list(found) == [
        "baseline, m", "without, m", "E, few, m", "L, 1 %, m"
    ]  # fmt: skip
    assert np.isnan([found[name]["x"] for name in ("baseline, m", "without, m")]).all()
    assert found["E, few, m"] == {"x": [0.01, 0.01, 0.1, 0.1, 1, 1], "y": [2, 3, 3, 4, 4, 5]}
    (panel,) = panels(card(drawn.model_copy(update={"accuracy": True})), measured, (), {"c": cards})
    assert panel.y == "accuracy"
    assert panel.table["y"].tolist() == pytest.approx([y for place in range(6) for y in (0.5, 0.1 * place)])


def test_lines_are_drawn_through_means_and_levels_are_dashed():
    from matplotlib.figure import Figure

    from xaibench.report.reproduction_panels import draw_panel

    table = pd.DataFrame({
        "x": [0.01, 0.01, 1, 1, np.nan, np.nan], "y": [1.0, 2, 5, 7, 3, 4], "series": ["E"] * 4 + ["none"] * 2
    })  # fmt: skip
    axes = Figure().subplots()
    draw_panel(axes, Panel("lines", table, "fraction", "epg"))
    line, marks, level = axes.lines
    assert line.get_xydata().tolist() == [[0.01, 1.5], [1, 6]] and marks.get_ydata().tolist() == [1, 2, 5, 7]
    assert set(level.get_ydata()) == {3.5} and level.get_linestyle() == "--" and axes.get_xscale() == "log"
    draw_panel(axes := Figure().subplots(), Panel("lines", table.assign(x=[0, 0, 0.5, 0.5, 0, 0.5]), "dilate", "epg"))
    assert axes.get_xscale() == "linear"


def test_boxes_hold_as_many_rows_each_by_size(store, kit):
    from xaibench.analysis.boards import boards
    from xaibench.analysis.leaderboard import open_board

    count = 5 * GROUPS
    ids = kit.ids(count)
    pixels, scores = np.random.default_rng(0).permutation(np.arange(1.0, count + 1)), np.linspace(0.1, 0.9, count)
    kit.record(store, [kit.cell("ixg")], [dict(zip(ids, map(float, scores), strict=True))], ids)
    made = open_board(store, boards(store)[0], held=True)
    rows = made.source.rows
    both = pd.concat([rows, rows.assign(metric="box-pixels", score=list(pixels))], ignore_index=True)
    context = {**made.context, "protocol": {**made.context["protocol"], "further": {"box-pixels": {}}}}
    source = SimpleNamespace(rows=both, cells=made.source.cells)
    one = SimpleNamespace(require_source=lambda: source, metric=made.metric, table=made.table, context=context)
    measured = Measured({"b": one}, {}, {}, {})
    drawn = Drawn(kind="box-plot", run="b", method="ixg", metric="box-pixels")
    (panel,) = panels(card(drawn), measured, ())
    by_size = scores[np.argsort(pixels)].reshape(GROUPS, 5)
    groups = list(dict.fromkeys(panel.table["group"]))
    assert groups[0] == "1 to 5" and len(groups) == GROUPS
    for group, values in zip(groups, by_size, strict=True):
        assert panel.table.loc[panel.table["group"] == group, "value"].tolist() == pytest.approx(values.tolist())
    (panel,) = panels(card(drawn.model_copy(update={"per_root": True})), measured, ())
    first = scores[np.argsort(pixels)][:5] / np.sqrt([1, 2, 3, 4, 5])
    assert panel.table["value"].tolist()[:5] == pytest.approx(first.tolist()) and "root of box-pixels" in panel.y


def test_boxes_of_right_and_wrong_predictions_hold_their_images(store, kit):
    from xaibench.analysis.boards import boards
    from xaibench.analysis.leaderboard import open_board

    ids, scores = kit.ids(10), np.linspace(0.1, 1.0, 10)
    kit.record(store, [kit.cell("ixg")], [dict(zip(ids, map(float, scores), strict=True))], ids)
    made = open_board(store, boards(store)[0], held=True)
    rows = made.source.rows
    right = rows["image_id"].isin(ids[3:7])
    source = SimpleNamespace(rows=rows.assign(correct=right, label=0), cells=made.source.cells, classes=("a",))
    one = SimpleNamespace(require_source=lambda: source, metric=made.metric, table=made.table, context=made.context)
    drawn = Drawn(kind="box-plot", run="b", method="ixg", by="correctness")
    (panel,) = panels(card(drawn), Measured({"b": one}, {}, {}, {}), ())
    found = {name: sorted(part["value"]) for name, part in panel.table.groupby("group", sort=False)}
    assert list(found) == ["all (10)", "correct (4)", "incorrect (6)"]
    wrong = [*scores[:3], *scores[7:]]
    for own, wanted in zip(found.values(), (scores, scores[3:7], wrong), strict=True):
        assert own == pytest.approx(list(wanted))
    source.rows = rows.assign(correct=None, label=pd.NA)
    (panel,) = panels(card(drawn), Measured({"b": one}, {}, {}, {}), ())
    assert set(panel.table["group"]) == {"all (10)"}


def test_every_kind_is_drawn(tmp_path):
    points = pd.DataFrame({"x": [0.5, 0.6, 0.7], "y": [1.0, 2.0, 3.0], "series": list("aab"), "group": ["m", "m", ""]})
    boxes = pd.DataFrame({"group": ["1 to 2"] * 4 + ["3 to 9"] * 4, "value": np.arange(8.0)})
    bars = panels(card(Drawn(kind="bars")), Measured({}, {}, {}, {}), (beside({"A $x": 3.0}, {}, "seconds"),))
    given = beside({"A $x": 3.0, "B": 1.0, "C": 2.0}, {"A $x": 2.5, "B": 1.0}, "seconds")
    both = panels(card(Drawn(kind="beside")), Measured({}, {}, {}, {}), (given,))
    assert both[0].table.values.tolist() == [[3.0, 2.5, "seconds"], [1.0, 1.0, "seconds"]]
    assert not panels(card(Drawn(kind="beside")), Measured({}, {}, {}, {}), ())
    lines = points.drop(columns="group")
    found = (
        Panel("points", points, "accuracy", "epg"), Panel("lines", lines, "lambda", "epg"),
        Panel("boxes", boxes, "pixels", "epg"), *bars, *both,
    )  # fmt: skip
    study = Reproduction(registry.card("study", "rao-figure-4"), "embedded", (), (), pd.DataFrame(), {}, "", (), found)
    one = reproduction_figure(study, tmp_path / "all.png").stat().st_size
    only = Reproduction(study.card, "embedded", (), (), pd.DataFrame(), {}, "", (), found[:1])
    assert one > reproduction_figure(only, tmp_path / "one.png").stat().st_size > 5000
    assert (
        reproduction_figure(
            Reproduction(study.card, "embedded", (), (), pd.DataFrame(), {}, "", ()), tmp_path / "n.png"
        )
        is None
    )


def test_scores_of_networks_alone_are_points_without_a_line_or_a_name(tmp_path):
    def drawn(name: str) -> str:
        scores = pd.DataFrame({"a": [0.1], "b": [0.2]}, index=[name])
        study = Reproduction(registry.card("study", "hesse-text"), "embedded", (), (), scores, {}, "", ())
        return reproduction_figure(study, tmp_path / "study.svg").read_text()

    networks, method = drawn("(none)"), drawn("ixg")
    assert "legend" in method and "legend" not in networks
    assert networks.count("<use") == method.count("<use") - 1  # the mark in the legend
    assert networks.count('id="line2d') == method.count('id="line2d') - 2  # a line, and the mark in the legend


def test_seconds_of_an_epoch_are_means_over_trainings_of_which_they_are_known():
    known = {"x": (2.0, 4.0, np.nan), "y": (9.0,), "z": (np.nan,), "u": ()}
    arms = {name: SimpleNamespace(name=name, seconds=seconds) for name, seconds in known.items()}
    study = SimpleNamespace(arms=arms, protocol="ses", protocol_label="ses", metric="ses")
    drawn = card(Drawn(kind="seconds", comparison="c"))
    (panel,) = panels(drawn, Measured({}, {}, {"c": [study]}, {}), ())
    assert panel.kind == "bars" and panel.table.values.tolist() == [["x", 3.0], ["y", 9.0]]
    assert not panels(drawn, Measured({}, {}, {}, {}), ())


def test_names_that_are_wider_than_their_columns_stand_aslant_and_whole(tmp_path):
    def drawn(count: int) -> str:
        scores = pd.DataFrame({f"wide_resnet50_{n}": [n / 10] for n in range(count)}, index=["ixg"])
        study = Reproduction(registry.card("study", "hesse-text"), "embedded", (), (), scores, {}, "", ())
        return reproduction_figure(study, tmp_path / "study.svg").read_text()

    few, many = drawn(4), drawn(14)
    assert "rotate(-40" not in few and many.count("rotate(-40") == 14
    assert "wide resnet50 3" in few and "wide_resnet50_13" in many


def test_a_panel_needs_what_it_draws():
    with pytest.raises((XaibenchError, ValueError), match="'box-plot' needs run, method, metric"):
        Drawn(kind="box-plot")
