"""What a record concludes from rows that were replayed: by hand."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from xaibench.errors import XaibenchError
from xaibench.results.parts import Parts
from xaibench.results.store import Store
from xaibench.submission import outcome
from xaibench.submission.draw import Draw, needed
from xaibench.submission.outcome import compared_rows, record_of
from xaibench.submission.record import rows_of


@pytest.fixture
def honest(packed, monkeypatch):
    """honest(counts, change): the record where of each method, in order, so many of its 8 results are replayed, with
    weights that everybody can get; change(again) edits what is computed."""
    store = Store.open(packed.folder)
    cells, rows = store.cells(), store.rows()
    pairs = sorted(zip(rows["cell"], rows["image_id"], strict=True))
    monkeypatch.setattr(outcome, "has_public_weights", lambda cell: True)

    def call(counts: tuple[int, ...], change=lambda again: again) -> dict:
        chosen = [pair for key, count in zip(sorted(cells), counts, strict=True)
                  for pair in [pair for pair in pairs if pair[0] == key][:count]]  # fmt: skip
        again = change(rows.merge(pd.DataFrame(chosen, columns=["cell", "image_id"])))
        stored, largest = rows_of(Parts(store), chosen)
        compared = compared_rows(stored, again, cells, largest)
        return record_of("0" * 64, Draw(sum(counts)), dict.fromkeys(cells, 8), chosen, compared, cells)

    return call


def test_a_result_is_verified_from_its_least_number_on(honest):
    assert needed(8) == 6
    record = honest((6, 5, 0))
    assert [one["verified"] for _, one in sorted(record["cells"].items())] == [True, False, False]
    assert [one["replayed"] for _, one in sorted(record["cells"].items())] == [6, 5, 0]
    assert {(one["results"], one["minimum"]) for one in record["cells"].values()} == {(8, 6)}
    assert record["minimum"] == {"share": 0.2, "probability": 0.95}


def test_nothing_is_verified_where_one_row_anywhere_differs(honest):
    def change(again: pd.DataFrame) -> pd.DataFrame:
        return again.assign(score=again["score"].where(again.index > 0, again["score"] + 0.01))

    record = honest((8, 8, 8), change)
    assert sum(not row["equal"] for row in record["rows"]) == 1 and not record["equal"]
    assert not any(one["verified"] for one in record["cells"].values())


def test_a_row_of_one_side_is_not_equal_and_json_has_no_nan(honest):
    record = honest((8, 8, 8), lambda again: again.iloc[1:])
    (row,) = [row for row in record["rows"] if not row["equal"]]
    assert row["replayed"] is None and row["submitted"] is not None
    undefined = honest((1, 0, 0), lambda again: again.assign(score=np.nan, status="undefined-map"))
    assert not undefined["equal"] and json.loads(json.dumps(undefined, allow_nan=False)) == undefined


@pytest.mark.parametrize(("name", "value"), [("prediction", 2), ("label", 3), ("correct", False), ("label", None)])
def test_what_is_said_of_an_image_is_compared(honest, name, value):
    record = honest((1, 1, 1), lambda again: again.assign(**{name: value}))
    assert not record["equal"] and not any(row["equal"] for row in record["rows"])
    assert all(row["submitted"] == row["replayed"] for row in record["rows"])


def test_a_public_number_is_hex_and_the_record_says_that_it_was_given():
    given = Draw.of_public(None, "AB" * 20)
    assert (given.fresh, given.source, Draw(3).source) == ("ab" * 20, "given", "drawn")
    for odd in ("", "ab", "xyz" * 20, "ab" * 100, "\u0661" * 40):
        with pytest.raises(XaibenchError, match="--fresh is 32 to 128 hex digits"):
            Draw.of_public(None, odd)
