"""What `xaibench validate` says of a board folder that is not as it was published; nothing is built upon it."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from xaibench.errors import XaibenchError
from xaibench.publication.api import Request, publish, withdraw
from xaibench.publication.folder import OWN
from xaibench.publication.hub import push
from xaibench.publication.index import read_index
from xaibench.publication.sums import SUMS, unchanged

KINDS = ("README.md", "board.json", "leaderboard.csv", "scores.parquet", "cells.parquet", "boards/*.csv", "boards/*.md",
         "boards/*.json", "figures/*.svg", "rows/*/*/*.parquet", "cells/*.json", "lists/*.json", "runs/*.json",
         "maps/*/*.safetensors")  # fmt: skip


@pytest.fixture
def mine(board, tmp_path):
    return shutil.copytree(board, tmp_path / "board")


def lines(root) -> list[str]:
    return [str(problem) for problem in unchanged(root).problems]


def test_the_list_is_what_coreutils_compute(board):
    """An independent program finds every file as listed, and the list has every file."""
    done = subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=board, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    named = {line.rpartition(": ")[0] for line in done.stdout.splitlines()}
    there = {path.relative_to(board).as_posix() for path in board.rglob("*") if path.is_file()}
    assert named == there - {SUMS}
    assert unchanged(board).files == len(named) and not lines(board)


def test_every_kind_of_file_that_was_edited_is_one_line(mine, command):
    """One byte of each kind of file that publishing writes; the size stays."""
    edited = [sorted(mine.glob(kind))[0] for kind in KINDS]
    assert {path.relative_to(mine).parts[0] for path in edited} == OWN - {
        SUMS,
        "images",
        "comparisons",
        "replays",
        "versions",
    }
    for path in edited:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    names = sorted(path.relative_to(mine).as_posix() for path in edited)
    assert lines(mine) == [f"{name}: changed: its content is not what was published" for name in names]


def test_validate_names_what_is_changed_missing_and_extra(mine, command):
    index = read_index(mine)
    board, other = index.boards
    (mine / board.csv).write_text((mine / board.csv).read_text().replace("ig", "rise"))
    (mine / other.figure).unlink()
    (mine / "boards" / "mine.md").write_text("of another")
    (mine / "notes.txt").write_text("beside the folder's own files")
    code, out, _ = command("validate", mine)
    assert code == 1
    assert out.splitlines() == sorted([
        f"{board.csv}: changed: its content is not what was published", "boards/mine.md: extra: it was not published",
        f"{other.figure}: missing: it was published, and is not there",
    ])  # fmt: skip


def test_a_whole_folder_and_one_of_an_earlier_format(mine, command, earlier_format):
    code, out, _ = command("validate", mine)
    assert code == 0 and f", {unchanged(mine).files} files as published: no problems" in out
    earlier_format(mine)
    code, out, _ = command("validate", mine)
    assert code == 0 and len(out.splitlines()) == 2
    assert out.startswith("board.json: an earlier version without SHA256SUMS") and out.endswith(": no problems\n")


def test_a_list_that_is_damaged_or_gone_is_one_line(mine):
    text = (mine / SUMS).read_bytes()
    first, *rest = text.splitlines(keepends=True)
    number = len(rest) + 2
    for damaged, where in [
        (text.replace(b"  ", b" ", 1), 1), (b"\x00" + text, 1), (text + text, number), (text + first, number),
        (text + b"0" * 64 + b"  ../outside\n", number), (text + b"0" * 64 + b"  /outside\n", number),
        (text + b"F" * 64 + b"  notes\n", number), (text + b"\n", number),
    ]:  # fmt: skip
        (mine / SUMS).write_bytes(damaged)
        assert lines(mine) == [f"SHA256SUMS: unreadable: line {where} is not the SHA-256 and the path of another file"]
    (mine / SUMS).write_bytes(b"".join(rest))
    assert lines(mine) == [f"{first.split()[1].decode()}: extra: it was not published"]
    (mine / SUMS).write_bytes(b"\xff\xfe")
    assert [line.startswith("SHA256SUMS: unreadable: it cannot be read (") for line in lines(mine)] == [True]
    (mine / SUMS).unlink()
    assert lines(mine) == ["SHA256SUMS: missing: it lists what was published, and is not there"]


def test_a_list_that_was_rewritten_is_no_list_of_publish(mine):
    """Its lines end as coreutils end them, in the order of the paths."""
    text = (mine / SUMS).read_text()
    for changed, problem in (
        (text.replace("\n", "\r\n"), "its lines end as on Windows"),
        (text.replace("\n", "\u2028", 1), "line 1 is not the SHA-256 and the path of another file"),
        (text.rstrip("\n"), "its last line has no end"),
        ("".join(reversed(text.splitlines(keepends=True))), "its lines are in another order"),
    ):
        (mine / SUMS).write_bytes(changed.encode())
        (line,) = lines(mine)
        assert line.startswith(f"SHA256SUMS: unreadable: {problem}")
    (mine / SUMS).write_bytes(text.replace("\n", "\r\n").encode())
    assert "core.autocrlf=false" in lines(mine)[0]


def test_links_in_the_folder_are_a_line(mine, tmp_path):
    (tmp_path / "outside").write_bytes((mine / SUMS).read_bytes())
    link = mine / "boards" / "link.csv"
    link.symlink_to(tmp_path / "outside")
    assert len(lines(mine)) == 1 and "is a link" in lines(mine)[0]
    link.unlink()
    os.mkfifo(link)
    assert len(lines(mine)) == 1 and "link.csv is neither a file nor a folder; remove it" in lines(mine)[0]
    link.unlink()
    (mine / SUMS).unlink()
    (mine / SUMS).symlink_to(tmp_path / "outside")
    assert lines(mine) == ["SHA256SUMS: unreadable: it is a link, which no board folder has"]


@pytest.mark.slow
def test_earlier_versions_are_compared_too(results, mine):
    assert publish(results, mine, Request(title="another")).index.version == 2
    assert not lines(mine)
    old = mine / "versions" / "1" / read_index(mine).boards[0].csv
    old.write_text("edited")
    name = old.relative_to(mine).as_posix()
    assert lines(mine) == [f"{name}: changed: its content is not what was published"]
    assert not (mine / "versions" / "1" / SUMS).exists()


def test_nothing_is_published_withdrawn_or_pushed_on_a_changed_folder(results, mine, monkeypatch):
    table = mine / "leaderboard.csv"
    table.write_text(table.read_text().replace("0.", "1."))
    edited = table.read_bytes()
    for call in (
        lambda: publish(results, mine), lambda: publish(results, mine, Request(title="another", dry_run=True)),
        lambda: withdraw(mine, ["vgg16"], "wrong weights"), lambda: push(mine, "ann/boards"),
    ):  # fmt: skip
        with pytest.raises(
            XaibenchError, match=r"was changed since it was published: leaderboard\.csv: changed"
        ) as one:
            call()
        assert len(str(one.value).splitlines()) == 1
    assert table.read_bytes() == edited and read_index(mine).version == 1


@pytest.mark.slow
def test_a_folder_of_an_earlier_format_gets_the_list_when_it_is_published_to(results, mine, earlier_format):
    earlier_format(mine)
    found = publish(results, mine)
    assert (found.changed, found.index.version, found.index.format_version) == (True, 2, 2)
    assert not lines(mine) and unchanged(mine).files
