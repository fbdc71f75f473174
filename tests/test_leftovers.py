"""What killed processes leave is removed by the next one, and what running ones write is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from xaibench.files import make_folder, write_atomic
from xaibench.leftovers import DAY, is_running, sweep, temporary
from xaibench.results.store import Store

KILLED = """
import os, sys
from pathlib import Path
from xaibench.files import write_atomic
os.fsync = lambda handle: os.kill(os.getpid(), 9)
write_atomic(Path(sys.argv[1]) / "weights.safetensors", b"x" * 1000)
"""


def killed(folder) -> None:
    """A process that is killed while it writes a file, as at a power cut."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL


def test_the_file_of_a_killed_process_is_removed_at_once(tmp_path):
    killed(tmp_path)
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(".tmp") and left.stat().st_size == 1000
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["rows", "cells", "runs", "lists"])
def test_every_folder_of_results_is_swept_by_the_next_run(tmp_path, folder):
    Store.create(tmp_path)
    killed(tmp_path / folder)
    Store.create(tmp_path)
    assert list((tmp_path / folder).iterdir()) == []


def test_what_a_running_process_writes_stays(tmp_path):
    mine = temporary(tmp_path / "a.parquet")
    mine.write_bytes(b"half")
    sweep(tmp_path)
    assert mine.exists()


@pytest.mark.parametrize("name", [".a.parquet.0123abcd.tmp", ".a.pth.ffffff-1-0123abcd.part"])
def test_files_of_another_host_or_an_older_version_go_after_a_day(tmp_path, name):
    """Their process cannot be asked; a file that is being written changes more often."""
    path = tmp_path / name
    path.write_bytes(b"half")
    sweep(tmp_path)
    assert path.exists()
    yesterday = time.time() - DAY - 60
    os.utime(path, (yesterday, yesterday))
    sweep(tmp_path)
    assert not path.exists()


@pytest.mark.parametrize("name", ["a.tmp", ".a.tmp", ".a.parquet.0123abcd", "notes.0123abcd.tmp", ".x.0123abcd.tmpl"])
def test_other_files_stay(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"mine")
    os.utime(path, (0, 0))
    make_folder(tmp_path)
    assert path.exists()


def test_links_and_folders_with_such_names_stay(tmp_path):
    target = tmp_path / "target"
    target.write_bytes(b"mine")
    os.utime(target, (0, 0))
    (tmp_path / ".a.0123abcd.tmp").symlink_to(target)
    (tmp_path / ".b.0123abcd.tmp").mkdir()
    sweep(tmp_path)
    assert target.exists() and len(list(tmp_path.iterdir())) == 3


def test_a_folder_that_is_not_there_is_no_error(tmp_path):
    sweep(tmp_path / "nowhere")


def test_a_written_file_leaves_nothing(tmp_path):
    write_atomic(tmp_path / "a.json", b"{}")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_which_processes_run():
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert is_running(os.getpid()) and is_running(1) and not is_running(done.pid) and not is_running(10**12)
