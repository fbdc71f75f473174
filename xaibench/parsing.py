"""JSON and TOML from others: what Python's own readers give, without numbers and texts that nothing else can hold."""

from __future__ import annotations

import json
import math
import re
import tomllib
from typing import Any

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
WHOLE = 2**63  # of TOML; JSON names no limit


def parse_json(data: bytes | str, *, finite: bool = True) -> Any:
    """The value of JSON in UTF-8: numbers are finite, whole ones have at most 25 digits, and texts have no lone
    surrogates.

    finite: whether NaN and infinities, which JSON does not have but Python writes, are refused. Raises ValueError for
    anything else, also for JSON that is nested deeper than Python can read.
    """
    text = data if isinstance(data, str) else data.decode("utf-8-sig")
    try:
        only_finite = {"parse_constant": _no_number, "parse_float": _finite} if finite else {}
        value = json.loads(text, parse_int=_whole_number, **only_finite)
        if SURROGATE.search(text):  # only an escape can give one, and two of them may be one character
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except UnicodeEncodeError:
        raise ValueError("it has a text with a lone surrogate, which is no Unicode") from None
    return value


def parse_toml(data: bytes | str) -> dict[str, Any]:
    """The table of TOML in UTF-8: whole numbers are of 64 bits.

    Raises tomllib.TOMLDecodeError for what is no TOML, and ValueError for text that is not UTF-8, for larger numbers,
    and for tables that are nested deeper than Python can read.
    """
    text = (data if isinstance(data, str) else data.decode("utf-8-sig")).replace("\r\n", "\n")
    try:
        table = tomllib.loads(text)
        _check_whole(table)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:  # of int(), about numbers of thousands of digits
        raise ValueError("it has a whole number of more than 64 bits") from error
    return table


def is_text(value: str) -> bool:
    """Whether a text can be written as UTF-8: it has no lone surrogates, which stand for bytes that are no text."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_whole(value: int) -> bool:
    """Whether a whole number has 64 bits, as those of TOML."""
    return -WHOLE <= value < WHOLE


def _check_whole(value: Any) -> None:
    if isinstance(value, dict):
        for item in value.values():
            _check_whole(item)
    elif isinstance(value, list):
        for item in value:
            _check_whole(item)
    elif isinstance(value, int) and not is_whole(value):
        raise ValueError


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def _whole_number(text: str) -> int:
    if len(text) > 25:  # int() takes long for very long ones, and refuses more than 4300 digits with other words
        raise ValueError(f"a whole number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text[:25])
