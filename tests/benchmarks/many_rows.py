"""Time and memory for many rows: a results folder of made-up rows, and what is made of it, each in its own process.

    python tests/benchmarks/many_rows.py --rows 1e6,1e7,1e8 --out /tmp/many-rows
    python tests/benchmarks/many_rows.py --rows 1e6 --tasks board,site

prints a row for each task: seconds, seconds of CPU, and the largest resident memory of its process. Folders are made
where they are missing and removed afterwards unless --keep is given; 100 million rows take about 1.5 GB. A board has 23
methods on 50 000 images, and boards differ in model and grid. docs/scaling.md holds the table.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa

from xaibench.registry import shipped_version
from xaibench.results.cells import Cell
from xaibench.results.manifest import RunManifest
from xaibench.results.schema import SCHEMA
from xaibench.results.store import Store

METHODS, IMAGES, MODELS = 23, 50_000, 16
UNDEFINED = 0.001  # share of maps
SHARD = 5_000  # images of a file, with all methods


def make(root: Path, rows: int, methods: int = METHODS, images: int = IMAGES, models: int = MODELS) -> Store:
    """A results folder of at least so many rows, as runs write it: one run for each board, of whole boards.

    Scores depend on the method, the image and noise, in [-1, 1]; a map in a thousand is undefined.
    """
    store = Store.create(root)
    ids = [f"val/ILSVRC2012_val_{number:08d}.JPEG" for number in range(images)]
    listed = store.save_list(ids)
    for place in range(math.ceil(rows / (methods * images))):
        cells = [_cell(place, method, models) for method in range(methods)]
        store.register(cells)
        rng = np.random.default_rng([place, images])
        for start in range(0, images, SHARD):
            store.append(_table(cells, ids[start : start + SHARD], rng))
        run = RunManifest(
            "xaibench run sds", protocols=["sds"], cells=[cell.key for cell in cells], boards=[cells[0].board],
            images={"list": listed, "count": images},
        )  # fmt: skip
        run.finish("complete")
        run.save(store)
    return store


def _cell(place: int, method: int, models: int) -> Cell:
    context = {
        "protocol": {"name": "sds", "version": shipped_version("protocol", "sds"),
                     "metric": "sds", "settings": {"grid": 2 + place // models},
                     "range": [-1, 1], "undefined_cost": 0.0, "higher_is_better": True},
        "model": {"name": f"model-{place % models:02d}"}, "weights": {"kind": "aligned", "digest": f"{place:04d}"},
        "dataset": {"name": "imagenet", "version": 1}, "profile": {"name": "full"}, "seed": 0, "precision": "float32",
    }  # fmt: skip
    return Cell(context, {"name": f"method-{method:02d}", "version": 1, "kind": "method"})


def _table(cells: list[Cell], ids: list[str], rng: np.random.Generator) -> pa.Table:
    """The rows of some images, of all methods, in the schema of the store."""
    count, size = len(cells), len(cells) * len(ids)
    method, image = np.tile(np.arange(count), len(ids)), np.repeat(np.arange(len(ids)), count)
    label = rng.integers(0, 1000, len(ids))
    predicted = np.where(rng.random(len(ids)) < 0.75, label, (label + 1) % 1000)
    scores = 0.4 * method / count + rng.normal(0, 0.2, len(ids))[image] + rng.normal(0, 0.2, size)
    undefined = rng.random(size) < UNDEFINED
    cell = cells[0]
    columns = {
        "cell": _texts([one.key for one in cells], method),
        "image_id": _texts(ids, image),
        "image_digest": _texts([f"{hash_of:016x}" for hash_of in map(_digest, ids)], image),
        "target": label[image], "unit": "image", "metric": "sds",
        "score": pa.array(np.clip(scores, -1, 1).round(6), mask=undefined),
        "status": _texts(["ok", "undefined-map"], undefined.astype(int)),
        "prediction": predicted[image], "label": label[image], "correct": (predicted == label)[image],
        "protocol": "sds", "dataset": "imagenet", "model": cell.context["model"]["name"], "reference_model": None,
        "method": _texts([one.method_name for one in cells], method),
    }  # fmt: skip
    arrays = [_column(columns[field.name], field.type, size) for field in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _digest(name: str) -> int:
    return int.from_bytes(name.encode()[-13:-5])


def _texts(values: list[str], which: np.ndarray) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(which, pa.int32()), pa.array(values)).cast(pa.string())


def _column(value: object, kind: pa.DataType, size: int) -> pa.Array:
    if isinstance(value, pa.Array):
        return value
    return pa.array(value, kind) if isinstance(value, np.ndarray) else pa.repeat(pa.scalar(value, kind), size)


def _board(root: Path) -> str:
    """One board, as `xaibench leaderboard sds`."""
    from xaibench.analysis.leaderboard import open_leaderboard

    return open_leaderboard(root, "sds").table["method"].iloc[0]


def _boards(root: Path) -> str:
    """All boards, as the pages of a site summarise them."""
    from xaibench.site.content import Content
    from xaibench.site.pages.boards import index_table

    content = Content(root)
    index_table(content, "")
    return f"{len(content.boards)} boards"


def _across(root: Path) -> str:
    """All models under one setting as one board, as `xaibench leaderboard sds --by model`."""
    from xaibench.analysis.across_models import across_models

    found = across_models(root, "sds", comparable=True)
    return f"{len(found.models)} models, {len(found.table)} pairs of model and method"


def _scores(root: Path) -> str:
    """Mean scores of all boards, without intervals and ranks: reading alone."""
    from xaibench.analysis.boards import boards
    from xaibench.analysis.leaderboard import READ
    from xaibench.analysis.scored_board import image_scores

    store = Store.open(root)
    for board in boards(store):
        keys = [cell.key for cell in board.cells]
        found, _ = image_scores(store.rows(keys, READ), keys, board.context["protocol"])
        found.mean()
    return "means"


def _validate(root: Path) -> str:
    """All checks, as `xaibench validate`."""
    from xaibench.results.validate import inspect

    found = inspect(root)
    return f"{found.rows} rows, {len(found.problems)} problems"


def _status(root: Path) -> str:
    """What is missing, as `xaibench status`."""
    from xaibench.analysis.progress import progress

    return f"{sum(run.done for run in progress(Store.open(root)))} done"


def _publish(root: Path) -> str:
    """A board folder of all rows, as `xaibench publish`, which is removed."""
    from xaibench.publication.api import publish

    to = root.with_name(f"{root.name}-board")
    try:
        publish(root, to)
        size = sum(path.stat().st_size for path in to.rglob("*") if path.is_file())
        return f"{size / 2**20:.0f} MiB"
    finally:
        shutil.rmtree(to, ignore_errors=True)


def _site(root: Path) -> str:
    """The whole site, with pages, tables and rows of every board."""
    from xaibench.site.build import build_site

    return f"{build_site(root).pages} pages"


TASKS: dict[str, Callable[[Path], str]] = {
    "board": _board, "scores": _scores, "status": _status, "validate": _validate, "boards": _boards, "site": _site,
    "across": _across, "publish": _publish,
}  # fmt: skip


def measured(task: Callable[[Path], str], root: Path) -> tuple[str, float, float, float]:
    """What a task gives, in a process of its own: its answer, seconds, seconds of CPU, and GiB of resident memory."""
    receive, send = get_context("spawn").Pipe(False)
    process = get_context("spawn").Process(target=_carry_out, args=(task, root, send))
    start = time.perf_counter()
    process.start()
    send.close()
    try:
        answer = receive.recv()
    except EOFError:
        answer = "failed"
    _, _, usage = os.wait4(process.pid, 0)
    return answer, time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def _carry_out(task: Callable[[Path], str], root: Path, send) -> None:
    send.send(task(root))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="1e6", help="how many, separated by commas")
    parser.add_argument("--out", type=Path, default=Path("many-rows"), help="where the folders are made")
    parser.add_argument("--tasks", default="board,scores,status,validate,boards", help=", ".join(TASKS))
    parser.add_argument("--keep", action="store_true", help="keep the folders")
    options = parser.parse_args()
    print("| rows | task | answer | seconds | CPU seconds | GiB |\n| --- | --- | --- | --- | --- | --- |")
    for rows in (int(float(text)) for text in options.rows.split(",")):
        root = options.out / f"{rows}"
        if not root.exists():
            make(root, rows)
        for name in options.tasks.split(","):
            answer, seconds, cpu, memory = measured(TASKS[name], root)
            print(f"| {rows:,} | {name} | {answer} | {seconds:.0f} | {cpu:.0f} | {memory:.2f} |")
            sys.stdout.flush()
        if not options.keep:
            shutil.rmtree(root)


if __name__ == "__main__":
    main()
