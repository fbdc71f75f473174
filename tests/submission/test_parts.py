"""Rows of a submission are read a few results at a time, with the same answers as from all of them at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

sys.path.append(str(Path(__file__).parent))  # for `forgeries.py` and `made.py`
from forgeries import structural
from made import made_submission
from records import made_record

from xaibench.results import parts
from xaibench.results.parts import Parts
from xaibench.results.replays import Replay
from xaibench.results.store import Store
from xaibench.submission.archive import unpacked
from xaibench.submission.check import check
from xaibench.submission.draw import seed_of
from xaibench.submission.record import counts_of, drawn_of, record_problems, rows_of

OF_ROWS = ("forged rows", "names with scripts and escapes", "images left out or added")
MEASURED = """
import resource, sys
from pathlib import Path
from xaibench.results import parts, validate
from xaibench.submission.check import check
parts.TOGETHER = validate.TOGETHER = 30_000
found = check(Path(sys.argv[1]))
print(found.rows, len(found.problems), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


@pytest.mark.parametrize("together", [parts.TOGETHER, 1])
def test_what_is_drawn_does_not_depend_on_how_rows_are_read(packed, monkeypatch, together):
    """By pandas and NumPy, from all rows at once."""
    monkeypatch.setattr(parts, "TOGETHER", together)
    rows, store = pq.read_table(packed.folder / "rows").to_pandas(), Store.open(packed.folder)
    pairs = sorted(set(zip(rows["cell"], rows["image_id"], strict=True)))
    read = Parts(store)
    counts = counts_of(read)
    assert counts == rows.groupby("cell")["image_id"].nunique().to_dict() and list(counts) == sorted(counts)
    for count, fresh in ((1, "0"), (5, "1"), (23, "2"), (24, "3"), (99, "4"), (None, "5")):
        seed, most = seed_of(packed.hash, fresh), min(count or 24, 24)
        chosen = sorted(np.random.default_rng(seed).choice(24, most, replace=False))
        found = drawn_of(read, counts, count, seed)
        assert found == [pairs[place] for place in chosen]
        stored, largest = rows_of(read, found)
        assert sorted(zip(stored["cell"], stored["image_id"], strict=True)) == found
        expected = rows["score"].abs().groupby(rows["cell"]).max()
        assert {key: value for (key, _), value in largest.items()} == {key: expected[key] for key, _ in found}


@pytest.mark.slow
def test_what_is_told_does_not_depend_on_how_rows_are_read(packed, relisted, tmp_path, monkeypatch):
    """Of forged rows: the same problems in the same order, from parts of one result each."""
    tried = 0
    for number, (kind, _, forge) in enumerate(structural(packed.folder)):
        if kind not in OF_ROWS or number % 23:
            continue
        path = forge(Path(shutil.copytree(packed.folder, tmp_path / str(number) / "mine")), relisted)
        board = path.parent / "board"
        told = []
        for together in (parts.TOGETHER, 1):
            monkeypatch.setattr(parts, "TOGETHER", together)
            with unpacked(path) as root:
                found = check(root, board if board.is_dir() else None)
            told.append(list(map(str, found.problems)))
        assert told[0] == told[1] != []
        tried += 1
    assert tried > 5
    value = made_record(packed.folder)
    value["rows"][0]["submitted"] += 0.5
    store = Store.open(packed.folder)
    assert list(record_problems(Replay.model_validate(value), store.cells(), Parts(store)))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_results(tmp_path):
    """Checks of 150 000 and of 750 000 rows; all of the latter together are more than 0.4 GiB."""
    peak = {}
    for boards in (10, 50):
        root = tmp_path / str(boards)
        made_submission(root, boards, 5_000)
        answer = subprocess.run([sys.executable, "-c", MEASURED, root], capture_output=True, text=True, check=True)
        rows, problems, peak[boards] = map(int, answer.stdout.split())
        assert (rows, problems) == (boards * 3 * 5_000, 0)
    print(f"MiB: {peak}")
    assert peak[50] < peak[10] + 150
