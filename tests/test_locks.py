"""Locks: one process at a time, freed however a process ends, and the message that says who holds them."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import xaibench
from xaibench.errors import XaibenchError
from xaibench.locks import claim, is_held, living
from xaibench.locks import holder as holder_of

HOLDER = """
import sys, time
from pathlib import Path
from xaibench.locks import claim

with claim(Path(sys.argv[1]), sys.argv[2:], "xaibench run 'two words'", "it is being done"):
    print("held", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def holder(folder, *names):
    """Another process that holds locks, killed at the end."""
    environment = os.environ | {"PYTHONPATH": str(Path(xaibench.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder, *names], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def mine(folder, *names):
    return claim(folder, names, "xaibench run mine", "the same is being done", ", or do another")


@pytest.mark.process
def test_what_another_process_holds_is_refused_in_words_that_name_it_and_freed_by_sigkill(tmp_path):
    folder = tmp_path / "locks"
    with holder(folder, "a", "b") as process:
        with pytest.raises(XaibenchError) as caught, mine(folder, "b", "c"):
            pytest.fail("two processes hold b")
        assert str(caught.value).startswith(f"the same is being done by process {process.pid}, started 20")
        assert "UTC: xaibench run 'two words'; wait until it ends and give the same command again, or do" in str(
            caught.value
        )
        with mine(folder, "c"):  # what was claimed before the refusal was let go; other names are free
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        with mine(folder, "a", "b"):
            records = list(folder.glob("owner-*.json"))
            assert len(records) == 1, "the record of the killed process is gone"
    assert not list(folder.glob("owner-*.json")) and len(list(folder.glob("*.lock"))) == 3


def test_a_process_excludes_itself_too_and_lets_go_after_errors(tmp_path):
    with pytest.raises(ZeroDivisionError), mine(tmp_path, "a"):
        with pytest.raises(XaibenchError, match=f"by process {os.getpid()}"), mine(tmp_path, "a"):
            pytest.fail("held twice")
        raise ZeroDivisionError
    with mine(tmp_path, "a"):
        pass


def test_nothing_to_do_makes_no_folder(tmp_path):
    with mine(tmp_path / "locks"):
        assert not (tmp_path / "locks").exists()


def test_a_file_system_without_locks_is_worked_on_without_them(tmp_path, monkeypatch):
    from filelock import FileLock

    def no_locks(self):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(FileLock, "_acquire", no_locks)
    with mine(tmp_path, "a"), mine(tmp_path, "a"):
        pass


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "is read-only for you")]
)
def test_a_folder_that_cannot_be_written_is_one_line(number, words, tmp_path, monkeypatch):
    from filelock import FileLock

    def fails(self):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(FileLock, "_acquire", fails)
    with pytest.raises(XaibenchError, match=words), mine(tmp_path, "a"):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(XaibenchError, match="a file is in the way"), mine(tmp_path / "file" / "locks", "a"):
        pass


@pytest.mark.process
def test_a_record_that_cannot_be_read_only_makes_the_message_shorter(tmp_path):
    with holder(tmp_path, "a"):
        for record in tmp_path.glob("owner-*.json"):
            record.write_text("{")
        with pytest.raises(XaibenchError, match="being done by another process; wait"), mine(tmp_path, "a"):
            pass


@pytest.mark.parametrize("record", [{"names": 3}, {"names": [["a"]]}, {"names": None}, [], 3])
def test_records_of_no_known_form_are_passed_over(tmp_path, record):
    (tmp_path / "owner-x.json").write_text(json.dumps(record))
    with claim(tmp_path, ["a"], "xaibench x", "it is done"):
        assert "xaibench" in holder_of(tmp_path, "a")


def test_others_see_whether_a_process_lives(tmp_path):
    folder = tmp_path / "locks"
    assert not is_held(folder, "run-1")
    with living(folder, "run-1"):
        assert is_held(folder, "run-1") and not is_held(folder, "run-2")
        folder.chmod(0o500)  # looking changes nothing
        assert is_held(folder, "run-1")
        folder.chmod(0o700)
    assert not is_held(folder, "run-1") and list(folder.iterdir()) == []


@pytest.mark.process
def test_a_killed_process_does_not_live(tmp_path):
    folder = tmp_path / "locks"
    with holder(folder, "a") as process:
        assert is_held(folder, "a")
        process.kill()
        process.wait()
        assert not is_held(folder, "a") and (folder / "a.lock").exists()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_lock_file_is_not_held(tmp_path, make):
    make(tmp_path / "a.lock")
    assert not is_held(tmp_path, "a")
