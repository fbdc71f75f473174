"""A record is that of its submission: honest ones pass, and whatever is changed in one is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # for `records.py`
from records import made_record

from xaibench.errors import XaibenchError
from xaibench.results.parts import Parts
from xaibench.results.replays import DIFFERENCES, NOT_PUBLIC, NOT_REPLAYED, OWN, VERIFIED, Replay, read_replay, state_of
from xaibench.results.store import Store
from xaibench.submission.record import record_problems


def problems(root: Path, value: dict) -> list[str]:
    store = Store.open(root)
    return list(record_problems(Replay.model_validate(value), store.cells(), Parts(store)))


@pytest.mark.parametrize("asked", [1, 6, 23, 24, 500, "all"])
def test_an_honest_record_has_no_problem(packed, asked):
    value = made_record(packed.folder, asked)
    assert problems(packed.folder, value) == []
    assert Replay.model_validate(value).model_dump(mode="json") == value


def test_a_record_that_found_differences_is_a_sound_one(packed):
    assert problems(packed.folder, made_record(packed.folder, 6, changed=2)) == []


def _first(value: dict) -> dict:
    return next(iter(value["cells"].values()))


FORGED: dict[str, Callable[[dict], object]] = {
    "other number": lambda v: v.update(fresh="cd" * 16),
    "other submission": lambda v: v.update(submission="0" * 64),
    "more asked": lambda v: v.update(asked=7),
    "all asked": lambda v: v.update(asked="all"),
    "more replayed": lambda v: v.update(replayed=24),
    "more results": lambda v: v.update(results=23),
    "a row left out": lambda v: v["rows"].pop(),
    "no rows": lambda v: v["rows"].clear(),
    "a row twice": lambda v: v["rows"].append(v["rows"][0]),
    "another image": lambda v: v["rows"][0].update(
        image_id=next(row["image_id"] for row in v["rows"] if row["image_id"] != v["rows"][0]["image_id"])
    ),
    "submitted number": lambda v: v["rows"][0].update(submitted=v["rows"][0]["replayed"]),
    "submitted undefined": lambda v: v["rows"][0].update(submitted=None, equal=False),
    "replayed number": lambda v: v["rows"][0].update(replayed=v["rows"][0]["replayed"] + 1),
    "replayed undefined": lambda v: v["rows"][0].update(replayed=None),
    "another target": lambda v: v["rows"][0].update(target=2),
    "another metric": lambda v: v["rows"][0].update(metric="other"),
    "unequal rows, equal as a whole": lambda v: v["rows"][0].update(equal=False),
    "tolerance": lambda v: v.update(tolerance=0.5),
    "likelihood": lambda v: v["found"].update({"0.01": 0.99}),
    "a result less": lambda v: v["cells"].popitem(),
    "another key": lambda v: v["cells"].update({"0" * 16: _first(v)}),
    "another method": lambda v: _first(v).update(method="ig"),
    "more of a result": lambda v: _first(v).update(replayed=8),
    "another least number": lambda v: _first(v).update(minimum=1),
    "another rule": lambda v: v["minimum"].update(probability=0.5),
    "verified by too few": lambda v: [one.update(verified=True) for one in v["cells"].values()],
    "verified without weights": lambda v: _first(v).update(public_weights=False, verified=True),
}


@pytest.mark.parametrize("kind", FORGED)
def test_forged_records_have_a_problem(packed, kind):
    value = made_record(packed.folder)
    FORGED[kind](value)
    assert problems(packed.folder, value)


def test_verified_does_not_follow_from_differences(packed):
    value = made_record(packed.folder, 6, changed=1)
    for one in value["cells"].values():
        one["verified"] = True
    assert any("called verified" in text for text in problems(packed.folder, value))


def test_weights_that_no_card_publishes_are_not_public(packed, monkeypatch):
    monkeypatch.setattr("xaibench.submission.record.weights_published_for", lambda cell: [])
    assert any("publishes none" in text for text in problems(packed.folder, made_record(packed.folder)))


TYPES: dict[str, Callable[[dict], object]] = {
    "a further field": lambda v: v.update(more=1),
    "format": lambda v: v.update(format="xaibench-board"),
    "version": lambda v: v.update(format_version=True),
    "newer": lambda v: v.update(format_version=99),
    "text for a number": lambda v: v["rows"][0].update(submitted="0.5"),
    "number for a text": lambda v: v["rows"][0].update(image_id=5),
    "number for a truth": lambda v: v.update(equal=1),
    "key with a path": lambda v: v["cells"].update({"../../0123456789": _first(v)}),
    "script in a name": lambda v: v.update(submission="<script>alert(1)</script>"),
    "escape in a version": lambda v: v.update(xaibench="\x1b]0;x\x07"),
    "short number": lambda v: v.update(fresh="ab"),
    "long name": lambda v: v["rows"][0].update(image_id="x" * 5000),
    "negative": lambda v: v.update(replayed=-1),
    "likelier than certain": lambda v: v["found"].update({"0.01": 1.5}),
    "a list": lambda v: v.update(rows={}),
}


@pytest.mark.parametrize("kind", TYPES)
def test_what_is_no_record_is_told_in_a_line(packed, tmp_path, kind):
    value = made_record(packed.folder)
    TYPES[kind](value)
    (tmp_path / "r.json").write_text(json.dumps(value))
    with pytest.raises(XaibenchError) as error:
        read_replay(tmp_path / "r.json")
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)


def test_a_huge_file_and_a_pipe_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("xaibench.results.replays.LIMIT", 1000)
    (tmp_path / "r.json").write_text(" " * 1001 + "{}")
    with pytest.raises(XaibenchError, match="which no such file needs"):
        read_replay(tmp_path / "r.json")
    (tmp_path / "r.json").write_text('{"rows": NaN}')
    with pytest.raises(XaibenchError, match="no JSON"):
        read_replay(tmp_path / "r.json")


def test_one_state_for_each_result(packed):
    """By hand: what is drawn and equal, without public weights, not drawn, differing, and of nobody else."""
    for number in range(1000):  # until a draw has enough of one result, and not of all
        fresh = f"{number:032x}"
        value = made_record(packed.folder, 14, fresh=fresh)
        enough = {key for key, one in value["cells"].items() if one["replayed"] >= 6}  # of 8
        if enough:
            break
    key, other = min(enough), min(set(value["cells"]) - enough)
    brought = dict.fromkeys(value["cells"], value["submission"])
    said = lambda value, key, brought: state_of(key, [Replay.model_validate(value)], brought)  # noqa: E731
    assert (said(value, key, brought), said(value, other, brought)) == (VERIFIED, NOT_REPLAYED)
    assert (said(value, key, {}), said(value, other, {})) == (VERIFIED, OWN)
    private = made_record(packed.folder, 14, public=False, fresh=fresh)
    assert (said(private, key, brought), said(private, other, brought)) == (NOT_PUBLIC, NOT_REPLAYED)
    differing = made_record(packed.folder, 14, changed=1, fresh=fresh)
    (key,) = {row["cell"] for row in differing["rows"] if not row["equal"]}
    other = min(set(value["cells"]) - {key})
    assert (said(differing, key, {}), said(differing, other, {})) == (DIFFERENCES, OWN)
    assert said(differing, other, brought) == DIFFERENCES  # the submission that brought it is not to be trusted
    both = [Replay.model_validate(each) for each in (differing, made_record(packed.folder, "all"))]
    assert state_of(key, both, brought) == DIFFERENCES  # a later record does not undo it
