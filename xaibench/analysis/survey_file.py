"""The answers of a survey as a CSV file: who answered about which image, before and after something was shown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from xaibench.errors import XaibenchError
from xaibench.files import read_bounded

LIMIT = 64 << 20  # bytes
NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,30})?")
KEYS = ("respondent", "image")
WIDE, LONG = ("before", "after"), ("condition", "answer")
FORMS = "before,after, or condition,answer (a line for each), with respondent, image or both"


def read_answers(path: Path) -> pd.DataFrame:
    """The answers in a CSV file in UTF-8: one row per pair, with `before` and `after` (float64, NaN where there is no
    answer), and those of `respondent` and `image` (texts) that the file has.

    The first line names the columns, in any order: `respondent`, `image` or both, and either `before` and `after`, or
    `condition` (before or after) and `answer`. An answer is 1 where it was right and 0 where not, or any score in plain
    decimals; empty where there was none. Raises XaibenchError that names the line for anything else, for an answer that
    comes twice, and for a file without any pair.
    """
    lines = read_lines(path)
    number, header = next(lines, (1, []))
    keys = [name for name in KEYS if name in header]
    form = next((form for form in (WIDE, LONG) if sorted((*keys, *form)) == sorted(header)), None)
    if form is None or not keys:
        raise XaibenchError(f"{path}:{number}: the first line has to name the columns: {FORMS}; not {','.join(header)}")
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for number, cells in lines:
        where = f"{path}:{number}: "
        if len(cells) != len(header):
            raise XaibenchError(f"{where}{len(cells)} columns, where the first line has {len(header)}")
        line = dict(zip(header, cells, strict=True))
        if empty := [name for name in keys if not line[name]]:
            raise XaibenchError(f"{where}the {empty[0]} has no name")
        given = {line["condition"]: line["answer"]} if form is LONG else {name: line[name] for name in WIDE}
        if not given.keys() <= set(WIDE):
            raise XaibenchError(f"{where}the condition is {next(iter(given))!r}; it is before or after")
        pair = found.setdefault(tuple(line[name] for name in keys), {})
        if pair.keys() & given.keys():
            named = ", ".join(f"{name} {line[name]}" for name in keys)
            raise XaibenchError(f"{where}an answer of {named} that came before; remove one of the lines")
        pair.update({condition: _score(text, where) for condition, text in given.items()})
    rows = [(*pair, *(answers.get(name, np.nan) for name in WIDE)) for pair, answers in found.items()]
    table = pd.DataFrame(rows, columns=[*keys, *WIDE]).astype(dict.fromkeys(WIDE, "float64"))
    if not table[list(WIDE)].notna().all(axis=1).any():
        raise XaibenchError(f"{path} has no pair of answers, before and after; a survey needs at least one")
    return table


def read_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The numbered lines of a CSV file, without empty ones, spaces around cells removed.

    Raises XaibenchError for a file that cannot be read, or is no CSV.
    """
    try:
        text = read_bounded(path, LIMIT).decode("utf-8-sig")
    except OSError as error:
        raise XaibenchError(f"{path} cannot be read: {error.strerror or error}; name a CSV file") from error
    except UnicodeDecodeError as error:
        raise XaibenchError(f"{path} cannot be read: it is not UTF-8; save it as CSV in UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise XaibenchError(f"{path}:{reader.line_num}: no CSV: {error}") from error


def _score(text: str, where: str) -> float:
    """The number of an answer; NaN where there is none."""
    if text and not NUMBER.fullmatch(text):
        raise XaibenchError(f"{where}the answer is {text[:40]!r}; it is 1 (right), 0 (not), a score, or empty")
    return float(text) if text else np.nan
