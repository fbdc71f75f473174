"""Figures of a survey: what their bars and boxes show, by hand; files of choices read strictly."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.figure import Figure

from xaibench.analysis.survey_choices import read_choices
from xaibench.errors import XaibenchError
from xaibench.report import survey_figure
from xaibench.report.survey_figure import answers_figure, choices_figure

ANSWERS = pd.DataFrame(
    [("a", "one", 0, 1), ("a", "two", 1, 1), ("b", "one", 0, 1), ("b", "two", 1, 0), ("c", "one", 1, None)],
    columns=["respondent", "image", "before", "after"],
)
CHOICES = """image,question,answer,respondent
car,Q1,Real,a
car,Q1,Toy,b
car,Q1,Toy,c
car,Q2,Object,a
car,Q2,Context,a
toy,Q1,Unsure,b
"""


@pytest.fixture
def drawn(monkeypatch):
    """The figure that is saved."""
    kept: list[Figure] = []
    real = survey_figure.save_figure
    monkeypatch.setattr(survey_figure, "save_figure", lambda f, path, **m: (kept.append(f), real(f, path, **m))[1])
    return kept


def heights(axes):
    return [patch.get_height() for patch in axes.patches]


def test_bars_are_the_means_and_changes_of_whole_pairs(drawn, tmp_path):
    path = answers_figure(ANSWERS, "A $title", tmp_path / "survey.png")
    assert path.stat().st_size > 5000
    by_image, changed, by_respondent = drawn[0].axes
    assert heights(by_image) == pytest.approx([0, 1, 1, 0.5])  # before of both images, then after
    assert heights(changed) == [2, 1]
    medians = [line.get_ydata()[0] for line in by_respondent.lines if len(set(line.get_ydata())) == 1]
    assert medians.count(0.5) and by_respondent.get_ylabel() == "share of right answers, respondents"


@pytest.mark.slow
def test_scores_have_no_changed_answers(drawn, tmp_path):
    answers_figure(ANSWERS.assign(before=0.3), "scores", tmp_path / "survey.svg")
    assert [axes.get_ylabel() for axes in drawn[0].axes] == ["mean answer", "mean answer, respondents"]
    answers_figure(ANSWERS.drop(columns="respondent"), "images", tmp_path / "images.pdf")
    assert len(drawn[1].axes) == 2


def test_a_bar_is_cut_by_the_shares_of_its_answers(drawn, tmp_path):
    (tmp_path / "choices.csv").write_text(CHOICES)
    counts = read_choices(tmp_path / "choices.csv")
    shares = counts.set_index(["image", "question", "answer"])["share"]
    assert shares["car", "Q1", "Toy"] == pytest.approx(2 / 3) and shares["toy", "Q1", "Unsure"] == 1
    choices_figure(counts, "choices", tmp_path / "choices.png")
    (axes,) = drawn[0].axes
    widths = {word: [patch.get_width() for patch in bars] for word, bars in zip(
        [bars.get_label() for bars in axes.containers], axes.containers, strict=True)}  # fmt: skip
    assert widths["Toy"] == pytest.approx([2 / 3, 0, 0]) and widths["Context"] == pytest.approx([0, 0.5, 0])
    assert [sum(column) for column in zip(*widths.values(), strict=True)] == pytest.approx([1, 1, 1])
    assert [text.get_text() for text in axes.texts] == ["n = 3", "n = 2", "n = 1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,answer\na,b\n", ":1: the first line has to name the columns image,question,answer"),
        ("image,question,answer\na,Q1\n", ":2: 2 columns, where the first line has 3"),
        ("image,question,answer\na,Q1,\n", ":2: the answer is empty"),
        (CHOICES + "car,Q1,Real,a\n", ":8: the same answer of a came before"),
        ("image,question,answer\n", "has no answers"),
    ],
)
def test_mistakes_in_a_file_of_choices_name_the_line(tmp_path, text, message):
    path = tmp_path / "choices.csv"
    path.write_text(text)
    with pytest.raises(XaibenchError) as error:
        read_choices(path)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_the_command_draws_and_says_what_it_needs(command, tmp_path):
    (tmp_path / "choices.csv").write_text(CHOICES)
    ANSWERS.to_csv(tmp_path / "answers.csv", index=False)
    figure = tmp_path / "f.png"
    status, out, _ = command("survey", tmp_path / "answers.csv", "--figure", figure)
    assert status == 0 and f"figure: {figure}" in out and figure.stat().st_size > 5000
    status, out, _ = command("survey", "--choices", tmp_path / "choices.csv", "--figure", tmp_path / "c.png")
    assert status == 0 and (tmp_path / "c.png").stat().st_size > 5000
    for words, message in (
        (("--choices", tmp_path / "choices.csv"), "say where by --figure"),
        (("--counts", "19,80", "--figure", figure), "published numbers have no figure"),
        ((tmp_path / "answers.csv", "--choices", tmp_path / "choices.csv"), "only one of these"),
        ((tmp_path / "answers.csv", "--figure", "a.gif"), "not 'a.gif'"),
    ):
        status, _, err = command("survey", *words)
        assert status == 2 and message in err
