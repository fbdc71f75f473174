"""Models trained by xaibench: folders under XAIBENCH_HOME, named by model, data set and the hash of the recipe."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from xaibench.home import home
from xaibench.models.state import WEIGHTS_FILE, read_header


@dataclass(frozen=True)
class TrainedWeights:
    """A file of weights and its header: model, dataset, alignment (or None), recipe, seed, metrics."""

    path: Path
    header: dict


def recipe_key(header: dict) -> str:
    """12 hex digits that identify a training: the hash of its header before the training begins."""
    return hashlib.blake2b(json.dumps(header, sort_keys=True).encode(), digest_size=6).hexdigest()


def folder_of(header: dict) -> Path:
    """The folder of the training with this header."""
    task = header.get("task")
    alignment = header["alignment"] or {}
    aligned = "self-aligned" if alignment.get("teacher") == "self" else "aligned" if alignment else "plain"
    kind = task["name"] if task else aligned
    name = f"{header['model']}-{header['dataset']}-{kind}-{recipe_key(header)}"
    name = re.sub(r"[:/\\]", "-", name)
    return home() / "models" / name


def trained_weights(model: str, dataset: str, source: str | None = None) -> list[TrainedWeights]:
    """All finished trainings of a model on a data set, newest last; files that cannot be read are left out.

    source identifies the model's code (None: any): weights from before an edit of a plug-in belong to another model.
    """
    found = []
    for path in sorted((home() / "models").glob(f"*/{WEIGHTS_FILE}"), key=lambda p: p.stat().st_mtime):
        try:
            header = read_header(path)
        except (SafetensorError, OSError, ValueError):
            continue
        code = header.get("model_card", {}).get("source", "")
        if (header.get("model"), header.get("dataset")) == (model, dataset) and source in (None, code):
            found.append(TrainedWeights(path, header))
    return found
