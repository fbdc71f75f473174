"""From a selection of stored rows and the maps of a run to the gallery that is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from xaibench.analysis.gallery import Selection
from xaibench.errors import XaibenchError
from xaibench.evaluation.replay import Replay
from xaibench.report.gallery import Entry, Gallery


def gallery_of(selection: Selection, replay: Replay) -> Gallery:
    """What to draw of a selection of a board, from stored rows and the replayed photos and maps."""
    context, run = selection.board.context, selection.board.run
    settings = context["protocol"].get("settings") or {}
    # Only predictions may be explained by a model of other classes, and then its run has no accuracy.
    comparable = settings.get("target") != "prediction" or bool(run and run.accuracy)
    names = replay.dataset.classes
    groups: dict[str, list[Entry]] = {}
    for group, images in selection.groups:
        for image_id in images:
            rows = selection.rows[selection.rows["image_id"] == image_id].drop_duplicates("cell").set_index("cell")
            sample, predicted = replay.samples[image_id], _class(rows["prediction"].iloc[0])
            maps, scores = {}, {}
            for cell in selection.cells:
                row, found = rows.loc[cell.key], replay.maps[cell.key][image_id]
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
