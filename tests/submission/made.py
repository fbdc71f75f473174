"""Results of made-up scores, as runs store them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xaibench import registry
from xaibench.cards import MethodCard
from xaibench.datasets.open import open_dataset
from xaibench.evaluation.keys import method_part, profile_part, protocol_part
from xaibench.protocols.api import make_protocol
from xaibench.results.cells import Cell
from xaibench.results.manifest import RunManifest
from xaibench.results.schema import row_table
from xaibench.results.store import Store


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
        scores = np.random.default_rng(number).uniform(-1, 1, count)
        store.append(row_table({
            "cell": cell.key, "image_id": images, "image_digest": [f"d{image}" for image in images], "target": 1,
            "unit": "image", "metric": cell.context["protocol"]["metric"], "prediction": 1, "label": 1,
            "correct": True, "protocol": "idsds", "dataset": "critters", "model": "resnet18",
            "method": cell.method["name"], "score": scores, "status": "ok",
        }))  # fmt: skip
    run = RunManifest(
        "xaibench run idsds --model resnet18", protocols=["idsds"], cells=[cell.key for cell in cells],
        boards=[cells[0].board], images={"list": store.save_list(images), "count": count}, precision="float32",
        config={"protocols": ["idsds"], "model": "resnet18"}, device="cpu", arithmetic="ieee",
    )  # fmt: skip
    run.finish("complete")
    run.save(store)


def of_xaibench(name: str) -> MethodCard:
    """The card of a method that ships with xaibench."""
    return registry.card("method", name)
