"""A made-up results folder of 50 000 rows: the same answers as from all rows at once, whatever is kept in memory."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xaibench.analysis.across_models import across_models
from xaibench.analysis.agreement import SPLITS, halves_of
from xaibench.analysis.progress import progress
from xaibench.analysis.rank_correlation import order_of
from xaibench.publication.rows import rows_folder
from xaibench.results import validate
from xaibench.results.schema import SCHEMA
from xaibench.results.store import Store
from xaibench.seeds import derive
from xaibench.site import content

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "many_rows.py"
BOARDS, METHODS, IMAGES = 10, 10, 500


@pytest.fixture(scope="module")
def many():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))  # processes that it starts have it too
        yield importlib.import_module("many_rows")


@pytest.fixture(scope="module")
def root(many, tmp_path_factory) -> Path:
    many.SHARD = 200  # so that each board is in three files
    return many.make(tmp_path_factory.mktemp("many") / "results", 50_000, METHODS, IMAGES, models=2).root


@pytest.fixture(scope="module")
def means(root) -> dict[str, float]:
    """Of each cell the mean of its scores, an undefined map as 0: by pandas, from all rows at once."""
    rows = pq.read_table(root / "rows").to_pandas()
    assert len(rows) == BOARDS * METHODS * IMAGES and rows["score"].isna().any()
    return rows.fillna({"score": 0.0}).groupby("cell")["score"].mean().to_dict()


def table_of(rows: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(rows, SCHEMA, preserve_index=False).replace_schema_metadata(SCHEMA.metadata)


@pytest.mark.parametrize("most", [pytest.param(content.MOST_ROWS, marks=pytest.mark.slow), 1])
def test_boards_of_a_site_have_the_means_of_all_rows_whatever_is_kept(root, means, monkeypatch, most):
    monkeypatch.setattr(content, "MOST_ROWS", most)
    found = content.Content(root)
    assert len(found.boards) == BOARDS
    for one in found.boards:
        keys = {cell.method_name: cell.key for cell in one.board.cells}
        expected = [means[keys[name]] for name in one.found.table["method"]]
        np.testing.assert_allclose(one.found.table["mean"], expected, rtol=0, atol=1e-12)
        assert (one.found.table["n_images"] == IMAGES).all()
        assert one.found.image_scores().mean().tolist() == pytest.approx(expected, abs=1e-12)  # from rows read again
    kept = found.store._rows.values()
    assert len(kept) == (1 if most == 1 else BOARDS), "the rows of one board, or of all"


@pytest.mark.slow
def test_a_site_opens_each_board_once_and_says_what_the_command_says(root, monkeypatch):
    opened, of_board = [], content.open_board

    def counted(store, board, *others, **options):
        opened.append(board.key)
        return of_board(store, board, *others, **options)

    monkeypatch.setattr(content, "open_board", counted)
    found = content.Content(root)
    joined = found.across[0].found
    assert len(found.across) == BOARDS / 2 and found.agreement("setting", "sds", "model-00", None)
    assert sorted(opened) == sorted({one.board.key for one in found.boards})
    key = found.across[0].slug.rpartition("-")[2]
    alone = across_models(root, "sds", board=key, comparable=joined.comparable)
    assert joined.table.equals(alone.table) and joined.models.equals(alone.models)


def test_only_files_with_the_rows_that_are_asked_for_are_read(root, tmp_path, monkeypatch):
    store = Store.open(root)
    board = next(iter(store.cells().values())).board
    keys = {key for key, cell in store.cells().items() if cell.board == board}
    assert len(store.shards()) == 3 * BOARDS and len(store.shards(keys)) == 3
    published = Store.create(tmp_path / "board")
    for key in sorted(keys)[:2]:
        path = published.root / rows_folder(store.cell(key).context) / f"{key}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table_of(store.rows([key])), path)
    first, second = published.shards()
    second.write_bytes(b"damaged")  # which nobody sees who asks for the other
    assert len(published.rows([first.stem])) == IMAGES and published.done([first.stem])[first.stem]


@pytest.mark.slow
def test_checks_of_few_cells_at_a_time_find_what_those_of_all_find(root, many, monkeypatch, tmp_path):
    def problems(folder):
        found = validate.inspect(folder)
        return found.rows, found.cells, list(map(str, found.problems))

    store = many.make(tmp_path / "bad", 1, 4, 30, models=2)
    many.make(tmp_path / "bad", 1, 4, 30, models=2)  # its run again, with the same rows twice
    rows = store.rows().iloc[:40]
    changed = rows.assign(score=-2.0, status="ok", image_digest="other")
    store.append(table_of(changed))
    stranger = rows.iloc[:3].assign(cell="f" * 16, image_digest="third")
    store.append(table_of(stranger))
    (store.root / "cells" / f"{rows['cell'].iloc[0]}.json").write_text("{}")
    whole = problems(store.root)
    kinds = {text.split(": ")[1] for text in whole[2]}
    assert {"unreadable", "orphan", "range", "duplicate", "digest"} <= kinds
    monkeypatch.setattr(validate, "TOGETHER", 1)
    assert problems(store.root) == whole
    monkeypatch.setattr(validate, "TOGETHER", BOARDS * METHODS * IMAGES // 5)
    assert problems(root) == (BOARDS * METHODS * IMAGES, BOARDS * METHODS, [])


def test_progress_counts_every_run_by_itself(root):
    found = progress(Store.open(root))
    assert [(run.planned, run.done, run.missing) for run in found] == [
        (METHODS * IMAGES, METHODS * IMAGES, {})
    ] * BOARDS


@pytest.mark.parametrize("methods", [1, 2, 23])
def test_halves_one_by_one_are_those_of_one_gather(methods):
    scores = np.random.default_rng(3).normal(size=(101, methods))
    rng = np.random.default_rng(derive(0, "halves of the images"))
    drawn = np.stack([rng.permutation(101)[:100] for _ in range(SPLITS)])
    expected = [order_of(scores[part].mean(axis=1)) for part in (drawn[:, :50], drawn[:, 50:])]
    assert all((one == other).all() for one, other in zip(halves_of(scores), expected, strict=True))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_boards(many, tmp_path):
    many.SHARD = 5_000
    sizes = []
    for boards in (2, 20):
        root = tmp_path / str(boards)
        many.make(root, boards * 10 * 10_000, 10, 10_000, models=4)
        for name in ("scores", "status", "validate"):
            answer, _, _, memory = many.measured(many.TASKS[name], root)
            assert answer != "failed"
            sizes.append((name, boards, memory))
    peak = {(name, boards): memory for name, boards, memory in sizes}
    for name in ("scores", "status"):
        assert peak[name, 20] < peak[name, 2] + 0.3, "GiB; all rows together would be more than that"
    assert peak["validate", 20] < 2
