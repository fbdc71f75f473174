"""Which rows are current: a small folder with several versions, read by pandas, by DuckDB and by boards."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from xaibench.analysis.across_models import across_models
from xaibench.analysis.boards import boards
from xaibench.analysis.leaderboard import open_leaderboard
from xaibench.evaluation.plan import MethodRun
from xaibench.registry import shipped_version
from xaibench.results.cells import Cell
from xaibench.results.current import Dates, current_cells, request_key, successors, write_current
from xaibench.results.manifest import RunManifest
from xaibench.results.schema import row_table
from xaibench.results.store import Store

DOCS = Path(__file__).parents[2] / "docs" / "results.md"


def context(protocol_version: int = 1, **changes) -> dict:
    protocol = {
        "name": "insertion", "version": protocol_version, "source": "", "settings": {"start": "blur"},
        "metric": "insertion", "range": [0, 1], "higher_is_better": True, "undefined_cost": 0.0,
    }  # fmt: skip
    return {
        "protocol": protocol | changes.pop("protocol", {}),
        "dataset": {"name": "critters", "version": 1, "settings": {}},
        "model": {"name": "net", "version": 1, "source": ""},
        "weights": {"kind": "plain", "digest": "ab12"},
        "profile": {"name": "quick", "overrides": {}},
        "seed": 0,
        "precision": "float32",
    } | changes


def cell(method: str = "rise", version: int = 1, source: str = "", **changes) -> Cell:
    made = {"name": method, "version": version, "source": source, "parameters": {}, "kind": "method"}
    return Cell(context(**changes), made, changes.get("registered"))


@pytest.fixture
def folder(tmp_path):
    """Adds runs to a folder: run(day, {cell: score}, ...)."""
    store = Store.create(tmp_path / "results")

    def run(day: int, scores: dict[Cell, float], **fields) -> Store:
        store.register(scores)
        started = f"2026-01-{day:02d}T00:00:00+00:00"
        record = RunManifest(
            "xaibench run insertion --model net", run=f"2026010{day}T000000Z-aaaaaa", started=started,
            protocols=["insertion"], cells=[c.key for c in scores], boards=sorted({c.board for c in scores}),
            images={"list": store.save_list(["a"]), "count": 1}, **fields,
        )  # fmt: skip
        for each, score in scores.items():
            store.append(
                row_table(
                    [
                        {
                            "cell": each.key, "image_id": "a", "image_digest": "d", "target": 1, "unit": "image",
                            "metric": "insertion", "score": score, "status": "ok", "protocol": "insertion",
                            "dataset": "critters", "model": "net", "method": each.method["name"],
                        }
                    ]
                )
            )  # fmt: skip
        record.finish("complete")
        record.save(store)
        write_current(store)
        return store

    return run


def read(store: Store) -> dict[str, list[float]]:
    """The scores of each method among current rows, as the docs read them with pandas."""
    rows = pd.read_parquet(store.root / "rows").merge(pd.read_parquet(store.root / "current.parquet"), on="cell")
    current = rows[rows["current"]]
    return current.groupby("method")["score"].apply(sorted).to_dict()


def test_the_highest_version_of_a_method_counts_even_if_it_was_run_before(folder):
    folder(1, {cell(version=2): 0.2, cell("ixg"): 0.5})
    store = folder(2, {cell(version=1): 0.1})
    assert read(store) == {"rise": [0.2], "ixg": [0.5]}
    board = open_leaderboard(store, "insertion")
    assert dict(zip(board.table["method"], board.table["mean"], strict=True)) == {"rise": 0.2, "ixg": 0.5}


def test_of_an_edited_plug_in_what_was_run_last_counts(folder):
    folder(1, {cell("mine", source="1"): 0.1})
    store = folder(2, {cell("mine", source="2"): 0.2})
    assert read(store) == {"mine": [0.2]}
    assert read(folder(3, {cell("mine", source="1"): 0.1}))["mine"] == [0.1, 0.1], "the edit was taken back"


def test_a_newer_version_of_a_protocol_replaces_a_whole_board(folder):
    folder(1, {cell(): 0.1, cell("ixg"): 0.3})
    store = folder(2, {cell(protocol_version=2): 0.2})
    assert read(store) == {"rise": [0.2]}, "versions are not mixed: ixg has no row of the new one"
    new, old = boards(store)
    assert new.successor is None and "replaced" not in new.title
    assert old.title == "insertion (start blur) · net (plain) · critters · profile quick · seed 0 · replaced: " + (
        "insertion version 1"
    )
    folder(3, {cell(): 0.1})
    assert boards(store)[0].key == new.key and open_leaderboard(store, "insertion").table["mean"].tolist() == [0.2]


def test_a_small_field_of_a_key_is_another_version_of_the_same_request(folder):
    folder(1, {cell(): 0.1})
    store = folder(2, {cell(protocol={"blur": "folded"}): 0.2})
    assert read(store) == {"rise": [0.2]} and boards(store)[1].title.endswith("· replaced: run before")


def test_what_was_asked_for_is_no_version(folder):
    """Other settings, seeds, weights, models and precisions are results of their own."""
    changes = [
        {}, {"seed": 1}, {"precision": "float64"}, {"weights": {"kind": "plain", "digest": "cd34"}},
        {"protocol": {"settings": {"start": "zero"}}}, {"model": {"name": "other", "version": 1}},
        {"profile": {"name": "paper", "overrides": {}}}, {"dataset": {"name": "critters", "settings": {"n": 1}}},
    ]  # fmt: skip
    cells = {cell(**change): number / 10 for number, change in enumerate(changes)}
    assert len({request_key(each.context) for each in cells}) == len(changes)
    store = folder(1, cells)
    assert read(store) == {"rise": sorted(cells.values())}


def test_rows_in_tf32_that_say_float32_are_never_current(folder):
    store = folder(1, {cell(): 0.1}, device="cuda", precision="float32")
    assert read(store) == {}
    store = folder(2, {cell("ixg", seed=1): 0.5}, device="cpu", precision="float32")
    assert read(store) == {"ixg": [0.5]}


def test_it_is_a_function_of_cells_and_dates_alone():
    old, new, other = cell(), cell(protocol_version=2), cell("ixg")
    dates = Dates({old.key: "2026-02", new.key: "2026-01"}, frozenset())
    for order in ([old, new, other], [other, new, old]):
        assert current_cells(order, dates) == {new.key}
        assert successors(order, dates) == {old.board: new}
    assert current_cells([], dates) == set()
    assert current_cells([old, other], Dates({}, frozenset())) == {old.key, other.key}


def test_queries_of_the_docs_run_as_they_stand(folder, monkeypatch):
    folder(1, {cell(version=1): 0.1, cell("ixg"): 0.5})
    store = folder(2, {cell(version=2): 0.2})
    monkeypatch.chdir(store.root.parent)
    text = DOCS.read_text()
    code = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "current.parquet" in block)
    *lines, last = code.strip().splitlines()
    scope: dict = {}
    exec("\n".join(lines), scope)
    means = eval(last, scope).to_dict()
    assert sorted(means.values()) == [0.2, 0.5] and {key[1] for key in means} == {"insertion"}
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed")
    (query,) = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert {(title, metric): mean for title, metric, mean in duckdb.sql(query).fetchall()} == means


def test_installed_cards_that_are_newer_are_named_with_the_command(folder, command):
    """Of a folder of before, no row is of the newer version: nothing in it replaces them."""
    store = folder(1, {cell(): 0.1, cell("ixg"): 0.3})
    status, out, err = command("status", "--out", store.root)
    assert status == 0, err
    line = next(line for line in out.splitlines() if "to make it again" in line)
    assert "made with insertion version 1, now 2; rise version 1, now 2; to make it again: xaibench run" in line
    status, out, err = command("leaderboard", "insertion", "--out", store.root)
    assert status == 0 and "made with insertion version 1, now 2; rise version 1, now 2" in " ".join(
        (out + err).split()
    )
    new = folder(2, {cell(protocol_version=2, version=2): 0.2})
    assert "made with" not in command("status", "--out", new.root)[1]


def test_boards_across_models_name_what_is_older(folder, command):
    """Where only old boards have another model beside them, and where a card is newer than its rows."""
    other = {"model": {"name": "other", "version": 1, "source": ""}}
    folder(1, {cell(): 0.1})
    store = folder(2, {cell(**other): 0.3})
    names = f"made with insertion version 1, now {shipped_version('protocol', 'insertion')}; rise version 1, now 2"
    status, out, err = command("leaderboard", "insertion", "--by", "model", "--out", store.root)
    text = " ".join((out + err).split())
    assert status == 0 and f"net: {names}" in text and f"other: {names}" in text and "replaced" not in text
    folder(3, {cell(protocol_version=2, version=2): 0.2})
    found = across_models(store, "insertion", comparable=True, newest=shipped_version)
    (old,) = [note for note in found.notes if note.startswith("net: ")]
    assert old.endswith("replaced: insertion version 1; its newer board has no other model beside it")
    assert found.table["mean"].tolist() == [0.3, 0.1]
    folder(4, {cell(protocol_version=2, version=2, **other): 0.4})
    found = across_models(store, "insertion", comparable=True, newest=shipped_version)
    assert found.table["mean"].tolist() == [0.4, 0.2] and not [note for note in found.notes if "version" in note]


@pytest.mark.process
def test_boards_in_python_and_comparisons_name_older_rows_beside_theirs(home, monkeypatch):
    """A run into a folder of before asks for some of its methods; the others stay on the board as they were."""
    import xaibench

    words = {"model": "tiny", "dataset": "mini", "images": 2, "out": "r", "quiet": True}
    with monkeypatch.context() as before:
        before.setattr(MethodRun, "__init__", older(MethodRun.__init__, "rise"))
        xaibench.run("sds", methods="rise", **words)
    board = xaibench.run("sds", methods="ixg", **words).leaderboard()
    assert set(board.table["method"]) == {"rise", "ixg"} and board.age == "made with rise version 1, now 2"
    assert "made with rise version 1, now 2; the same run command computes the newer version" in board.notes
    assert xaibench.run("sds", methods="rise,ixg", **words).leaderboard().age == ""


def older(init, name: str):
    """The constructor of a method in a run, with the first version of a card in place of the installed one."""

    def made(self, card, parameters):
        init(self, card.model_copy(update={"version": 1}) if card.name == name else card, parameters)

    return made


@pytest.mark.process
def test_a_run_writes_it_and_an_edited_plug_in_replaces_its_rows(home, tmp_path):
    import xaibench
    from xaibench import registry

    path = tmp_path / "mine.py"
    words = {"model": "tiny", "dataset": "mini", "images": 3, "out": "a", "quiet": True, "plugins": [path]}
    for factor in (2, -3):
        code = "import xaibench\n@xaibench.method('edited')\ndef edited(evidence):\n    return evidence.inputs * "
        path.write_text(f"{code}{factor}\n")
        for name in [name for name in registry._decorated if name[1] == "edited"]:
            registry._decorated.pop(name)  # as in another process
        last = xaibench.run("sds", methods="edited,ixg", **words)
    rows = pd.read_parquet("a/rows")
    assert rows.query("method == 'edited'")["cell"].nunique() == 2
    cells = pd.read_parquet("a/current.parquet").set_index("cell")
    assert len(cells) == 3 and set(cells.index[cells["current"]]) == set(last.cells)
    assert cells.loc[last.cells, "registered"].notna().all() and set(cells["protocol_version"]) == {2}
