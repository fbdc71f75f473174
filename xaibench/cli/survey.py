"""`xaibench survey`: tests of the answers of a survey, before and after something was shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xaibench.cli.output import echo
from xaibench.cli.page_output import Format, FormatOption, print_page

if TYPE_CHECKING:
    from xaibench.analysis.survey import Counts

EPILOG = """
\b
A file has one line per respondent and image; an answer is 1 (right), 0 (not right), a score, or empty:
  respondent,image,before,after
  anna,car-1,0,1
  anna,car-2,1,1
or a line per answer:
  respondent,image,condition,answer
  anna,car-1,before,0
  anna,car-1,after,1

\b
Examples:
  xaibench survey answers.csv
  xaibench survey answers.csv --format md > survey.md
  # the shares of right answers, what changed, and respondents, as a figure
  xaibench survey answers.csv --figure survey.png
  # answers that choose among words (image,question,answer, and respondent or not): how often each was given
  xaibench survey --choices choices.csv --figure choices.png
  # what a paper prints: 19 answers lost, 80 corrected; and t with its degrees of freedom
  xaibench survey --counts 19,80
  xaibench survey --counts 19,80 --t -4.42,5 --format json
  # all four counts: both right, lost, corrected, both wrong
  xaibench survey --counts 310,19,80,251
"""


def command(
    answers: Annotated[Path | None, typer.Argument(help="The answers, as below.", metavar="CSV")] = None,
    counts: Annotated[
        str | None,
        typer.Option(
            "--counts", metavar="B,C", help="Instead: answers that went from right to wrong, and from wrong to right; "
            "or all four, A,B,C,D, with right and wrong ones that stayed so around them.",
        ),
    ] = None,
    t: Annotated[
        str | None,
        typer.Option("--t", metavar="T,DF", help="Instead: a published paired t and its degrees of freedom."),
    ] = None,
    choices: Annotated[
        Path | None,
        typer.Option("--choices", metavar="CSV", help="Instead: answers that choose among words; needs --figure."),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", metavar="FILE", help="Draw the answers to a .png, .svg or .pdf file.")
    ] = None,
    format_: FormatOption = Format.table,
) -> None:  # fmt: skip
    """Test answers that were given before and after something was shown: paired t-test, McNemar, sign flips.

    From single answers the tests are made over images and over respondents; from published numbers, those that they
    allow.
    """
    from xaibench.analysis.survey import survey_of_answers, survey_of_published
    from xaibench.analysis.survey_file import read_answers
    from xaibench.errors import XaibenchError
    from xaibench.printing import clean
    from xaibench.report.pages import page_of
    from xaibench.report.style import figure_kind
    from xaibench.report.survey_figure import answers_figure

    published = counts is not None or t is not None
    if [answers is not None, published, choices is not None].count(True) != 1:
        raise XaibenchError(
            "name a CSV file of answers, or published numbers by --counts or --t, or --choices; and only one of these"
        )
    if figure is not None:
        figure_kind(figure)
    if choices is not None:
        return _choices(choices, figure)
    if published and figure is not None:
        raise XaibenchError("published numbers have no figure; give --figure with a file of answers")
    if answers is not None:
        found = survey_of_answers(read := read_answers(answers), answers.name)
    else:
        found = survey_of_published(_counts(counts) if counts is not None else None, _t(t) if t is not None else None)
    print_page(page_of(found), format_)
    for note in found.notes:
        echo(clean(note), err=format_ is not Format.table)
    if figure is not None:
        echo(f"figure: {clean(answers_figure(read, found.title, figure))}", err=format_ is not Format.table)


def _choices(path: Path, figure: Path | None) -> None:
    """Draws how often each answer was chosen."""
    from xaibench.analysis.survey_choices import read_choices
    from xaibench.errors import XaibenchError
    from xaibench.printing import clean
    from xaibench.report.survey_figure import choices_figure

    if figure is None:
        raise XaibenchError("--choices is drawn and not tested: say where by --figure FILE.png")
    echo(f"figure: {clean(choices_figure(read_choices(path), f'survey · {path.name}', figure))}")


def _counts(text: str) -> Counts:
    """Two or four whole numbers."""
    from xaibench.analysis.survey import Counts
    from xaibench.errors import XaibenchError

    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in (2, 4) or not all(re.fullmatch("[0-9]{1,9}", part) for part in parts):
        raise XaibenchError(f"--counts {text[:60]!r} is not two or four whole numbers, such as 19,80 or 310,19,80,251")
    numbers = [int(part) for part in parts]
    return Counts(*numbers) if len(numbers) == 4 else Counts(None, *numbers, None)


def _t(text: str) -> tuple[float, int]:
    """A finite number, and a whole one of at least 1."""
    from xaibench.errors import XaibenchError

    found = re.fullmatch(r"\s*(-?[0-9]{1,9}(?:\.[0-9]{1,15})?)\s*,\s*([1-9][0-9]{0,8})\s*", text)
    if not found:
        raise XaibenchError(f"--t {text[:60]!r} is not t and its degrees of freedom, such as -4.42,5")
    return float(found[1]), int(found[2])
