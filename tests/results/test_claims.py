"""Claims: two processes never have the same results of the same images, whoever is killed has none, and few files are
open."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xaibench
from xaibench.errors import XaibenchError
from xaibench.locks import try_lock
from xaibench.results import claims as claims_file
from xaibench.results.claims import Claims, overlap

HOLDER = """
import sys, time
from pathlib import Path
from xaibench.results.claims import Claims

with Claims(Path(sys.argv[1]), ["a", "b"], "xaibench run 'two words'") as mine:
    print(mine.take(["a"], ("10", "19")), mine.name, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process with a claim to the images 10 to 19 of the keys a and b."""
    environment = os.environ | {"PYTHONPATH": str(Path(xaibench.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True, env=environment
    )
    taken, process.name = process.stdout.readline().split()
    assert taken == "True"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def number(place: int) -> str:
    return f"{place:016x}"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.sets(st.integers(0, 3), min_size=1), st.integers(0, 20),
                          st.integers(0, 5), st.booleans()), max_size=12))  # fmt: skip
def test_claims_are_granted_exactly_where_no_other_has_a_key_and_an_image(tmp_path_factory, steps):
    """The oracle: a set of (key, image) for each claim."""
    folder = tmp_path_factory.mktemp("locks")
    every = [f"key {key}" for key in range(4)]
    having: list[dict] = [{}, {}, {}]
    with ExitStack() as stack:
        all_claims = [stack.enter_context(Claims(folder, every, "x")) for _ in having]
        for who, keys, first, more, give_back in steps:
            span = number(first), number(first + more)
            if give_back and having[who]:
                gone = next(iter(having[who]))
                all_claims[who].release([gone])
                del having[who][gone]
            taken = {image for at, mine in enumerate(having) if at != who for some in mine.values() for image in some}
            wanted = set(range(first, first + more + 1))
            if span not in having[who]:
                granted = all_claims[who].take([every[key] for key in keys], span)
                assert granted == taken.isdisjoint(wanted)
                if granted:
                    having[who][span] = wanted
    assert [path.name for path in folder.glob("claims-*")] == []


def test_processes_with_other_keys_go_on_side_by_side(tmp_path):
    with Claims(tmp_path, ["a", "b"], "x") as one, Claims(tmp_path, ["b", "c"], "y") as two:
        assert one.take(["a", "b"], ("1", "2"))
        assert two.take(["c"], ("1", "2")), "it lacks b nowhere here"
        assert not two.take(["b", "c"], ("2", "3"))
        assert two.take(["b", "c"], ("3", "4"))
        assert two.owner(("1", "1")).startswith(f"process {os.getpid()}, started 20") and ": x" in two.owner(("1", "1"))
        one.release([("1", "2")])
        assert two.take(["b"], ("2", "2")) and two.owner(("1", "1")) == "another process"


@pytest.mark.process
def test_a_killed_process_has_no_claims_and_its_files_go(tmp_path, other):
    with Claims(tmp_path, ["b"], "mine") as mine:
        assert not mine.take(["b"], ("19", "30"))
        assert "xaibench run 'two words'" in mine.owner(("19", "30")) and f"process {other.pid}," in mine.owner(
            ("19", "30")
        )
        assert mine.take(["b"], ("20", "30"))
        other.kill()
        other.wait()
        assert mine.take(["b"], ("10", "19"))
        assert not list(tmp_path.glob(f"{other.name}*"))


@pytest.mark.process
def test_the_claims_of_a_killed_process_go_when_another_begins(tmp_path, other):
    other.kill()
    other.wait()
    with Claims(tmp_path, ["c"], "mine") as mine:
        assert mine.take(["c"], ("90", "91"))
        assert json.loads((tmp_path / "claims.json").read_text()) == {mine.name: [["90", "91"]]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["claims.json", "claims.lock"]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "3", '{"claims-0123456789ab": 3}', '{"claims-0123456789ab": [["1"]]}', '{"../../x": [["0", "9"]]}'],
)
def test_a_damaged_table_is_an_empty_one(tmp_path, content):
    (tmp_path / "x.json").write_text("precious")
    folder = tmp_path / "results" / "locks"
    folder.mkdir(parents=True)
    (folder / "claims.json").write_text(content)
    with Claims(folder, ["a"], "mine") as mine:
        assert mine.take(["a"], ("1", "2"))
        assert json.loads((folder / "claims.json").read_text()) == {mine.name: [["1", "2"]]}
    assert (tmp_path / "x.json").read_text() == "precious"


def test_a_living_process_whose_record_is_damaged_keeps_its_claims(tmp_path):
    with Claims(tmp_path, ["a"], "x") as one, Claims(tmp_path, ["b"], "y") as two:
        assert one.take(["a"], ("1", "2"))
        (tmp_path / f"{one.name}.json").write_text("{")
        assert not two.take(["b"], ("1", "2")) and two.owner(("1", "2")) == "another process"


def test_a_table_that_another_process_holds_for_long_is_waited_for_once(tmp_path, monkeypatch):
    monkeypatch.setattr(claims_file, "WAIT_SECONDS", 0.2)
    waited = []
    monkeypatch.setattr(claims_file.time, "sleep", waited.append)
    with Claims(tmp_path, ["a"], "x") as mine:
        assert mine.take(["a"], ("1", "2"))
        with try_lock(tmp_path, ["claims"]):
            assert not mine.take(["a"], ("3", "4")) and waited
            waited.clear()
            assert not mine.take(["a"], ("5", "6")) and not waited
            mine.release([("1", "2")])
        assert mine.take(["a"], ("3", "4"))
        assert json.loads((tmp_path / "claims.json").read_text()) == {mine.name: [["3", "4"]]}


def test_without_lock_support_everything_is_granted(tmp_path, monkeypatch):
    import fcntl

    from filelock import FileLock

    def no_locks(lock):
        Path(lock.lock_file).touch()
        raise NotImplementedError("FileSystem does not appear to support flock")

    def unknown(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(FileLock, "_acquire", no_locks)
    monkeypatch.setattr(fcntl, "flock", unknown)
    with Claims(tmp_path, ["a"], "x") as one, Claims(tmp_path, ["a"], "y") as two:
        assert one.take(["a"], ("1", "2")) and two.take(["a"], ("1", "2"))


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "locks").write_text("")
    with pytest.raises(XaibenchError, match="a file is in the way"), Claims(tmp_path / "locks", ["a"], "x") as mine:
        mine.take(["a"], ("1", "2"))


def test_nothing_is_written_before_the_first_claim(tmp_path):
    with Claims(tmp_path / "locks", ["a"], "x") as mine:
        assert mine.owner(("1", "2")) == "another process"
    assert not (tmp_path / "locks").exists()


@given(*[st.tuples(st.integers(0, 9), st.integers(0, 9)).map(sorted)] * 2)
def test_overlap_is_that_of_intervals(one, other):
    found = overlap((number(one[0]), number(one[1])), (number(other[0]), number(other[1])))
    assert found == bool(set(range(one[0], one[1] + 1)) & set(range(other[0], other[1] + 1)))
