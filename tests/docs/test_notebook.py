"""The notebook of the documentation, its code cells run in their order as a kernel would, and its stored outputs.

The outputs were stored by Jupyter: `jupyter execute --inplace docs/notebook.ipynb` in an empty folder.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).parents[2] / "docs" / "notebook.ipynb"
CELLS = [cell for cell in json.loads(FILE.read_text())["cells"] if cell["cell_type"] == "code"]
NAMES = re.compile(r"bright-gradient|grad-cam|\big\b|\bixg\b|\brandom\b")


def displayed(text: str, names: dict[str, Any]) -> Any:
    """Runs a cell and gives the value of its last line where that is an expression, as a notebook shows it."""
    body = ast.parse(text).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "<cell>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names) if last else None


def html_of(output: dict[str, Any]) -> str:
    return "".join(output.get("data", {}).get("text/html", ""))


@pytest.mark.slow
@pytest.mark.process
def test_every_cell_runs_and_shows_what_is_stored(home, tmp_path, monkeypatch):
    import matplotlib

    monkeypatch.setattr(matplotlib, "get_backend", lambda *a, **k: "agg")
    matplotlib.use("agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    for cell in CELLS:
        if "needs-duckdb" in cell["metadata"].get("tags", ()) and not importlib.util.find_spec("duckdb"):
            pytest.skip("the last cell needs the package duckdb; all others ran")
        value = displayed("".join(cell["source"]), names)
        stored = next((html_of(output) for output in cell["outputs"] if html_of(output)), "")
        now = value._repr_html_() if hasattr(value, "_repr_html_") else ""
        assert bool(stored) == bool(now), "".join(cell["source"])
        assert set(NAMES.findall(now)) == set(NAMES.findall(stored))
        shown.append(now)
    assert sum(map(bool, shown)) == 4 and "<section>" in shown[1]
    rows = names["rows"]
    assert rows.groupby("method")["score"].count().to_dict() == dict.fromkeys(
        ["bright-gradient", "grad-cam", "ig", "ixg", "random"], 24
    )
    board = names["board"].table.set_index("method")["mean"]
    assert rows.groupby("method")["score"].mean().to_dict() == pytest.approx(board.to_dict())


def test_stored_outputs_are_whole_small_and_private():
    text = FILE.read_text()
    assert all(cell["outputs"] or "draw" not in "".join(cell["source"]) for cell in CELLS)
    assert not any(output["output_type"] == "error" for cell in CELLS for output in cell["outputs"])
    assert FILE.stat().st_size < 200_000 and "/home/" not in text and "/tmp/" not in text and "\\r" not in text
    assert [cell["execution_count"] for cell in CELLS] == list(range(1, len(CELLS) + 1))


def test_the_page_has_every_cell_and_its_output():
    spec = importlib.util.spec_from_file_location("made", FILE.parent / "made.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    page = made.notebook()
    assert all("".join(cell["source"]) in page for cell in CELLS)
    assert page.count("<table") == 4 and page.count("<img ") == 1 and "24 of 24 right" in page
