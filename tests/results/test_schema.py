from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from xaibench.results.schema import SCHEMA, row_table


def test_dicts_and_columns_give_the_same_table(cell, row):
    rows = [row(cell, "a", 0.25), row(cell, "b", None, status="undefined-map", target=None)]
    columns = {name: [item[name] for item in rows] for name in SCHEMA.names}
    assert row_table(rows).equals(row_table(columns), check_metadata=True)
    assert row_table(rows).schema.equals(SCHEMA, check_metadata=True)


def test_numpy_columns_scalars_and_nan_for_undefined(cell, row):
    columns = row(cell, "x") | {
        "image_id": np.array(["a", "b"]), "score": np.array([0.5, np.nan]), "target": np.array([3, 4]),
        "status": ["ok", "undefined-reference"], "image_digest": ["1", "2"],
    }  # fmt: skip
    table = row_table(columns)
    assert table["score"].to_pylist() == [0.5, None]
    assert table["target"].to_pylist() == [3, 4]
    assert table["method"].to_pylist() == ["ig", "ig"]


def test_columns_that_may_be_null_may_be_left_out(cell, row):
    short = {name: value for name, value in row(cell, "a").items() if not SCHEMA.field(name).nullable}
    table = row_table([short | {"score": 1.0}])
    assert table["target"].to_pylist() == table["method"].to_pylist() == [None]
    assert row_table([]).num_rows == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "fine"}, "status is none of"),
        ({"unit": "pixel"}, "unit is none of"),
        ({"score": None}, "null although the status is ok"),
        ({"score": float("nan")}, "null although the status is ok"),
        ({"status": "undefined-map"}, "given although the status is undefined"),
        ({"score": float("inf")}, "not finite"),
        ({"image_id": None}, "image_id may not be null"),
        ({"target": 2**31}, "target does not hold int32"),
        ({"target": "cat"}, "target does not hold int32"),
        ({"colour": 1}, "unknown columns"),
    ],
)
def test_bad_rows_are_refused_by_name(cell, row, change, message):
    good = row(cell, "a")
    with pytest.raises(ValueError, match=message):
        row_table([good, row(cell, "b") | change])


def test_missing_column_and_uneven_columns(cell, row):
    rows = row(cell, "a")
    del rows["cell"]
    with pytest.raises(ValueError, match=r"lack \['cell'\]"):
        row_table([rows])
    with pytest.raises(ValueError, match="different lengths"):
        row_table(row(cell, "a") | {"image_id": ["a", "b"], "score": [1.0]})


def test_a_row_says_whether_the_model_is_right_or_that_nobody_knows(cell, row):
    rows = [row(cell, name, label=3, correct=correct) for name, correct in (("a", True), ("b", False), ("c", None))]
    table = row_table(rows)
    assert table["correct"].to_pylist() == [True, False, None] and table["label"].to_pylist() == [3] * 3
    with pytest.raises(ValueError, match="correct does not hold bool"):
        row_table([row(cell, "a", correct="yes")])


def test_same_identity_twice_is_refused_except_for_instances(cell, row):
    with pytest.raises(ValueError, match="same identity"):
        row_table([row(cell, "a", target=None), row(cell, "a", 0.1, target=None)])
    assert row_table([row(cell, "a", unit="instance"), row(cell, "a", 0.1, unit="instance")]).num_rows == 2


def test_the_schema_of_version_2_is_pinned():
    """Changing a column needs a new SCHEMA_VERSION and an upgrade."""
    assert SCHEMA.metadata == {b"xaibench.schema": b"2"}
    assert [(field.name, str(field.type), field.nullable) for field in SCHEMA] == [
        ("cell", "string", False), ("image_id", "string", False), ("image_digest", "string", False),
        ("target", "int32", True), ("unit", "string", False), ("metric", "string", False), ("score", "double", True),
        ("status", "string", False), ("prediction", "int32", True), ("label", "int32", True),
        ("correct", "bool", True), ("protocol", "string", False), ("dataset", "string", False),
        ("model", "string", False), ("reference_model", "string", True), ("method", "string", True),
    ]  # fmt: skip
    assert isinstance(SCHEMA, pa.Schema)
