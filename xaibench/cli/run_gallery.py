"""From a selection of stored rows and the maps of a run to the gallery that is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xaibench.analysis.gallery import Selection, select
from xaibench.cli.gallery_config import GalleryConfig
from xaibench.errors import XaibenchError
from xaibench.evaluation.replay import Places, Replay, replay
from xaibench.files import file_name
from xaibench.report.gallery import Entry, Gallery, check_gallery, draw_gallery
from xaibench.results.store import Store


@dataclass(frozen=True)
class DrawnRun:
    """A gallery that was drawn: of what, with which maps, and the file."""

    shown: Selection
    maps: Replay
    path: Path


def draw_run(config: GalleryConfig, quiet: bool) -> DrawnRun:
    """Draws the gallery that a request asks for; XaibenchError where there is no such board, or maps cannot be had."""
    store = Store.open(config.path)
    shown = select(
        store, protocol=config.protocol, model=config.model, dataset=config.dataset, board=config.board,
        run=config.run, methods=config.methods, count=config.images,
    )  # fmt: skip
    board, out = shown.board, config.out
    if out is None:
        out = config.path / "figures" / f"gallery-{file_name(board.context['protocol']['name'])}-{board.key}.png"
        out.parent.mkdir(exist_ok=True)
    check_gallery(out, len(shown.cells), config.style)
    digests = dict(zip(shown.rows["image_id"], shown.rows["image_digest"], strict=True))
    places = Places(config.data_root, config.weights, config.plugins, config.cards)
    found = replay(store, board.run, shown.cells, digests, places, device=config.device, quiet=quiet)
    draw_gallery(gallery_of(shown, found), out, style=config.style)
    return DrawnRun(shown, found, out)


def gallery_of(selection: Selection, maps_of: Replay) -> Gallery:
    """What to draw of a selection of a board, from stored rows and the replayed photos and maps."""
    context, run = selection.board.context, selection.board.run
    settings = context["protocol"].get("settings") or {}
    # Only predictions may be explained by a model of other classes, and then its run has no accuracy.
    comparable = settings.get("target") != "prediction" or bool(run and run.accuracy)
    names = maps_of.dataset.classes
    groups: dict[str, list[Entry]] = {}
    for group, images in selection.groups:
        for image_id in images:
            rows = selection.rows[selection.rows["image_id"] == image_id].drop_duplicates("cell").set_index("cell")
            sample, predicted = maps_of.samples[image_id], _class(rows["prediction"].iloc[0])
            maps, scores = {}, {}
            for cell in selection.cells:
                row, found = rows.loc[cell.key], maps_of.maps[cell.key][image_id]
                target = _class(row["target"])
                if target not in found:
                    raise XaibenchError(
                        f"there is no map of {cell.method_name} for image {image_id} and class {target}, of which a "
                        "row is stored: that row is damaged"
                    )
                maps[cell.method_name] = np.asarray(found[target], dtype=np.float64)
                scores[cell.method_name] = float(row["score"]) if row["status"] == "ok" else None
            groups.setdefault(group, []).append(
                Entry(
                    image=sample.image,
                    label=_name(names, sample.label),
                    prediction=_name(names if comparable else (), predicted),
                    right=predicted == sample.label if comparable else None,
                    maps=maps,
                    scores=scores,
                    image_id=image_id,
                )
            )
    return Gallery(
        groups=groups,
        methods=[cell.method_name for cell in selection.cells],
        title=selection.board.title,
        metric=context["protocol"].get("metric") or context["protocol"]["name"],
        higher_is_better=bool(context["protocol"].get("higher_is_better", True)),
        grid=int(settings.get("grid") or 0),
        total=selection.groups.total,
    )


def _class(index: Any) -> int | None:
    return None if pd.isna(index) else int(index)


def _name(names: Sequence[str], index: int | None) -> str:
    if index is None:
        return "no class"
    return names[index] if 0 <= index < len(names) else f"class {index}"
