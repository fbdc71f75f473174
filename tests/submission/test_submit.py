"""What is packed, and that a sound submission is accepted."""

from __future__ import annotations

import hashlib
import json
import zipfile

import pytest

from xaibench.errors import XaibenchError
from xaibench.submission.archive import NAMES, unpacked
from xaibench.submission.check import check
from xaibench.submission.pack import submit


def test_a_sound_submission_has_no_problem(packed, command):
    status, out, _ = command("validate", packed.zip)
    assert status == 0 and packed.hash in out and "24 rows in 3 cells: no problems" in out
    assert command("validate", packed.folder)[0] == 0


def test_zip_and_folder_hold_the_same_and_no_ranks(packed):
    with zipfile.ZipFile(packed.zip) as archive:
        names = {name: archive.read(name) for name in archive.namelist()}
    assert all(NAMES.fullmatch(name) for name in names)
    listed = json.loads(names["submission.json"])
    assert listed["methods"] == ["mine"] and listed["card"] == "source/plugin_mine.py"
    assert listed["files"] == {name: hashlib.sha256(data).hexdigest()
                               for name, data in names.items() if name != "submission.json"}  # fmt: skip
    assert names == {path.relative_to(packed.folder).as_posix(): path.read_bytes()
                     for path in packed.folder.rglob("*") if path.is_file()}  # fmt: skip
    assert hashlib.sha256(names["submission.json"]).hexdigest() == packed.hash


def test_results_of_another_version_of_the_code_are_not_packed(packed, tmp_path):
    other = tmp_path / "plugin_mine.py"
    other.write_text((packed.root / "plugin_mine.py").read_text() + "# edited\n")
    with pytest.raises(XaibenchError, match="none of the results"):
        submit(packed.root / "results", other, tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


def test_a_board_keeps_what_it_has(packed, mine, relisted):
    """Against the honest results as a board, the same rows pass, and one changed score does not."""
    import pyarrow.parquet as pq

    with unpacked(mine) as root:
        assert not check(root, packed.root / "results").problems
    path = next(mine.glob("rows/*/*/*.parquet"))
    table = pq.read_table(path)
    table = table.set_column(6, table.schema.field("score"), [[0.123456, *table["score"].to_pylist()[1:]]])
    pq.write_table(table, path)
    relisted(mine)
    with unpacked(mine) as root:
        assert not check(root).problems
        (problem,) = check(root, packed.root / "results").problems
    assert problem.kind == "key" and "results of others are not replaced" in problem.text


def test_the_folder_of_a_record_is_made_before_the_replay(packed, tmp_path, command, monkeypatch):
    """A replay takes hours: whether its record can be written is known before."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("xaibench.submission.replay.rows_apart", lambda *arguments: pytest.fail("computed"))
    status, _, err = command("validate", packed.zip, "--replay", "1", "--trust", "--record", tmp_path / "file" / "r")
    assert status and "a file is in the way" in err
    monkeypatch.setattr("xaibench.submission.replay.rows_apart", lambda *arguments: [])
    status, out, _ = command("validate", packed.zip, "--replay", "1", "--trust", "--record", tmp_path / "new" / "r")
    assert status == 1 and "0 of 1 rows are equal" in out and (tmp_path / "new" / "r").is_file()


def test_each_command_says_what_it_was_given_in_place_of_what(packed, tmp_path, command):
    """In one line: a file or another folder for results, results for a submission, a record that is not there."""
    card, out = packed.root / "plugin_mine.py", tmp_path / "out"
    for words, told in (
        (("submit", packed.zip, "--card", card, "--to", out), "mine.zip is a file, not a results folder"),
        (("submit", tmp_path / "no", "--card", card, "--to", out), "no, which is not there; name a folder"),
        (("submit", packed.root, "--card", card, "--to", out), "is not a results folder"),
        (("validate", card), "plugin_mine.py is a file, not a results folder"),
        (("validate", packed.root / "results", "--replay", "3"), "is none: `xaibench submit` makes one"),
        (("publish", packed.zip, "--to", out, "--replay", tmp_path / "no"), "--record FILE` writes the record"),
        (("site", "build", packed.zip), "mine.zip is a file, not a results folder"),
    ):
        status, _, err = command(*words)
        assert status == 2 and told in err.splitlines()[-1], (words, err)
    assert not out.exists()
