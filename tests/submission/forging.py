"""What forgers of submissions have in common: a forgery changes a copy of the folder, and may list its sums anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xaibench import registry
from xaibench.evaluation.keys import profile_part
from xaibench.files import write_json
from xaibench.hashing import digest
from xaibench.results.cells import Cell

Forged = tuple[str, str, "Forge"]
"""The kind, the name, and the forger."""
Forge = Callable[[Path, Callable[[Path], None]], Path]
EVIL = (
    "\x1b[2J",
    "<script>alert(1)</script>",
    "\u202egnp.exe",
    "a\rb",
    "x\x00y",
    "\x9b31m",
    "`id`",
    "\ue000",
    "\u2028",
)


METHODS = ("mine", "ixg", "random")


def photo_context(context: dict) -> dict[str, Any]:
    """The parts of a context that are others where the data set is ImageNet."""
    data = registry.card("dataset", "imagenet")
    return {
        "dataset": {"name": "imagenet", "version": data.version, "source": "", "geometry": data.geometry.key_fields,
                    "settings": dict(data.parameters) | {"classes": "0" * 20}, "label": "imagenet (224 px)"},
        "model": context["model"] | {"cam_grid": [7, 7], "notes": [], "label": "resnet18 (plain, last map 7x7)"},
        "profile": profile_part(*data.profile("paper")),
    }  # fmt: skip


class Forger:
    """Changes a submission's folder so that it stays consistent, as a forger who knows the format would."""

    def __init__(self, root: Path):
        self.root = root

    def cell(self, method: str) -> tuple[Path, dict]:
        """The file of a method's cell, and what it says."""
        for path in sorted(self.root.glob("cells/*.json")):
            value = json.loads(path.read_text())
            if value["method"]["name"] == method:
                return path, value
        raise KeyError(method)

    def rows(self, method: str) -> Path:
        """The file of a method's rows."""
        return next(self.root.glob(f"rows/*/*/{self.cell(method)[0].stem}.parquet"))

    def write(self, method: str, change: Callable[[dict], Any]) -> None:
        """A cell under its old key."""
        path, value = self.cell(method)
        change(value)
        write_json(path, value)

    def rekey(self, method: str, change: Callable[[dict], Any]) -> None:
        """A cell under the key of what it says then, in the rows and the records too."""
        (path, value), rows = self.cell(method), self.rows(method)
        old = path.stem
        change(value)
        cell = Cell(value["context"], value["method"])
        value["key"], value["board"] = cell.key, cell.board
        path.unlink()
        write_json(self.root / "cells" / f"{cell.key}.json", value)
        table = pq.read_table(rows)
        rows.unlink()
        place = table.schema.get_field_index("cell")
        table = table.set_column(place, table.schema.field(place), [[cell.key] * table.num_rows])
        pq.write_table(table, rows.with_name(f"{cell.key}.parquet"))
        self.run(lambda run: run.update(cells=[cell.key if key == old else key for key in run["cells"]]))

    def rekey_all(self, change: Callable[[dict], Any]) -> None:
        """All cells, as by `rekey`."""
        for method in METHODS:
            self.rekey(method, change)

    def images(self) -> list[str]:
        """The ids of the image list."""
        return json.loads(next(self.root.glob("lists/*.json")).read_text())

    def relist(self, ids: list[str]) -> None:
        """Another list of images, with the rows of as many."""
        next(self.root.glob("lists/*.json")).unlink()
        write_json(self.root / "lists" / f"{digest(ids)}.json", ids)
        self.run(lambda run: run.update(images={"list": digest(ids), "count": len(ids)}))
        for method in METHODS:
            self.table(method, lambda table: table.slice(0, len(ids)))
            self.column(method, "image_id", lambda values: ids)
            self.column(method, "image_digest", lambda values: [f"d{image}" for image in ids])

    def photos(self) -> None:
        """The same of photos, ImageNet's, whose ids nobody knows without them; still sound."""
        self.rekey_all(lambda value: value["context"].update(photo_context(value["context"])))
        for method in METHODS:
            self.column(method, "dataset", lambda values: ["imagenet"] * len(values))

    def board(self) -> None:
        """A board beside the folder that has what the folder has now."""
        shutil.copytree(self.root, self.root.parent / "board")

    def run(self, change: Callable[[dict], Any]) -> None:
        """The record of the run."""
        path = next(self.root.glob("runs/*.json"))
        value = json.loads(path.read_text())
        change(value)
        write_json(path, value)

    def column(self, method: str, name: str, change: Callable[[list], list]) -> None:
        """One column of a method's rows."""
        path = self.rows(method)
        table = pq.read_table(path)
        place = table.schema.get_field_index(name)
        field = table.schema.field(place)
        values = pa.array(change(table[name].to_pylist()), field.type)
        pq.write_table(table.set_column(place, field, values), path)

    def table(self, method: str, change: Callable[[pa.Table], pa.Table]) -> None:
        """A method's rows."""
        path = self.rows(method)
        pq.write_table(change(pq.read_table(path)), path)


def relisting(change: Callable[[Forger], Any]) -> Forge:
    """A forgery whose sums are right."""

    def forge(root: Path, relist: Callable[[Path], None]) -> Path:
        change(Forger(root))
        relist(root)
        return root

    return forge
