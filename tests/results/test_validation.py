"""Each kind of problem is made by hand in a store that was sound, and is the only one found."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xaibench.errors import XaibenchError
from xaibench.results.cells import Cell
from xaibench.results.manifest import RunManifest
from xaibench.results.schema import SCHEMA, row_table
from xaibench.results.validate import inspect, validate


@pytest.fixture
def sound(store, cell, row):
    """A store with one complete run of one cell over three images."""
    images = ["a", "b", "c"]
    store.register([cell])
    store.append(row_table([row(cell, image) for image in images]))
    run = RunManifest("xaibench run idsds", cells=[cell.key], images={"list": store.save_list(images), "count": 3})
    run.finish("complete")
    run.save(store)
    return store


def kinds(store) -> list[str]:
    return [problem.kind for problem in validate(store.root)]


def force(store, rows) -> None:
    """Store rows that `row_table` would refuse."""
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), store.root / "rows" / "forced.parquet")


def test_a_sound_store(sound):
    found = inspect(sound.root)
    assert (found.problems, found.rows, found.cells) == ([], 3, 1)


def test_equal_copies_and_leftovers_are_no_problem(sound, cell, row):
    sound.append(row_table([row(cell, "a", 0.5 + 1e-7)]))
    (sound.root / "rows" / ".x.parquet.12.tmp").write_text("half")
    assert inspect(sound.root).rows == 3
    assert kinds(sound) == []


def test_truncated_shard(sound, cell, row):
    path = sound.append(row_table([row(cell, "d")]))
    path.write_bytes(path.read_bytes()[:-20])
    (problem,) = validate(sound.root)
    assert problem.kind == "unreadable"
    assert str(problem).startswith(f"rows/{path.name}: unreadable: ")


def test_damaged_pages(sound, cell, row):
    path = sound.append(row_table([row(cell, "d")]))
    data = bytearray(path.read_bytes())
    data[4:300] = bytes(296)
    path.write_bytes(data)
    assert kinds(sound) == ["unreadable"]


def test_other_schema_version(sound, cell, row):
    table = row_table([row(cell, "d")]).replace_schema_metadata({b"xaibench.schema": b"99"})
    pq.write_table(table, sound.root / "rows" / "x.parquet")
    assert kinds(sound) == ["schema"]


@pytest.mark.parametrize(
    "change",
    [{"score": None}, {"status": "undefined-map"}, {"status": "fine"}, {"score": float("nan")}, {"unit": "pixel"}],
)
def test_status_and_score_disagree(sound, cell, row, change):
    force(sound, [row(cell, "d") | change])
    assert set(kinds(sound)) == {"row"}


def test_rows_without_a_cell_file(sound, new_cell, row):
    sound.append(row_table([row(new_cell("other"), "a")]))
    assert kinds(sound) == ["orphan"]


def test_changed_cell_file(sound, cell):
    path = sound.root / "cells" / f"{cell.key}.json"
    content = json.loads(path.read_text())
    content["context"]["seed"] = 5
    path.write_text(json.dumps(content))
    assert kinds(sound) == ["cell"]


def test_unreadable_cell_file(sound, cell):
    (sound.root / "cells" / f"{cell.key}.json").write_text("{")
    assert kinds(sound) == ["unreadable", "orphan"]


@pytest.mark.parametrize("columns", [{"score": 0.5001}, {"score": None, "status": "undefined-map"}])
def test_copies_that_differ(sound, cell, row, columns):
    sound.append(row_table([row(cell, "a") | columns]))
    assert kinds(sound) == ["duplicate"]


@pytest.mark.parametrize(
    ("metric", "stored", "again", "found"),
    [
        ("spearman", 0.5, 0.50004, []),  # of 0.5, the largest of the metric, 1e-4 is 5e-5
        ("spearman", 1e-6, 3e-6, []),  # near 0 no digit has to be equal
        ("spearman", 1e-6, 1e-4, ["duplicate"]),
        ("tied", 0.1, 0.105, []),
        ("tied", 0.1, 0.12, ["duplicate"]),
    ],
)
def test_copies_of_two_honest_computations(sound, cell, row, metric, stored, again, found):
    sound.append(row_table([row(cell, image, 0.5) | {"metric": metric} for image in "abc"]))
    for score in (stored, again):
        sound.append(row_table([row(cell, "d", score) | {"metric": metric}]))
    assert kinds(sound) == found


@pytest.mark.parametrize(("again", "found"), [(0.0007783593, []), (0.00077, ["duplicate"])])
def test_small_differences_of_probabilities_have_the_rounding_of_probabilities(store, new_cell, row, again, found):
    """Scores of srg on a real photo in batches of 5 and of 1, where no score of the method is above 0.003."""
    cell = new_cell(range=[-1, 1])
    store.register([cell])
    for image, score in {"a": 0.002985071, "b": 0.0007789181}.items():
        store.append(row_table([row(cell, image, score) | {"metric": "srg"}]))
    store.append(row_table([row(cell, "b", again) | {"metric": "srg"}]))
    assert kinds(store) == found


def test_a_row_twice_in_one_shard(sound, cell, row):
    force(sound, [row(cell, "d"), row(cell, "d")])
    assert kinds(sound) == ["duplicate"]


def test_instances_are_compared_one_by_one(sound, cell, row):
    def append(*scores):
        sound.append(row_table([row(cell, "a", score, unit="instance") for score in scores]))

    append(0.1, 0.2)
    append(0.1, 0.2)
    assert kinds(sound) == []
    append(0.1, 0.3)
    assert kinds(sound) == ["duplicate"]


@pytest.mark.parametrize("score", [1.01, -1.01])
def test_score_outside_the_range(sound, cell, row, score):
    sound.append(row_table([row(cell, "d", score)]))
    assert kinds(sound) == ["range"]


def test_a_range_may_be_open(store, new_cell, row):
    cell = new_cell(range=[0, None])
    store.register([cell])
    store.append(row_table([row(cell, "a", 1e9)]))
    assert kinds(store) == []
    store.append(row_table([row(cell, "b", -0.1)]))
    assert kinds(store) == ["range"]


def test_one_image_with_two_contents(sound, cell, row):
    sound.append(row_table([row(cell, "a", target=2, image_digest="other")]))
    assert kinds(sound) == ["digest"]
    # The same name in another data set is another image.
    sound.append(row_table([row(cell, "b", target=2, image_digest="other", dataset="voc")]))
    assert kinds(sound) == ["digest"]


def test_a_complete_run_that_lacks_rows(sound, cell):
    run = RunManifest("xaibench run sds", cells=[cell.key], images={"list": sound.save_list(["a", "z"]), "count": 2})
    run.finish("interrupted")
    run.save(sound)
    assert kinds(sound) == []
    run.finish("complete")
    run.save(sound)
    (problem,) = validate(sound.root)
    assert problem.kind == "run"
    assert "1 images in 1 of 1 cells" in problem.text
    assert problem.text.endswith(f"xaibench run sds --out {sound.root}")


def test_changed_list(sound):
    (path,) = (sound.root / "lists").iterdir()
    path.write_text('["a"]')
    assert kinds(sound) == ["list", "run"]


def test_unreadable_run(sound):
    (sound.root / "runs" / "x.json").write_text("[]")
    assert kinds(sound) == ["unreadable"]


def test_no_results_folder(tmp_path):
    with pytest.raises(XaibenchError, match="no results"):
        validate(tmp_path / "x")


def test_one_name_under_other_options_is_another_image(sound, cell, row):
    context = cell.context | {"dataset": cell.context["dataset"] | {"settings": {"rule": "other"}}}
    other = Cell(context, cell.method)
    sound.register([other])
    sound.append(row_table([row(other, "a", image_digest="other")]))
    assert kinds(sound) == []
