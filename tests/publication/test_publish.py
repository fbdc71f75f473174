"""What `xaibench publish` writes: a results folder that others can read, the same bytes for the same results."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter

import pandas as pd
import pyarrow.parquet as pq
import pytest

from xaibench import registry
from xaibench.analysis.leaderboard import open_leaderboard
from xaibench.errors import XaibenchError
from xaibench.publication.api import Request, publish
from xaibench.publication.collect import Selection
from xaibench.publication.index import Index, read_index
from xaibench.publication.rows import SCORE_COLUMNS
from xaibench.results.manifest import RunManifest
from xaibench.results.schema import MEANINGS, SCHEMA
from xaibench.results.store import Store
from xaibench.results.validate import inspect


def files(root) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_folder_is_a_results_folder_with_the_same_boards(results, board):
    found = inspect(board)
    assert not found.problems
    assert (found.rows, found.cells) == (2 * 4 * 12, 8)
    for model in ("resnet18", "vgg16"):
        there, here = (open_leaderboard(root, "idsds", model=model) for root in (results, board))
        pd.testing.assert_frame_equal(there.table, here.table)
        assert there.title == here.title


def test_validate_and_leaderboard_take_it(results, board, command):
    assert command("validate", board)[0] == 0
    status, table, _ = command("leaderboard", "idsds", "--out", board, "--model", "vgg16", "--format", "csv")
    entry = next(one for one in read_index(board).boards if one.model == "vgg16")
    assert status == 0
    assert table == (board / entry.csv).read_text()


def test_the_index_names_what_is_there(board):
    index = read_index(board)
    assert index.version == 1
    assert [(one.protocol, one.model, one.images, len(one.cells)) for one in index.boards] == [
        ("idsds", "resnet18", 12, 4), ("idsds", "vgg16", 12, 4),
    ]  # fmt: skip
    for entry in index.boards:
        assert sorted(path.stem for path in (board / entry.rows).iterdir()) == entry.cells
        assert Store.open(board).load_list(entry.image_list) == [f"test/{n:06d}" for n in range(12)]


def test_records_are_read_as_often_for_two_boards_as_for_one(results, tmp_path, monkeypatch):
    """Reading all of them for each board makes the hours of publishing grow with the square of the boards."""
    reads: Counter[str] = Counter()
    load = RunManifest.load.__func__
    monkeypatch.setattr(
        RunManifest, "load", classmethod(lambda cls, path: reads.update([path.name]) or load(cls, path))
    )
    publish(results, tmp_path / "one", Request(Selection(model="vgg16")))
    of_one = max(reads.values())
    reads.clear()
    publish(results, tmp_path / "two")
    assert max(reads.values()) == of_one


def test_rows_in_pandas_give_the_means_of_the_boards(board):
    """With pandas alone and what `cells.parquet` says: an undefined map counts at its cost."""
    rows, results = pd.read_parquet(board / "rows"), pd.read_parquet(board / "cells.parquet")
    rows = rows.merge(results[["cell", "metric", "undefined_cost"]], on=["cell", "metric"])
    rows["score"] = rows["score"].where(rows["status"] == "ok", rows["undefined_cost"])
    means = rows.groupby(["model", "method"])["score"].mean()
    table = pd.read_csv(board / "leaderboard.csv").set_index(["model", "method"])
    assert len(table) == 8
    pd.testing.assert_series_equal(means.sort_index(), table["mean"].sort_index(), check_names=False)


def blocks(board, language: str) -> list[str]:
    """The worked examples of a language in the card of a folder."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (board / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def test_the_examples_of_the_card_in_pandas(board, monkeypatch):
    monkeypatch.chdir(board)
    [code] = blocks(board, "python")
    shown: list = []
    exec(code, {"print": shown.append})
    means, rows = shown
    table = pd.read_csv("leaderboard.csv").set_index(["protocol", "model", "method"])
    assert len(means) == 8
    pd.testing.assert_series_equal(means.sort_index(), table["mean"].sort_index(), check_names=False)
    assert len(rows) == 2 * 4 * 12 and set(rows["kind"]) == {"method", "control"}


def test_the_examples_of_the_card_in_duckdb(board, monkeypatch):
    duckdb = pytest.importorskip("duckdb", reason="needs DuckDB")
    monkeypatch.chdir(board)
    means, rows, meanings = (duckdb.sql(text).fetchall() for text in blocks(board, "sql")[0].split(";")[:3])
    table = pd.read_csv("leaderboard.csv").set_index(["protocol", "model", "method"])["mean"]
    assert {tuple(names): mean for *names, mean in means} == pytest.approx(table.to_dict(), abs=1e-12)
    assert len(rows) == 2 * 4 * 12
    assert ("description of score", SCORE_COLUMNS["score"][1]) in meanings


def test_columns_are_described_in_the_files(board):
    path = next((board / "rows").glob("*/*/*.parquet"))
    schema = pq.read_schema(path)
    assert {field.name: field.metadata[b"description"].decode() for field in schema} == MEANINGS
    assert schema.metadata[b"description of score"].decode() == MEANINGS["score"]
    assert schema.names == SCHEMA.names
    for name in ("cells.parquet", "scores.parquet"):
        assert all(field.metadata[b"description"] for field in pq.read_schema(board / name))


def test_rows_are_sorted_and_those_of_the_list_alone(kit, tmp_path):
    cells = kit.cells(kit.context())
    kit.run(tmp_path / "results", cells, kit.ids(20), status="interrupted", rows=kit.ids(20)[12:])
    kit.run(tmp_path / "results", cells, kit.ids(12)[::-1])
    publish(tmp_path / "results", tmp_path / "board")
    table = pq.read_table(next((tmp_path / "board" / "rows").glob("*/*/*.parquet")), partitioning=None)
    assert table["image_id"].to_pylist() == kit.ids(12)


def test_twice_and_from_a_shuffled_copy_it_gives_the_same_bytes(results, board, tmp_path):
    shuffled = tmp_path / "shuffled"
    for path in sorted(results.rglob("*"), key=lambda path: path.name[::-1]):  # other order of entries and times
        if path.is_file():
            (shuffled / path.relative_to(results)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, shuffled / path.relative_to(results))
            os.utime(shuffled / path.relative_to(results), (1, 1))
    shards = sorted((shuffled / "rows").iterdir())
    rows = pq.read_table(shards[0])
    pq.write_table(rows.take(list(range(rows.num_rows))[::-1]), shards[0])
    shards[1].rename(shuffled / "rows" / "20300101T000000.000000Z-00000000.parquet")
    publish(shuffled, tmp_path / "again")
    assert files(board) == files(tmp_path / "again")


def test_publishing_the_same_again_changes_nothing(results, board):
    before, times = files(board), {path: path.stat().st_mtime_ns for path in board.rglob("*")}
    found = publish(results, board)
    assert (found.changed, found.index.version) == (False, 1)
    assert files(board) == before
    assert {path: path.stat().st_mtime_ns for path in board.rglob("*")} == times


def test_options_select_boards(results, tmp_path):
    found = publish(results, tmp_path / "one", Request(Selection(model="vgg*")))
    assert [one.model for one in found.index.boards] == ["vgg16"]
    assert {path.stem for path in (tmp_path / "one" / "cells").iterdir()} == set(found.index.boards[0].cells)
    with pytest.raises(XaibenchError, match=r"no board in .* fits"):
        publish(results, tmp_path / "none", Request(Selection(model="alexnet")))
    assert not (tmp_path / "none").exists()


def test_maps_and_photos_of_the_gallery(kit, tmp_path):
    """Photos are those that the data set draws; maps are those that were kept, value by value."""
    import numpy as np
    from PIL import Image

    from xaibench.datasets.open import open_dataset
    from xaibench.results.maps import MapStore

    dataset = open_dataset(registry.card("dataset", "critters"), None, {})
    images = list(dataset.ids[:4])
    digests = [dataset.digest(image) for image in images]
    cells = kit.cells(kit.context())
    kit.run(tmp_path / "results", cells, images, keep=3, digests=digests)
    index = publish(tmp_path / "results", tmp_path / "board", Request(gallery=2)).index
    assert index.boards[0].gallery == images[:2]
    for image, path in index.images["critters (64 px)"].items():
        assert np.array_equal(np.asarray(Image.open(tmp_path / "board" / path)), dataset.load(image).image)
    assert list(index.images["critters (64 px)"]) == images[:2]
    for cell in cells:
        kept = MapStore(tmp_path / "results").find(cell.key, images)
        shown = MapStore(tmp_path / "board").find(cell.key, images)
        assert sorted(shown) == sorted(images[:2])
        assert all(shown[image][1].equal(kept[image][1]) for image in shown)


@pytest.mark.slow
def test_maps_of_some_models_alone(kit, tmp_path):
    for model in ("resnet18", "vgg16"):
        kit.run(tmp_path / "results", kit.cells(kit.context(model)), kit.ids(4), keep=2)
    index = publish(tmp_path / "results", tmp_path / "board", Request(gallery=2, gallery_model="res*")).index
    assert {one.model: len(one.gallery) for one in index.boards} == {"resnet18": 2, "vgg16": 0}


def test_no_photo_of_a_data_set_that_does_not_allow_it(kit, tmp_path):
    context = kit.context()
    context["dataset"] = context["dataset"] | {"name": "voc2012", "label": "voc2012 (224 px)"}
    kit.run(tmp_path / "results", kit.cells(context), kit.ids(4), keep=2)
    found = publish(tmp_path / "results", tmp_path / "board")
    assert found.index.boards[0].gallery == kit.ids(2)
    assert found.index.images == {}
    assert not (tmp_path / "board" / "images").exists()
    assert any("redistributable" in note for note in found.notes)


def test_the_index_is_read_strictly(board, tmp_path):
    board = shutil.copytree(board, tmp_path / "board")
    content = json.loads((board / "board.json").read_text())
    Index.model_validate(content)
    for change, words in [
        ({"extra": 1}, "extra"), ({"version": "1"}, "version"), ({"format": "other"}, "format"),
        ({"format_version": 4}, "update it"), ({"images": {"a": {"b": "../../etc/passwd"}}}, "out of the folder"),
        ({"images": {"a": {"b": "images/absent.png"}}}, "lacks images/absent.png"),
    ]:  # fmt: skip
        (board / "board.json").write_text(json.dumps(content | change))
        with pytest.raises(XaibenchError, match=words):
            read_index(board)
    with pytest.raises(XaibenchError, match="no board folder"):
        read_index(board / "rows")
