from __future__ import annotations

import copy
import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xaibench.hashing import digest
from xaibench.results.cells import Cell, describe

CONTEXT = {
    "protocol": {"name": "idsds", "version": 1, "settings": {"grid": 4, "baseline": "zero"}},
    "dataset": {"name": "critters", "version": 1, "settings": {}, "geometry": {"size": 64}},
    "model": {"name": "resnet50"},
    "weights": {"kind": "aligned", "digest": "ab"},
    "profile": {"name": "quick"},
    "seed": 0,
    "precision": "float32",
}
METHOD = {"name": "ig", "version": 1, "parameters": {"steps": 50}, "source": "s"}

plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def changed(path: str, value) -> Cell:
    content = copy.deepcopy({"context": CONTEXT, "method": METHOD})
    *way, last = path.split(".")
    part = content
    for name in way:
        part = part[name]
    part[last] = value
    return Cell(**content)


def test_key_is_blake2b_of_sorted_json():
    text = json.dumps({"context": CONTEXT, "method": METHOD}, sort_keys=True, separators=(",", ":"))
    assert Cell(CONTEXT, METHOD).key == hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    assert len(Cell(CONTEXT, METHOD).key) == 16


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("context.protocol.version", 2), ("context.protocol.settings.grid", 8), ("context.dataset.geometry.size", 96),
        ("context.model.name", "vgg16"), ("context.weights.kind", "plain"), ("context.weights.digest", "cd"),
        ("context.profile.name", "paper"), ("context.seed", 1), ("context.precision", "bfloat16"),
    ],
)  # fmt: skip
def test_whatever_can_change_a_number_changes_key_and_board(path, value):
    cell = Cell(CONTEXT, METHOD)
    assert changed(path, value).key != cell.key
    assert changed(path, value).board != cell.board


@pytest.mark.parametrize(("path", "value"), [("method.source", "t"), ("method.parameters.steps", 20), ("method", None)])
def test_methods_of_one_board_differ_in_key_only(path, value):
    assert changed(path, value).key != Cell(CONTEXT, METHOD).key
    assert changed(path, value).board == Cell(CONTEXT, METHOD).board


@pytest.mark.parametrize("path", ["context.protocol.label", "context.model.label", "method.label", "method.kind"])
def test_words_are_not_hashed(path):
    assert changed(path, "control") == Cell(CONTEXT, METHOD)
    assert changed(path, "control").board == Cell(CONTEXT, METHOD).board


def test_label_and_kind_as_settings_are_hashed():
    assert changed("context.protocol.settings.label", "x").key != Cell(CONTEXT, METHOD).key
    assert changed("method.parameters.kind", "x").key != Cell(CONTEXT, METHOD).key


def test_a_whole_number_is_the_same_setting_as_a_float():
    assert changed("method.parameters.steps", 50.0) == Cell(CONTEXT, METHOD)
    assert changed("method.parameters.steps", 50.5) != Cell(CONTEXT, METHOD)


def test_nan_has_no_key():
    with pytest.raises(ValueError, match="JSON"):
        _ = changed("method.parameters.steps", float("nan")).key


@settings(max_examples=40)
@given(plain_values)
def test_digest_survives_json_and_the_order_of_keys(value):
    again = json.loads(json.dumps(value))
    assert digest(again) == digest(value)
    if isinstance(value, dict):
        assert digest(dict(reversed(value.items()))) == digest(value)


def test_describe_with_and_without_labels():
    assert describe(CONTEXT) == (
        "idsds (grid 4, baseline zero) · resnet50 (aligned) · critters · profile quick · seed 0"
    )
    labelled = changed("context.model.label", "ResNet-50 (aligned, last map 4x4)")
    assert "· ResNet-50 (aligned, last map 4x4) ·" in labelled.title
    assert labelled.title.startswith("ig · ")
    assert changed("context.precision", "bfloat16").title.endswith("seed 0 · bfloat16")
    assert Cell(CONTEXT, None).title == describe(CONTEXT)
