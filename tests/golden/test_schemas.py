"""Every schema that was ever written can be read, and rows of an earlier one upgraded without changing a value."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from xaibench.errors import XaibenchError
from xaibench.publication.index import FORMAT_VERSION, read_index
from xaibench.results.schema import SCHEMA, SCHEMA_VERSION, VERSION_KEY
from xaibench.results.store import Store
from xaibench.results.upgrade import outdated, upgrade_folder
from xaibench.results.validate import inspect

FOLDERS = Path(__file__).parent / "schemas"
MEANS = {  # printed by the version that wrote the rows (`leaderboard --format json`)
    "sds": {"ixg": 0.8666666666666667, "grad-cam": 0.39999999999999997, "random": -0.39999999999999997},
    "epg": {"ixg": 0.34715795293256596, "grad-cam": 0.3158071951289024, "random": 0.31433492122846923},
}


@pytest.fixture
def folder(tmp_path):
    """A copy of a fixture: folder("rows_1")."""
    return lambda name: Path(shutil.copytree(FOLDERS / name, tmp_path / name))


def stored(root: Path) -> list[pd.DataFrame]:
    """The rows of each file as they are stored."""
    return [pq.read_table(path).to_pandas() for path in sorted((root / "rows").rglob("*.parquet"))]


def means(command, protocol: str, root: Path) -> dict[str, float]:
    status, out, err = command("leaderboard", protocol, "--out", root, "--format", "json")
    assert status == 0, err
    return {row["method"]: row["mean"] for row in json.loads(out)["rows"]}


def test_there_is_a_fixture_of_every_schema():
    versions = {int(pq.read_schema(path).metadata[VERSION_KEY]) for path in Path(__file__).parent.rglob("*.parquet")
                if VERSION_KEY in (pq.read_schema(path).metadata or {})}  # fmt: skip
    assert versions == set(range(1, SCHEMA_VERSION + 1))
    boards = {json.loads(path.read_text())["format_version"] for path in FOLDERS.glob("*/board.json")}
    assert boards == set(range(1, FORMAT_VERSION)), "3, of today, is written by the tests of submissions"


@pytest.mark.parametrize("protocol", MEANS)
def test_boards_of_old_rows_before_and_after(folder, command, protocol):
    root = folder("rows_1")
    assert means(command, protocol, root) == pytest.approx(MEANS[protocol], rel=1e-9)
    assert command("results", "upgrade", root)[0] == 0
    assert means(command, protocol, root) == pytest.approx(MEANS[protocol], rel=1e-9)


def test_the_upgrade_keeps_every_value_and_adds_nulls(folder):
    root = folder("rows_1")
    (before,) = stored(root)
    (item,) = upgrade_folder(root)
    assert (item.version, item.rows) == (1, len(before)) and outdated(root) == []
    (after,) = stored(root)
    pd.testing.assert_frame_equal(after[before.columns], before)
    assert after[["label", "correct"]].isna().all(axis=None)
    assert pq.read_schema(item.path).equals(SCHEMA, check_metadata=True)
    assert not inspect(root).problems and (root / "current.parquet").is_file()
    assert sorted(p.name for p in (root / "cells").iterdir()) == sorted(
        p.name for p in (FOLDERS / "rows_1" / "cells").iterdir()
    )


def test_a_reader_that_looked_before_the_upgrade_reads_the_same_after_it(folder):
    reader = Store.open(folder("rows_1"))
    before = reader.rows()
    upgrade_folder(reader.root)
    pd.testing.assert_frame_equal(reader.rows(), before)


def test_a_dry_run_changes_nothing_and_a_second_upgrade_neither(folder, command):
    root = folder("rows_1")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    status, out, _ = command("results", "upgrade", root, "--dry-run")
    assert status == 0 and "36 rows, schema 1 -> 2" in out and "nothing was changed" in out
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    command("results", "upgrade", root)
    after = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert command("results", "upgrade", root)[1] == "nothing to do: all rows have schema 2\n"
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == after


def test_one_file_that_cannot_be_read_stops_the_upgrade_before_anything_changed(folder, command):
    root = folder("rows_1")
    (root / "rows" / "99990101T000000.000000Z-00000000.parquet").write_bytes(b"no rows")
    before = sorted((root / "rows").glob("2*.parquet"))[0].read_bytes()
    status, _, err = command("results", "upgrade", root)
    assert status == 2 and len(err.splitlines()) == 1 and "not a whole Parquet file" in err
    assert sorted((root / "rows").glob("2*.parquet"))[0].read_bytes() == before


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION))
def test_older_board_folders_are_read_and_never_rewritten(folder, command, version):
    root = folder(f"board_{version}")
    assert read_index(root).format_version == version and not inspect(root).problems
    assert command("validate", root)[0] == 0
    assert means(command, "epg", root) == pytest.approx(MEANS["epg"], rel=1e-9)
    with pytest.raises(XaibenchError, match="is a board folder, whose files stay as they were published"):
        upgrade_folder(root)
