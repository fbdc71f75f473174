"""Boards of several models as one, by hand, and as a page."""

from __future__ import annotations

import csv
import io

import pytest

from xaibench.analysis.across_models import across_models
from xaibench.errors import XaibenchError

HOSTILE = "net|work_2"


@pytest.fixture
def two_models(kit, store):
    """The scores of two methods and a control for two models; the second one lacks an image of the first."""
    ids = kit.ids(3)
    scores = {"resnet50": {"ig": 0.2, "rise": 0.4, "random": 0.0}, HOSTILE: {"ig": 0.5, "rise": 0.1, "random": 0.0}}
    for number, (model, values) in enumerate(scores.items()):
        cells = [kit.cell(n, "control" if n == "random" else "method", context=kit.context(model)) for n in values]
        own = ids[: 3 - number]
        kit.record(store, cells, [dict.fromkeys(own, value) for value in values.values()], own,
                   started=f"2026-01-0{number + 1}T00:00:00+00:00", accuracy={"correct": 1, "images": 2})  # fmt: skip
    return store


def test_pairs_are_ranked_on_the_images_that_all_models_have(two_models):
    found = across_models(two_models, "idsds", comparable=True)
    pairs = found.table[["model", "method", "mean"]].to_numpy().tolist()
    assert [(model, method) for model, method, _ in pairs] == [
        (HOSTILE, "ig"), ("resnet50", "rise"), ("resnet50", "ig"), (HOSTILE, "rise"), (HOSTILE, "random"),
        ("resnet50", "random"),
    ]  # fmt: skip
    assert [mean for *_, mean in pairs] == pytest.approx([0.5, 0.4, 0.2, 0.1, 0, 0])
    assert found.table["rank"].tolist()[:4] == [1, 2, 3, 4] and found.table["rank"].isna().sum() == 2
    assert found.n_images == 2 and any("the longest list has 3" in note for note in found.notes)
    models = found.models.set_index("model")
    assert models.index.tolist() == [HOSTILE, "resnet50"] and models["best_method"].tolist() == ["ig", "rise"]
    assert models["mean"].tolist() == pytest.approx([0.3, 0.3]) and models["accuracy"].tolist() == [0.5, 0.5]


def test_protocols_that_do_not_compare_models_rank_nothing(two_models):
    found = across_models(two_models, "idsds", comparable=False)
    assert found.table["rank"].isna().all() and any("is not made for comparing models" in note for note in found.notes)
    assert "Ranks are among" not in found.caption


def test_one_model_is_not_enough(two_models):
    with pytest.raises(XaibenchError, match="only one model was evaluated like"):
        across_models(two_models, "idsds", model="resnet*", comparable=True)


def test_names_of_models_in_headers_cannot_break_a_table(two_models):
    page = across_models(two_models, "idsds", comparable=True).page()
    matrix = [line for line in page.to_markdown().splitlines() if line.startswith("| method |")]
    assert matrix == [r"| method | net\|work\_2 | resnet50 |"]
    assert [row["rank_low"] for row in csv.DictReader(io.StringIO(page.to_csv()))][:2] == ["1", "1"]
    assert page.to_text(80).count("\n\n") == 3 and "50.0%" in page.to_text(80)
    assert page.to_html().count("<table>") == 2
