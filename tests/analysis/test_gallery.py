"""Which images a gallery shows, on hand-made tables."""

from __future__ import annotations

import pandas as pd
import pytest

from xaibench.analysis.gallery import choose_cells, image_scores, pick_images, select
from xaibench.errors import XaibenchError


def table(kit, scores: dict[str, dict[str, float | str]], kinds=None, **protocol):
    """(scores (images, cells), cells) of methods by name."""
    context = kit.context(**protocol)
    cells = [kit.cell(name, (kinds or {}).get(name, "method"), context=context) for name in scores]
    rows = [
        {"cell": cell.key, "image_id": image, "score": None if isinstance(value, str) else value,
         "status": value if isinstance(value, str) else "ok"}
        for cell, values in zip(cells, scores.values(), strict=True) for image, value in values.items()
    ]  # fmt: skip
    return image_scores(pd.DataFrame(rows), cells), cells


def test_best_typical_and_worst_by_the_mean_over_the_methods(kit):
    one = {f"{i}.png": i / 10 for i in range(9)}
    other = {f"{i}.png": i / 20 for i in range(9)}
    scores, cells = table(kit, {"a": one, "b": other})
    groups = pick_images(scores, cells, 2)
    assert groups.best == ("8.png", "7.png") and groups.worst == ("1.png", "0.png")
    assert groups.typical == ("5.png", "4.png") and groups.total == 9
    assert pick_images(scores, cells, 3).typical == ("5.png", "4.png", "3.png")
    assert len(set(pick_images(scores, cells, 5).images)) == 9, "a third each, no image twice"


def test_lower_may_be_better(kit):
    scores, cells = table(kit, {"a": {f"{i}.png": i / 10 for i in range(3)}}, higher_is_better=False)
    groups = pick_images(scores, cells)
    assert (groups.best, groups.typical, groups.worst) == (("0.png",), ("1.png",), ("2.png",))


def test_ties_are_ordered_by_the_image_id_whatever_the_order_of_rows(kit):
    names = ["d.png", "b.png", "f.png", "a.png", "e.png", "c.png"]
    scores, cells = table(kit, {"a": dict.fromkeys(names, 0.5)})
    shuffled = scores.loc[["f.png", "a.png", "c.png", "e.png", "b.png", "d.png"]]
    for rows in (scores, shuffled):
        assert pick_images(rows, cells, 2).images == sorted(names)


def test_an_undefined_map_counts_at_its_cost_and_an_undefined_reference_leaves_the_image_out(kit):
    scores, cells = table(
        kit,
        {"a": {"u": "undefined-map", "r": 0.9, "x": -0.5, "y": 0.5}, "b": {"u": 0.0, "r": "undefined-reference",
         "x": -0.5, "y": 0.5}},
        undefined_cost=-1.0,
    )  # fmt: skip
    assert "r" not in scores.index and scores.loc["u"].tolist() == [-1.0, 0.0]
    groups = pick_images(scores, cells)
    assert groups.total == 3 and groups.best == ("y",) and set(groups.images) == {"u", "x", "y"}


def test_images_that_lack_a_method_are_left_out_and_none_left_is_an_error(kit):
    scores, cells = table(kit, {"a": {"x": 0.1, "y": 0.2}, "b": {"y": 0.3}})
    assert pick_images(scores, cells).images == ["y"] and pick_images(scores, cells).typical == ("y",)
    with pytest.raises(XaibenchError, match="no image has a score of every method"):
        pick_images(*table(kit, {"a": {"x": 0.1}, "b": {"y": 0.3}}))


def test_one_and_two_images(kit):
    assert tuple(pick_images(*table(kit, {"a": {"x": 0.1, "y": 0.2}})))[:3] == (
        ("best", ("y",)), ("typical", ()), ("worst", ("x",)),
    )  # fmt: skip


def test_the_oracle_does_not_decide(kit):
    scores, cells = table(
        kit, {"a": {"x": 0.1, "y": 0.2, "z": 0.3}, "o": {"x": 9.0, "y": 1.0, "z": 0.0}}, {"o": "oracle"}
    )
    assert pick_images(scores, cells).best == ("z",)
    assert pick_images(scores, cells[1:]).best == ("x",), "unless it stands alone"


def test_default_methods_are_the_best_four_ranked_and_the_oracle(kit):
    means = {"c": 0.9, "m1": 0.1, "m2": 0.5, "m3": 0.4, "m4": 0.3, "m5": 0.2, "o": 1.0}
    kinds = {"c": "control", "o": "oracle", "m4": "variant"}
    scores, cells = table(kit, {name: {"x": value, "y": value} for name, value in means.items()}, kinds)
    assert [c.method_name for c in choose_cells(cells, scores)] == ["m2", "m3", "m4", "m5", "o"]
    assert [c.method_name for c in choose_cells(cells, scores, ["o", "m1", "o"])] == ["o", "m1"]
    with pytest.raises(XaibenchError, match=r"no method 'ig'; it has c, m1, m2"):
        choose_cells(cells, scores, ["ig"])
    with pytest.raises(XaibenchError, match="evaluates no attribution maps"):
        choose_cells([], scores)


def test_select_takes_the_board_the_list_and_the_run(kit, store):
    ids = kit.ids(9)
    cells = [kit.cell("ig"), kit.cell("grad-cam")]
    values = [{name: index / 10 for index, name in enumerate(ids)} for _ in cells]
    first = kit.record(store, cells, values, ids[:6])
    kit.record(store, cells, [{}, {}], ids)
    shown = select(store, count=1)
    assert shown.groups.total == 9 and shown.groups.best == (ids[8],)
    assert len(shown.rows) == 3 * 2 and set(shown.rows["image_id"]) == set(shown.groups.images)
    assert select(store, run=first.run, count=1).groups.best == (ids[5],)
    assert select(store, protocol="idsds", methods=["ig"]).cells == cells[:1]
    for wrong in ({"run": "no-such"}, {"protocol": "rise"}, {"board": "zzz"}, {"model": "vgg*"}, {"methods": ["x"]}):
        with pytest.raises(XaibenchError) as error:
            select(store, **wrong)
        assert "\n" not in str(error.value)
