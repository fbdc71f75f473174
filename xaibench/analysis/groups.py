"""Which group each explained class of an image belongs to: by whether the prediction is correct, or by class."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import pandas as pd

from xaibench.analysis.scored_board import Source
from xaibench.analysis.scores import NO_CLASS, pair_index
from xaibench.errors import XaibenchError

ALL, CORRECT, INCORRECT = "all", "correct", "incorrect"


def known_pairs(rows: pd.DataFrame) -> pd.DataFrame:
    """label and correct of each (image, explained class), from the row of any method that has them."""
    known = rows[["label", "correct"]].set_axis(pair_index(rows)).sort_index()
    return known.groupby(level=[0, 1]).first()  # null where no row has it


def by_correctness(pairs: pd.DataFrame) -> pd.Series:
    """`correct` or `incorrect` for each pair; null where neither is known."""
    return pairs["correct"].astype(object).map({True: CORRECT, False: INCORRECT})


def by_class(pairs: pd.DataFrame, context: dict[str, Any], source: Source) -> pd.Series:
    """The name of the class of each pair: the explained one where that is a label, else the image's own."""
    target = pd.Series(pairs.index.get_level_values(1), pairs.index, dtype="Int64").replace(NO_CLASS, pd.NA)
    explains, units = (context["protocol"].get("settings") or {}).get("target"), set(source.rows["unit"])
    labelled = explains in ("label", "labels") or (explains not in ("prediction", "predictions") and units != {"image"})
    names = class_names(source.classes)
    index = target if labelled else pairs["label"]
    return index.astype(object).map(
        lambda number: None if pd.isna(number) else names.get(number, f"class {number}"), na_action=None
    )


def class_names(classes: Sequence[str]) -> dict[int, str]:
    """A name for each class index; where several classes have one name, or that of the group of all, with the index.

    >>> class_names(["crane", "dog", "crane"])
    {0: 'crane (0)', 1: 'dog', 2: 'crane (2)'}
    """
    classes = list(classes)
    twice = {name for name, times in pd.Series(classes, dtype=object).value_counts().items() if times > 1}
    return {i: f"{name} ({i})" if name in {*twice, ALL} else name for i, name in enumerate(classes)}


def ordered(pairs: pd.DataFrame, by: str, order: str) -> list[str]:
    """The names of all groups, classes by name or by the number of their images."""
    if by == "correctness":
        return [CORRECT, INCORRECT]
    images = pairs.reset_index().groupby("group")["image_id"].nunique()
    return sorted(images.index, key=lambda name: (-images[name] if order == "count" else 0, name.casefold(), name))


def no_class(pattern: str, names: list[str]) -> XaibenchError:
    """The error for classes that match none, with the nearest names and some of those that are there."""
    close = difflib.get_close_matches(pattern.lower(), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    more = f", ... ({len(names)} in all)" if len(names) > 20 else ""
    return XaibenchError(f"no class of this board matches {pattern!r}; {hint}it has {', '.join(names[:20])}{more}")


def reasons(pairs: pd.DataFrame, source: Source) -> list[str]:
    """Why images are in no group, a line for each reason that there is."""
    none = pairs[pairs["group"].isna()]
    before, idle = none["label"].isna(), none.index.get_level_values(1) == NO_CLASS
    again = f"; `{source.command}` with another --out computes them again" if source.command else ""
    known = (
        (before, f"rows were stored before labels and correctness were recorded (row schema 1){again}"),
        (~before & idle, "nothing is explained in them: the model predicts no class, or none is labelled"),
        (
            ~before & ~idle,
            "the model's classes are not those of the data, so its predictions are neither right nor wrong",
        ),
    )
    counts = [(none[which].index.get_level_values(0).nunique(), reason) for which, reason in known]
    return [f"{n} image{'' if n == 1 else 's'} in no group: {reason}" for n, reason in counts if n]
