"""Requests as data: the same fields from TOML, JSON, Python and the command line."""

from __future__ import annotations

import json
import re
import shlex
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xaibench.cli.arguments import parse_options
from xaibench.cli.config_options import merged, nested, options_of
from xaibench.errors import XaibenchError
from xaibench.evaluation.config import RunConfig

WORD = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters=","), min_size=1).filter(str.strip)
VALUE = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), WORD)
REQUESTS = st.fixed_dictionaries(
    {"protocols": st.lists(WORD.map(str.strip), min_size=1, max_size=3), "model": WORD},
    optional={
        "methods": st.lists(WORD.map(str.strip), min_size=1, max_size=3),
        "images": st.integers(1, 10**9),
        "batch_size": st.one_of(st.just("auto"), st.integers(1, 99)),
        "download": st.booleans(),
        "data_root": WORD,
        "plugins": st.lists(WORD, max_size=2),
        "settings": st.dictionaries(WORD, st.one_of(VALUE, st.dictionaries(WORD, VALUE, min_size=1, max_size=2))),
        "dataset_options": st.dictionaries(WORD, VALUE, max_size=3),
    },
)


@settings(max_examples=150, deadline=None)
@given(REQUESTS)
def test_toml_and_json_give_the_same_request_again(values):
    request = RunConfig.parse(values)
    assert RunConfig.parse(tomllib.loads(request.to_toml())) == request
    assert RunConfig.parse(json.loads(json.dumps(request.changed()))) == request


def test_a_request_as_a_command():
    request = RunConfig.parse({
        "protocols": "sds, ids", "model": "vgg16", "methods": ["ig", "rise"],
        "settings": {"grid": 2, "sds": {"grid": 4}},
        "plugins": ["my method.py", "b.py"], "download": True, "keep_maps": False,
        "dataset_options": {"rule": "one:beak"},
    })  # fmt: skip
    assert shlex.split(request.to_command("run")) == [
        "xaibench", "run", "sds,ids", "--model", "vgg16", "--methods", "ig,rise", "--dataset-option", "rule=one:beak",
        "--setting", "grid=2", "--setting", "sds.grid=4", "--plugin", "my method.py", "--plugin", "b.py", "--download",
    ]  # fmt: skip


def test_every_field_is_an_option_with_its_help():
    offered = {parameter.name: parameter.annotation.__metadata__[0].help for parameter in options_of(RunConfig)}
    described = {name: info.description for name, info in RunConfig.model_fields.items()}
    assert {name: text.partition("  [")[0] for name, text in offered.items()} == described
    assert all(described.values())
    assert offered["dataset"].endswith("[default: critters]") and offered["model"].endswith("[required]")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"imags": 3}, "'imags' is no field of RunConfig; did you mean images"),
        ({"images": 0}, "images is at least 1, not 0"),
        ({"images": True}, "True is no number"),
        ({"settings": 3}, "settings is a table of KEY=VALUE, not 3"),
        ({"shard": "3/2"}, "--shard is I/N, part I of N such as 1/4, not '3/2'"),
        ({"shard": "0/2"}, "--shard is I/N"),
        ({"methods": " ,"}, "a list of names is empty"),
        ({"precision": "int8"}, "unknown precision 'int8'; it is one of float32"),
        ({"workers": -1}, "--workers is auto or a number from 0, not -1"),
    ],
)
def test_mistakes_are_one_line(values, message):
    with pytest.raises(XaibenchError) as caught:
        RunConfig.parse({"protocols": "sds", "model": "tiny"} | values, "run.toml")
    assert str(caught.value).startswith("run.toml: ") and message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_are_read_strictly(tmp_path):
    cases = {
        "a.toml": ("model = ", "cannot be read"), "b.json": ("[1]", "holds no fields"),
        "c.toml": ("modle = 'x'", "did you mean model"), "d.json": ("[" * 100_000, "cannot be read"),
    }  # fmt: skip
    for name, (text, message) in cases.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(XaibenchError, match=message) as caught:
            RunConfig.read_file(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(XaibenchError, match="does not exist"):
        RunConfig.read_file(tmp_path / "none.toml")


def test_what_is_given_wins_over_the_file_entry_by_entry(tmp_path):
    (tmp_path / "run.toml").write_text(
        'model = "a"\nimages = 5\n[settings]\ngrid = 2\nsds.grid = 8\nbaseline = "blur"\n'
    )
    fields = merged(RunConfig, tmp_path / "run.toml", {"images": 7, "settings": {"grid": 4, "sds": {"target": "x"}}})
    assert fields == {
        "model": "a", "images": 7,
        "settings": {"grid": 4, "baseline": "blur", "sds": {"grid": 8, "target": "x"}},
    }  # fmt: skip


def test_keys_with_dots_are_tables():
    assert nested({"grid": 2, "sds.grid": 4, "sds.target": "label"}) == {
        "grid": 2,
        "sds": {"grid": 4, "target": "label"},
    }
    with pytest.raises(XaibenchError, match="sds is given a value of its own, too"):
        nested({"sds": 1, "sds.grid": 4})


def test_a_key_that_is_given_twice_with_two_values_is_an_error():
    assert parse_options(["grid=2", "grid=2"]) == {"grid": 2}
    with pytest.raises(XaibenchError, match="grid is given twice: grid=2 and grid=4; leave one out"):
        parse_options(["grid=2", "grid=4"])


@pytest.mark.parametrize("value", ["3", "true", "nan", "[1]", "'q'", "1\nother = 2", "2020-01-01", " 3", {}, [1, "2"]])
def test_a_command_gives_the_same_settings_again(value):
    request = RunConfig.parse({"protocols": "sds", "model": "m", "settings": {"a": value, "sds": {"b": value}}})
    words = request.to_arguments()
    given = [words[place + 1] for place, word in enumerate(words) if word == "--setting"]
    assert nested(parse_options(given)) == request.settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sds": {"a": float("nan")}}, "settings.sds.a is nan; give a finite number"),
        ({"a": None}, "settings.a is a number, a text, true or false, or a list or table of these, not None"),
        ({"a": object}, "settings.a is a number"),
        ({3: 1}, "a key in settings is a text, not 3"),
    ],
)
def test_values_that_files_and_commands_cannot_hold_are_refused(settings, message):
    with pytest.raises(XaibenchError, match=re.escape(message)):
        RunConfig.parse({"protocols": "sds", "model": "m", "settings": settings})


def test_tables_that_are_nested_too_deeply_are_refused():
    deep = {}
    for _ in range(300):
        deep = {"a": deep}
    with pytest.raises(XaibenchError, match="settings is a table that is nested more than 20 times"):
        RunConfig.parse({"protocols": "sds", "model": "m", "settings": deep})


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path):
    (tmp_path / "run.toml").write_bytes(b"\xef\xbb\xbfimages = 3\n")
    assert RunConfig.read_file(tmp_path / "run.toml") == {"images": 3}
