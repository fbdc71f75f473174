"""A small results folder with hostile names, and a reader of pages."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from xaibench.results.cells import Cell
from xaibench.results.manifest import RunManifest
from xaibench.results.maps import MapStore
from xaibench.results.schema import row_table
from xaibench.results.store import Store

SCRIPT = "<script>alert(1)</script>"
QUOTED = '" onmouseover="alert(2)'
HOSTILE_IMAGE = 'x/"><svg onload=alert(3)>.png'
HOSTILE_CLASS = "<img src=x onerror=alert(4)>"
HOSTILE_COMMAND = "xaibench run idsds --model '<b>bold</b>' --methods javascript:alert(5); rm -rf ~"
IMAGES = [HOSTILE_IMAGE, *(f"{number:03d}.png" for number in range(11))]
CLASSES = ["bird", HOSTILE_CLASS]
METHODS = {
    "grad-cam": ("method", 0.80), "ig": ("method", 0.72), "grad-cam++": ("variant", 0.55), SCRIPT: ("method", 0.5),
    QUOTED: ("method", 0.4), "=cmd()": ("method", 0.3), "random": ("control", -0.1), "oracle": ("oracle", 1.0),
}  # fmt: skip
MODELS = {"resnet18": 0.0, "'vgg'</title>": -0.05}
COSTS = {
    name: {"images": 12, "maps": 12, "forward_equivalents_alone": passes, "forward_equivalents_shared": passes,
           "seconds_alone": 0.01 * passes, "seconds_shared": 0.01 * passes}
    for name, passes in zip(METHODS, (3, 150, 3, 1, 20, 400, 0, 0), strict=True)
}  # fmt: skip
PROTOCOLS = ("idsds", "grid-pg")
CHANGE = {"before": 0.5, "after": 0.6, "change": 0.1, "ci_low": 0.05, "ci_high": 0.15, "better": True, "clear": True}
COMPARISON = {
    "comparison": "depth", "title": f"Depth {SCRIPT} · idsds · critters", "question": QUOTED, "claim": SCRIPT,
    "metric": "idsds", "higher_is_better": True, "caption": SCRIPT, "notes": [SCRIPT], "arms": {SCRIPT: QUOTED},
    "trainings": [{"arm": SCRIPT, "training": 0, "accuracy": 0.9, "best_method": "ig", "best": 0.7, "mean": 0.5,
                   "n_images": 8, "n_methods": 2}],
    "spread": None,
    "pairs": [
        {"before": SCRIPT, "after": f"deep {trainings}", "change": 0.1, "interval": [0.05, None], "improved": 2,
         "clearly": 1, "clearly_worse": 0, "methods": 2, "kendall_tau": None, "images": 8, "trainings": [1, trainings],
         "enough_trainings": enough, "only_in_one": [], "answers": None,
         "rows": [CHANGE | {"method": "ig", "kind": "method"}, CHANGE | {"method": SCRIPT, "kind": "control"}]}
        for trainings, enough in ((1, False), (5, True))
    ],
}  # fmt: skip


def context(protocol: str, model: str) -> dict:
    return {
        "protocol": {"name": protocol, "version": 1, "metric": protocol, "range": [-1, 1], "undefined_cost": 0.0,
                     "higher_is_better": True, "label": f"{protocol} (made up)"},
        "model": {"name": model, "label": f"{model} (aligned)"}, "weights": {"kind": "aligned", "digest": "ab"},
        "dataset": {"name": "critters", "version": 1, "label": "critters (32 px)"}, "profile": {"name": "quick"},
        "seed": 0, "precision": "float32",
    }  # fmt: skip


def make_folder(root: Path) -> Store:
    """Results of two protocols and two models, each with eight methods on twelve images; maps of one protocol."""
    store, rng = Store.create(root), np.random.default_rng(0)
    for number, (protocol, model) in enumerate((p, m) for p in PROTOCOLS for m in MODELS):
        cells, image = [], rng.normal(size=len(IMAGES))
        for name, (kind, mean) in METHODS.items():
            cell = Cell(context(protocol, model), {"name": name, "version": 1, "source": "1", "kind": kind})
            values = np.clip(mean + MODELS[model] + 0.05 * image + 0.04 * rng.normal(size=len(IMAGES)), -1, 1)
            values = np.ones(len(IMAGES)) if kind == "oracle" else values
            store.register([cell])
            store.append(row_table(rows_of(cell, protocol, model, name, values)))
            cells.append(cell)
            if number < 2:
                maps = torch.from_numpy(rng.normal(size=(len(IMAGES), 1, 32, 32)))
                MapStore(root).save(cell.key, IMAGES, torch.ones(len(IMAGES), dtype=torch.int64), maps)
        run = RunManifest(
            HOSTILE_COMMAND, protocols=[protocol], cells=[cell.key for cell in cells], boards=[cells[0].board],
            images={"list": store.save_list(IMAGES), "count": len(IMAGES)}, classes=CLASSES, device="cpu",
            run=f"2026010{number + 1}T000000Z-abcdef", started=f"2026-01-0{number + 1}T00:00:00+00:00",
            accuracy={"correct": 9 + number, "images": 12}, git_commit="0123abc", warnings=[SCRIPT], costs=COSTS,
        )  # fmt: skip
        run.finish("complete")
        run.save(store)
    write_index(root, store)
    return store


def write_index(root: Path, store: Store) -> None:
    """Makes the folder a board folder, with photos of one data set, a comparison, what was withdrawn, and a version."""
    (root / "README.md").write_text("made up")
    (root / "images").mkdir()
    for number in range(len(IMAGES)):
        pixels = np.random.default_rng(number).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{number}.png")
    (root / "comparison.json").write_text(json.dumps(COMPARISON))
    cells: dict[str, list[Cell]] = {}
    for cell in store.cells().values():
        cells.setdefault(cell.board, []).append(cell)
    files = dict.fromkeys(("csv", "json", "markdown", "figure"), "README.md")
    boards = [
        {"key": key, "protocol": found[0].context["protocol"]["name"], "model": found[0].context["model"]["name"],
         "dataset": "critters (32 px)", "title": SCRIPT, "metric": "m", "higher_is_better": True, "images": len(IMAGES),
         "image_list": store.save_list(IMAGES), "cells": [cell.key for cell in found], "rows": "rows"} | files
        for key, found in cells.items()
    ]  # fmt: skip
    withdrawn = {"board": boards[0]["key"], "protocol": "idsds", "model": SCRIPT, "dataset": "d", "title": QUOTED,
                 "reason": HOSTILE_CLASS, "last": 1}  # fmt: skip
    gone = {"name": "width", "title": f"Width {SCRIPT}", "content": "0" * 16, "reason": HOSTILE_CLASS, "last": 1}
    index = {
        "format": "xaibench-board", "format_version": 1, "version": 2, "xaibench": "0", "title": SCRIPT, "license": "x",
        "boards": boards, "withdrawn": [withdrawn],
        "withdrawn_comparisons": [gone],
        "images": {"critters (32 px)": {image: f"images/{number}.png" for number, image in enumerate(IMAGES)}},
        "comparisons": [{"name": "depth", "title": COMPARISON["title"], "json": "comparison.json"}],
        "versions": [{"version": 1, "index": "README.md", "boards": 4, "results": 32}],
    }  # fmt: skip
    (root / "board.json").write_text(json.dumps(index))


def rows_of(cell: Cell, protocol: str, model: str, method: str, values: np.ndarray) -> dict:
    return {
        "cell": cell.key, "image_id": IMAGES, "image_digest": [f"d{i}" for i in range(len(IMAGES))], "target": 1,
        "unit": "image", "metric": protocol, "score": [float(value) for value in values], "status": "ok",
        "prediction": 1, "label": 1, "correct": True, "protocol": protocol, "dataset": "critters", "model": model,
        "method": method,
    }  # fmt: skip


class Reader(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data
