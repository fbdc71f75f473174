"""The sentences of the start page, from planted boards: a clear winner, ties, one method, none."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest

from xaibench.site.content import Content, SiteAcross, leading_models
from xaibench.site.words import best_across, best_method, best_models, limits, number_of_images


def board(*rows: tuple[str, int | None], model: str = "net"):
    """Methods with the best rank of their rank sets, the best mean first; None: not ranked."""
    table = pd.DataFrame({
        "method": [name for name, _ in rows], "mean": [0.9 - 0.1 * place for place in range(len(rows))],
        "ci_low": 0.1, "ci_high": 0.95, "kind": "method",
        "rank": pd.array([None if low is None else place + 1 for place, (_, low) in enumerate(rows)], "Int64"),
        "rank_low": pd.array([low for _, low in rows], "Int64"),
    })  # fmt: skip
    return SimpleNamespace(found=SimpleNamespace(table=table, n_list=16), model=model, protocol="idsds",
                           dataset="critters")  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "ending"),
    [
        ([("a", 1), ("b", 2), ("c", 2)], ", and is told apart from the 2 other methods."),
        ([("a", 1), ("b", 1), ("c", 3)], "; b is not told apart from the best."),
        ([("a", 1), ("b", 1), ("c", 1), ("d", 3)], "; b and c are not told apart from the best."),
        ([("a", 1), ("b", 1)], "; no other method is told apart from it."),
        ([("a", 1), ("random", None)], "; it is the only method that is ranked."),
    ],
)  # fmt: skip
def test_a_board_says_from_whom_its_best_method_is_not_told_apart(rows, ending):
    text = best_method(board(*rows))
    assert text == f"On net, a has the best mean, 0.90 (95 % interval 0.10 to 0.95){ending}"


def test_a_board_without_ranks_names_no_method():
    assert best_method(board(("a", None))) == "No method is ranked on net under idsds."


def across(*boards, comparable: bool = True, table: pd.DataFrame | None = None):
    found = SimpleNamespace(comparable=comparable, table=table, higher_is_better=True, n_images=16)
    return SiteAcross("slug", SimpleNamespace(**vars(found), context={"protocol": {"name": "idsds"}}),
                      {one.model: one for one in boards})  # fmt: skip


def test_across_models_the_method_that_may_be_the_best_most_often_is_named():
    one, two = board(("a", 1), ("b", 2), model="x"), board(("b", 1), ("a", 1), model="y")
    three = board(("a", 1), ("b", 2), model="z")
    assert best_across(across(one, two, three)) == (
        "a may be the best on all 3 models, no other method on all of them; on 2 of them a single method is surely the "
        "best."
    )
    assert best_across(across(two, board(("c", 1), model="z"))) == (
        "a, b and c may be the best on 1 of 2 models, no other method on as many; on no model a single method is "
        "surely the best."  # c is ranked alone
    )


def models_of(*rows: tuple[str, bool | None], comparable: bool = True, higher: bool = True):
    """Models from best to worst, and whether the first one is surely better; None: not ranked."""
    names = [name for name, _ in rows]
    models = pd.DataFrame({
        "model": names, "best_method": "a", "best": [0.9 - 0.1 * place for place in range(len(rows))], "ci_low": 0.1,
        "ci_high": 1.0, "group": ["" if worse is None else "a" for _, worse in rows],
    })  # fmt: skip
    better = pd.DataFrame(False, index=names, columns=names)
    better.iloc[:1] = [[bool(worse) for _, worse in rows]]
    found = SimpleNamespace(comparable=comparable, models=models, surely_better=better, higher_is_better=higher)
    return SimpleNamespace(found=found, protocol="idsds")


@pytest.mark.parametrize(
    ("rows", "ending"),
    [
        ([("m", False), ("n", False), ("o", True)], "; n is not told apart from it, o is surely lower."),
        ([("m", False), ("n", False), ("o", None)], "; n is not told apart from it."),
        ([("m", False), ("n", True), ("o", True)], "; every other model is told apart from it."),
    ],
)  # fmt: skip
def test_a_start_page_says_from_which_models_the_best_is_not_told_apart(rows, ending):
    begin = "m, explained by a, has the highest mean, 0.90 (95 % interval 0.10 to 1.0)"
    assert best_models(models_of(*rows)) == begin + ending
    assert leading_models(models_of(*rows).found) == [name for name, worse in rows if worse is False]
    lower = best_models(models_of(*rows, higher=False))
    assert lower == begin.replace("highest", "lowest and best") + ending.replace("surely lower", "surely higher")


def test_models_are_ranked_only_where_the_protocol_allows_it():
    assert best_models(models_of(("m", False), comparable=False)).startswith("Scores of idsds may not be compared")
    assert best_models(models_of(("m", None))) == "No pair of model and method is ranked."


def test_limits_name_the_number_of_images_and_what_a_claim_needs():
    texts = " ".join(limits(board(("a", 1))))
    assert "over 16 images of critters" in texts and "Models that differ" not in texts


def test_lists_of_several_lengths_are_not_called_one_number_of_images():
    short, long = board(("a", 1), model="x"), board(("a", 1), model="y")
    long.found.n_list = 48
    assert number_of_images(across(short)) == "16 images" and number_of_images(across(short, long)) == "16 to 48 images"
    text = limits(across(short, long))[0]
    assert text.startswith(
        "All numbers are over 16 to 48 images of critters, and models are compared on the 16 that all"
    )
    assert "all have" not in limits(across(short, board(("a", 1), model="z")))[0]


def test_two_models_are_both():
    one, two = board(("a", 1), ("b", 2), model="x"), board(("a", 1), ("b", 1), model="y")
    assert best_across(across(one, two)) == (
        "a may be the best on both models, no other method on both; on 1 of them a single method is surely the best."
    )


def test_trainings_of_one_model_are_not_called_models():
    one, two = board(("a", 1), ("b", 2), model="x"), board(("a", 1), ("b", 1), model="x")
    trained = SiteAcross("slug", across(one).found, {"x": one, "x (training seed 1)": two})
    assert best_across(trained).startswith("a may be the best on both trained models, no other method on both")


def test_boards_of_one_model_are_told_apart_by_what_their_titles_do_not_share():
    titles = {
        "a": "idsds (grid 4, label, logit) · net (aligned) · critters (64 px) · seed 0",
        "b": "idsds (grid 4, label, logit) · net (aligned, training seed 1) · critters (64 px) · seed 0",
        "c": "idsds (grid 8, label, logit) · net (aligned) · critters (64 px) · seed 0",
    }
    boards = [
        SimpleNamespace(
            slug=slug, protocol="idsds", model="net", dataset="critters", found=SimpleNamespace(title=title)
        )
        for slug, title in titles.items()
    ]
    alone = SimpleNamespace(slug="d", protocol="idsds", model="other", dataset="critters", found=boards[0].found)
    content = Content.__new__(Content)
    content.__dict__["boards"] = [*boards, alone]
    assert content.details == {"a": ["grid 4"], "b": ["grid 4", "training seed 1"], "c": ["grid 8"], "d": []}
