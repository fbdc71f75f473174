"""JSON and TOML of others: what is read equals what Python reads, all else is a ValueError of one line."""

from __future__ import annotations

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xaibench.parsing import is_text, is_whole, parse_json, parse_toml

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab\ud83e", max_size=3).filter(is_text), inner),
    max_leaves=10,
)  # fmt: skip


@given(VALUES, st.booleans())
def test_json_is_read_as_by_python(value, escaped):
    text = json.dumps(value, ensure_ascii=escaped)
    assert parse_json(text) == parse_json(text.encode()) == parse_json(b"\xef\xbb\xbf" + text.encode()) == value


BROKEN = [
    b"", b"{", b"[" * 100_000, b'{"a":' * 50_000, b"NaN", b"[-Infinity]", b"1e999", b"-1e999", b"1" * 5000, b"9" * 26,
    b"\xff\xfe", b'"\\ud800"', b'{"\\uDC00": 1}', b'["\\ud83e", "\\udd89"]', b"{}x",
]  # fmt: skip


@pytest.mark.parametrize("data", BROKEN, ids=lambda data: repr(data[:12]))
def test_other_json_is_one_line(data):
    with pytest.raises(ValueError) as caught:
        parse_json(data)
    assert len(str(caught.value)) < 300 and not isinstance(caught.value, RecursionError)


def test_two_escapes_may_be_one_character():
    assert parse_json('["\\ud83e\\udd89"]') == ["🦉"]


def test_numbers_that_are_not_finite_are_read_where_they_are_allowed():
    assert parse_json("[Infinity, 1e999]", finite=False) == [float("inf")] * 2


TOML_BROKEN = [
    b"x", b"x = " + b"[" * 50_000, b"x = " + b"1" * 5000, b"x = 9223372036854775808",
    b"a = [{ b = -9223372036854775809 }]",
    b"x = '\xff'", b".".join([b"a"] * 3_000) + b" = 1",
]  # fmt: skip


@pytest.mark.parametrize("data", TOML_BROKEN, ids=lambda data: repr(data[:12]))
def test_other_toml_is_one_line(data):
    with pytest.raises(ValueError) as caught:
        parse_toml(data)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("text", ["x = 9223372036854775807\r\ny = [1, 'z']", "[a.b]\nc = 1e400", "", "x = '🦉'"])
def test_toml_is_read_as_by_python(text):
    assert parse_toml(text) == parse_toml(text.encode()) == parse_toml(b"\xef\xbb\xbf" + text.encode())
    assert parse_toml(text) == tomllib.loads(text)


def test_texts_and_whole_numbers_that_files_can_hold():
    assert is_text("é🦉\x00") and not is_text("a\udcff")
    assert [is_whole(n) for n in (2**63 - 1, 2**63, -(2**63), -(2**63) - 1)] == [True, False, True, False]
