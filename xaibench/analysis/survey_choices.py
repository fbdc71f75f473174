"""Answers of a survey that choose among words: how often each was given, by image and question."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from xaibench.analysis.survey_file import read_lines
from xaibench.errors import XaibenchError

COLUMNS = ("image", "question", "answer")


def read_choices(path: Path) -> pd.DataFrame:
    """One row per image, question and answer, in the order of the file: `count`, and `share` of all answers to that
    question about that image (float64, 0 to 1).

    The first line of the CSV file names the columns, in any order: `image`, `question` and `answer`, and `respondent`
    or not; a line is one answer, and who chose several has several lines. Raises XaibenchError that names the line for
    anything else, for an empty cell, for an answer that one respondent gave twice, and for a file without answers.
    """
    lines = read_lines(path)
    number, header = next(lines, (1, []))
    if sorted(set(header) - {"respondent"}) != sorted(COLUMNS) or len(header) != len(set(header)):
        raise XaibenchError(
            f"{path}:{number}: the first line has to name the columns image,question,answer, and respondent or not; "
            f"not {','.join(header)}"
        )
    rows, seen = [], set()
    for number, cells in lines:
        if len(cells) != len(header):
            raise XaibenchError(f"{path}:{number}: {len(cells)} columns, where the first line has {len(header)}")
        line = dict(zip(header, cells, strict=True))
        if empty := [name for name in header if not line[name]]:
            raise XaibenchError(f"{path}:{number}: the {empty[0]} is empty")
        if "respondent" in header:
            if tuple(cells) in seen:
                raise XaibenchError(f"{path}:{number}: the same answer of {line['respondent']} came before")
            seen.add(tuple(cells))
        rows.append([line[name] for name in COLUMNS])
    if not rows:
        raise XaibenchError(f"{path} has no answers")
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    counts = table.groupby(list(COLUMNS), sort=False).size().rename("count").reset_index()
    counts["share"] = counts["count"] / counts.groupby(["image", "question"])["count"].transform("sum")
    return counts
