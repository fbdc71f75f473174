"""A page for each run: its command, what computed it, how long it took, and which images it has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from xaibench.report.table import Column, Table
from xaibench.results.manifest import RunManifest, safe_command
from xaibench.site.content import Content
from xaibench.site.page import Page
from xaibench.site.tables import data_table

INDEX = (
    Column("run", "UTC time and a random suffix", align="left"), Column("protocols", "", align="left"),
    Column("models", "the explained models", align="left"), Column("images", "images of the list"),
    Column("status", "how it ended", align="left"), Column("device", "what computed it", align="left"),
    Column("seconds", "wall time of computing"), Column("versions", "version of torch", title="torch", align="left"),
)  # fmt: skip
FOLDER = Path("results")  # in place of the folder into which the run wrote, which is nobody's business


def pages(content: Content) -> Iterator[Page]:
    """The list of runs and the page of each."""
    if not content.runs:
        return
    by_run = {run.run: [one for one in content.boards if run in one.board.runs] for run in content.runs}
    rows = [_index_row(run, by_run[run.run]) for run in reversed(content.runs)]
    table = data_table(
        "runs", Table(INDEX, pd.DataFrame(rows)), "All runs of this folder, the newest first", thing="runs",
        links={"run": lambda row: f"runs/{row['run']}.html"}, selects=("status", "device"),
    )  # fmt: skip
    yield Page("runs.html", "runs.html", "Runs", "runs", {"table": table})
    for run in content.runs:
        yield Page(f"runs/{run.run}.html", "run.html", f"Run {run.run}", "runs", _values(content, run, by_run[run.run]))


def _index_row(run: RunManifest, boards: list[Any]) -> dict[str, Any]:
    return {
        "run": run.run, "protocols": ", ".join(run.protocols), "images": run.images.get("count") or 0,
        "models": ", ".join(dict.fromkeys(one.model for one in boards)), "status": run.status,
        "device": run.device or "", "seconds": run.seconds if run.seconds is not None else float("nan"),
        "versions": run.versions.get("torch") or "",
    }  # fmt: skip


def _values(content: Content, run: RunManifest, boards: list[Any]) -> dict[str, Any]:
    name = run.images.get("list")
    facts = {
        "Status": run.status, "Started (UTC)": run.started[:19].replace("T", " "), "Seconds": run.seconds,
        "Device": run.device, "Precision": run.precision, "Arithmetic of float32": run.arithmetic,
        "Batch size": run.batch_size, "Inputs of a pass": run.chunk_size, "Workers": run.workers,
        "Git commit": run.git_commit, "Forward-equivalents an image": run.forward_equivalents,
        "Images": f"{run.images.get('count') or 0} (list {name})" if name else None,
    }  # fmt: skip
    if run.accuracy and run.accuracy.get("images"):
        facts["Right predictions"] = f"{run.accuracy['correct']} of {run.accuracy['images']}"
    return {
        "run": run, "command": safe_command(run.command, FOLDER), "boards": boards, "objects": run.objects,
        "facts": {key: value for key, value in facts.items() if value is not None},
        "versions": {key: value for key, value in sorted(run.versions.items()) if value},
        "images": content.store.load_list(name) if name else [],
        "training": _training(run),
    }  # fmt: skip


def _training(run: RunManifest) -> dict[str, Any]:
    """What is recorded of the model's training, in single values."""
    found = (run.training or {}).items()
    return {key: value for key, value in found if value not in ("", None) and not isinstance(value, (dict, list))}
