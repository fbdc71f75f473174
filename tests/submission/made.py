"""Results of made-up scores, as runs store them, and submissions of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xaibench import registry
from xaibench.cards import MethodCard
from xaibench.datasets.open import open_dataset
from xaibench.evaluation.keys import method_part, profile_part, protocol_part
from xaibench.protocols.api import make_protocol
from xaibench.publication.rows import file_schema, rows_folder
from xaibench.results.cells import Cell
from xaibench.results.manifest import RunManifest
from xaibench.results.schema import row_table
from xaibench.results.store import Store
from xaibench.sources import file_source
from xaibench.submission.manifest import write_submission
from xaibench.submission.pack import submit

PLUGIN = '''import xaibench


@xaibench.method("mine")
def mine(evidence):
    """Input times gradient."""
    return evidence.inputs * evidence.gradient()
'''


def context() -> dict:
    """A context as runs store it, but for weights that are nowhere."""
    card, data = registry.card("protocol", "idsds"), registry.card("dataset", "critters")
    model = registry.card("model", "resnet18")
    return {
        "protocol": protocol_part(card, make_protocol(card, {})),
        "dataset": {"name": "critters", "version": data.version, "source": "", "settings": dict(data.parameters),
                    "geometry": data.geometry.key_fields, "label": "critters (64 px)"},
        "model": {"name": "resnet18", "version": model.version, "source": "", "cam_layer": "layer4",
                  "cam_grid": [4, 4], "notes": ["last stage dilated"], "mean": list(model.mean),
                  "std": list(model.std), "label": "resnet18 (plain, last map 4x4, last stage dilated)"},
        "weights": {"digest": "0" * 20, "alignment": None, "label": "plain"},
        "profile": profile_part(*data.profile("quick")), "seed": 0, "precision": "float32",
    }  # fmt: skip


def make(root: Path, mine: dict, count: int = 8) -> None:
    """A results folder of three methods: one of which `mine` is what its key says, one of xaibench, and a control."""
    store = Store.create(root)
    images = open_dataset(registry.card("dataset", "critters"), None, {}).image_list(count)
    parts = [mine, *(method_part(card, dict(card.parameters)) for card in map(of_xaibench, ("ixg", "random")))]
    cells = [Cell(context(), part) for part in parts]
    store.register(cells)
    for number, cell in enumerate(cells):
        store.append(_rows(cell, images, number))
    _run(store, cells, images)


def _rows(cell: Cell, images: list[str], number: int) -> pa.Table:
    scores = np.random.default_rng(number).uniform(-1, 1, len(images))
    return row_table({
        "cell": cell.key, "image_id": images, "image_digest": [f"d{image}" for image in images], "target": 1,
        "unit": "image", "metric": cell.context["protocol"]["metric"], "prediction": 1, "label": 1,
        "correct": True, "protocol": "idsds", "dataset": "critters", "model": "resnet18",
        "method": cell.method["name"], "score": scores, "status": "ok",
    })  # fmt: skip


def _run(store: Store, cells: list[Cell], images: list[str]) -> None:
    run = RunManifest(
        "xaibench run idsds --model resnet18", protocols=["idsds"], cells=[cell.key for cell in cells],
        boards=list(dict.fromkeys(cell.board for cell in cells)),
        images={"list": store.save_list(images), "count": len(images)}, precision="float32",
        config={"protocols": ["idsds"], "model": "resnet18"}, device="cpu", arithmetic="ieee",
    )  # fmt: skip
    run.finish("complete")
    run.save(store)


def made_submission(root: Path, boards: int, count: int) -> None:
    """A sound submission of so many boards, which differ in their seeds, with so many images, as a folder."""
    store = Store.create(root)
    images = open_dataset(registry.card("dataset", "critters"), None, {}).image_list(count)
    (root / "source").mkdir()
    (root / "source" / "plugin_mine.py").write_text(PLUGIN)
    mine = MethodCard(name="mine", title="", source=file_source(root / "source" / "plugin_mine.py"))
    cards = [mine, of_xaibench("ixg"), of_xaibench("random")]
    cells = [Cell(context() | {"seed": seed}, method_part(card, {})) for seed in range(boards) for card in cards]
    store.register(cells)
    for number, cell in enumerate(cells):
        path = root / rows_folder(cell.context) / f"{cell.key}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(_rows(cell, images, number).cast(file_schema()), path)
    _run(store, cells, images)
    write_submission(root, ["mine"], "source/plugin_mine.py")


def of_xaibench(name: str) -> MethodCard:
    """The card of a method that ships with xaibench."""
    return registry.card("method", name)


def packed_in(root: Path) -> SimpleNamespace:
    """Results, a plug-in, and the submission of them as a ZIP file and as a folder, in a folder; its name."""
    root.mkdir(parents=True, exist_ok=True)
    plugin = root / "plugin_mine.py"
    plugin.write_text(PLUGIN)
    make(root / "results", method_part(MethodCard(name="mine", title="", source=file_source(plugin)), {}))
    found = submit(root / "results", plugin, root / "mine.zip")
    submit(root / "results", plugin, root / "mine")
    return SimpleNamespace(root=root, zip=root / "mine.zip", folder=root / "mine", hash=found.hash)
