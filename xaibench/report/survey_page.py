"""The page of a survey: one row per test, and what each of them takes as independent."""

from __future__ import annotations

from xaibench.report import columns
from xaibench.report.inputs import Survey
from xaibench.report.page import Page
from xaibench.report.table import Table
from xaibench.report.text import count


def survey_page(found: Survey) -> Page:
    """The tests of a survey."""
    table = Table(columns.SURVEY, found.table)
    caption = survey_caption(found)
    value = {
        "title": found.title, "caption": caption, "notes": list(found.notes),
        "means": None if found.means is None else dict(zip(("before", "after"), found.means, strict=True)),
        "counts": found.counts and found.counts._asdict(), "pairs": found.n_pairs, "left_out": found.n_missing,
        "respondents": found.respondents, "images": found.images, "rows": table.records(),
    }  # fmt: skip
    return Page(found.title, caption, [table], [table, caption], table, value)


def survey_caption(found: Survey) -> str:
    """What was answered, what changed, and which p may be believed."""
    parts = []
    if found.means is not None:
        units = {"respondent": found.respondents, "image": found.images}
        of = " and ".join(count(number, name) for name, number in units.items() if number is not None)
        parts.append(
            f"{count(found.n_pairs, 'pair')} of answers{of and f' of {of}'}; mean {found.means[0]:.4f} before and "
            f"{found.means[1]:.4f} after."
        )
    if found.n_missing:
        parts.append(f"{count(found.n_missing, 'pair')} left out: one of the two answers is missing.")
    if found.counts:
        lost, corrected = found.counts.lost, found.counts.corrected
        parts.append(
            f"{count(lost + corrected, 'answer')} changed: {corrected} from wrong to right, {lost} from right to wrong."
        )
        if not lost + corrected:
            parts.append("So McNemar's test has nothing to test.")
    parts.append("Each p is two-sided and takes its units as independent of each other; intervals are of 95 %.")
    if found.counts and found.respondents is None:
        parts.append(
            "McNemar as published: if respondents answered about several images, answers are not independent, and its "
            "p is most often too small; the numbers at hand do not tell."
        )
    if found.clustered:
        parts.append(
            "Respondents answered more than once, so answers are not independent, and McNemar's p, as papers publish "
            "it, is most often too small: sign flips over respondents speak of other people about these images, those "
            "over images of these people about other images."
        )
    return " ".join(parts)
