"""Replays a part of a submission: draws results, computes them again in a process of its own, and compares."""

from __future__ import annotations

import os
import resource
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from xaibench import __version__, registry
from xaibench.errors import XaibenchError
from xaibench.files import read_json, write_json
from xaibench.models.published import known_places
from xaibench.models.state import file_digest
from xaibench.printing import clean
from xaibench.results.cells import Cell, metric_declaration
from xaibench.results.equality import TOLERANCE, scale_of, scores_equal
from xaibench.results.schema import IDENTITY
from xaibench.results.store import Store
from xaibench.submission.draw import detection_probability, drawn, seed_of
from xaibench.submission.manifest import Submission, submission_hash

FORMAT, FORMAT_VERSION = "xaibench-replay", 1
SHARES = (0.01, 0.05, 0.2)  # of forged results, for which the record says how likely one was found
BLIND = ("cells", "runs", "lists", "source")  # what the process sees: not the rows
ENVIRONMENT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "XAIBENCH_HOME",
    "PYTHONPATH",
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
)
"""Variables that the process is given; tokens are not among them."""


@dataclass(frozen=True)
class Limits:
    """Of the process: seconds of wall time, bytes of memory, bytes of a file that it writes."""

    seconds: float = 3600
    memory: int = 16 << 30
    file: int = 1 << 30


@dataclass(frozen=True)
class Where:
    """What a submission does not bring: the folder of the photos, the file of the weights, and the device."""

    data_root: Path | None = None
    weights: Path | None = None
    device: str = "cpu"


def replay(
    root: Path,
    submission: Submission,
    count: int | None,
    *,
    trust: bool = False,
    where: Where = Where(),
    limits: Limits = Limits(),
    hidden: tuple[Path, ...] = (),
    fresh: str | None = None,
) -> dict[str, Any]:
    """The record of a replay of a checked submission (unpacked in root): what was drawn, with both numbers of each row.

    count: how many (image, method) results are drawn, None for all. trust: foreign code may run. hidden: further places
    of the submission, which its code must not read. fresh: the number of an earlier record, to draw the same again.

    Raises XaibenchError where something cannot be computed here, or the process ended or was stopped.
    """
    store, name = Store.open(root), submission_hash(root)
    cells, rows = store.cells(), store.rows()
    if without := [key for key, cell in cells.items() if cell.method is None]:
        cells = {key: cell for key, cell in cells.items() if key not in without}
        rows = rows[rows["cell"].isin(set(cells))]
    pairs = sorted(set(zip(rows["cell"], rows["image_id"], strict=True)))
    fresh = fresh or secrets.token_hex(16)
    chosen = drawn(pairs, count, seed_of(name, fresh))
    foreign = {key for key, _ in chosen if cells[key].method["name"] in submission.foreign}
    if foreign and not trust:
        raise XaibenchError(
            f"to compute {', '.join(sorted(submission.foreign))} again its code must run here: read it, and say "
            "--trust (in a container without network, see docs/submitting.md)"
        )
    found: list[dict[str, Any]] = []
    for own in (False, True):
        wanted: dict[str, list[str]] = {}
        for key, image_id in chosen:
            if (key in foreign) is own:
                wanted.setdefault(key, []).append(image_id)
        if wanted:
            digests = dict(zip(rows["image_id"], rows["image_digest"], strict=True))
            used = {image_id: digests[image_id] for ids in wanted.values() for image_id in ids}
            found += _apart(root, submission, wanted, used, own, where, limits, hidden)
    compared = _compared(rows, pd.DataFrame(found, columns=[*IDENTITY, "score", "status"]), cells, chosen)
    return _record(name, fresh, count, pairs, chosen, compared, cells)


def _apart(
    root: Path, submission: Submission, wanted: Mapping[str, list[str]], digests: Mapping[str, str], foreign: bool,
    where: Where, limits: Limits, hidden: tuple[Path, ...],
) -> list[dict[str, Any]]:  # fmt: skip
    """The rows that a process of its own computes, which sees a copy of the submission without its rows."""
    with TemporaryDirectory(prefix="xaibench-replay-") as folder:
        blind, request, result = Path(folder) / "submission", Path(folder) / "request.json", Path(folder) / "rows.json"
        for name in BLIND:
            shutil.copytree(root / name, blind / name)
        (blind / "rows").mkdir()
        card = blind / submission.card
        write_json(request, {
            "folder": blind, "wanted": dict(wanted), "digests": dict(digests), "foreign": foreign,
            "plugins": [card] if foreign and card.suffix == ".py" else [],
            "cards": [blind / "source"] if foreign and card.suffix == ".toml" else [],
            "data_root": where.data_root and where.data_root.resolve(),
            "weights": where.weights and where.weights.resolve(),
            "device": where.device, "hidden": [path.resolve() for path in (root, *hidden)],
        })  # fmt: skip
        _run([sys.executable, "-m", "xaibench.submission.worker", str(request), str(result)], Path(folder), limits)
        return read_json(result)


def _run(command: list[str], folder: Path, limits: Limits) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (limits.memory, limits.memory))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file, limits.file))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            preexec_fn=limited, start_new_session=True,
        )  # fmt: skip
        try:
            process.wait(limits.seconds)
        except subprocess.TimeoutExpired:
            raise XaibenchError(f"not replayed: its process took more than {limits.seconds:g} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)
                process.wait()
    if process.returncode:
        lines = log.read_bytes()[-4096:].decode(errors="replace").strip().splitlines()
        raise XaibenchError(f"not replayed: {clean(lines[-1])[:500] if lines else 'its process ended without a word'}")


def _compared(
    stored: pd.DataFrame, again: pd.DataFrame, cells: Mapping[str, Cell], chosen: list[tuple[str, str]]
) -> pd.DataFrame:
    """Each row that was drawn, with both scores and whether they are equal; a row that only one side has is not."""
    largest = stored["score"].abs().groupby([stored["cell"], stored["metric"]]).max()
    wanted = pd.DataFrame(chosen, columns=["cell", "image_id"])
    sides = []
    for frame in (stored.merge(wanted, on=["cell", "image_id"]), again):
        frame = frame[[*IDENTITY, "score", "status"]].copy()
        frame["target"] = frame["target"].astype("Int64").fillna(-1)
        frame["n"] = frame.groupby(list(IDENTITY)).cumcount()  # instances of one class, in the order of the image
        frame["score"] = frame["score"].astype(float)
        sides.append(frame)
    both = sides[0].merge(sides[1], on=[*IDENTITY, "n"], how="outer", suffixes=("", "_again"), indicator=True)
    scale = []
    for key, metric in zip(both["cell"], both["metric"], strict=True):
        bounds = metric_declaration(cells[key].context["protocol"], metric).get("range") or (None, None)
        scale.append(scale_of(float(largest.get((key, metric), 0.0)), bounds))
    both["equal"] = (
        scores_equal(both["score"], both["score_again"], metric=both["metric"], scale=scale)
        & (both["status"] == both["status_again"]).to_numpy()
        & (both["_merge"] == "both").to_numpy()
    )
    return both


def _record(
    name: str, fresh: str, count: int | None, pairs: list[tuple[str, str]], chosen: list[tuple[str, str]],
    compared: pd.DataFrame, cells: Mapping[str, Cell],
) -> dict[str, Any]:  # fmt: skip
    equal = bool(compared["equal"].all()) and len(compared) > 0
    counts = pd.Series([key for key, _ in chosen]).value_counts()
    results = {}
    for key in sorted({key for key, _ in pairs}):
        public = has_public_weights(cells[key])
        results[key] = {"method": cells[key].method_name, "replayed": int(counts.get(key, 0)),
                        "public_weights": public, "verified": equal and public and key in counts}  # fmt: skip
    return {
        "format": FORMAT, "format_version": FORMAT_VERSION, "xaibench": __version__, "submission": name, "fresh": fresh,
        "asked": "all" if count is None else count, "results": len(pairs), "replayed": len(chosen),
        "tolerance": TOLERANCE, "equal": equal, "cells": results,
        "found": {f"{share:g}": round(detection_probability(len(pairs), max(1, round(share * len(pairs))), len(chosen)),
                                      4) for share in SHARES},
        "rows": [
            {"cell": row.cell, "image_id": row.image_id, "target": int(row.target) if row.target >= 0 else None,
             "unit": row.unit, "metric": row.metric, "submitted": row.score, "replayed": row.score_again,
             "equal": bool(row.equal)} for row in compared.itertuples()
        ],
    }  # fmt: skip


def has_public_weights(cell: Cell) -> bool:
    """Whether a result's weights are those that the card of its model publishes, by the digest of the file here."""
    name, digest = cell.context["model"]["name"], (cell.context.get("weights") or {}).get("digest")
    if registry.shipped_version("model", name) is None:
        return False
    card = registry.card("model", name)
    for weights in (card.plain, card.aligned):
        public = weights and (weights.url or weights.enum or weights.package)
        for path in known_places(weights) if public else ():
            if path.is_file() and file_digest(path) == digest:
                return True
    return False
