"""Weights of networks that are the same bits on every machine, in files that are the same bytes.

Every number is an integer of SHAKE-256 divided by a power of two, and the file is put together here byte by byte, so
that neither NumPy, torch nor safetensors decides what a key hashes.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

SHAPES: dict[str, dict[str, list[int]]] = json.loads(Path(__file__).with_name("shapes.json").read_text())
"""The shapes of the tensors of each network for ten classes, by name, in the order of its state dict."""
COUNTER = "num_batches_tracked"
BIASES = {"golden_tiny": {"7.bias": [-1171, 566, -376, -277, 810, -615, 661, -825, 260, -113]}}
"""Biases in 1024ths that were chosen so that the network does not predict the same class of all images."""


def facts_of(model: str, dataset: str, alignment: dict[str, Any] | None = None, task: str = "") -> dict[str, Any]:
    """What xaibench writes into the header of weights that it has trained, as far as runs read it."""
    return {
        "model": model, "dataset": dataset, "alignment": alignment, "recipe": {"loss": "cross-entropy"}, "seed": 0,
        "train": {"split": "train", "count": 2240}, "validation": {"split": "val", "count": 300},
        "metrics": {"accuracy": 0.5}, "monitor": "accuracy",
    } | ({"task": {"name": task}} if task else {})  # fmt: skip


def write_weights(path: Path, model: str, facts: dict[str, Any], classes: int = 10, variant: str = "") -> Path:
    """Writes the fixed weights of a network as safetensors, with facts in the header; returns the path.

    variant: a word for other weights of the same network.
    """
    header: dict[str, Any] = {"__metadata__": {"xaibench": json.dumps(facts, sort_keys=True)}}
    parts, end = [], 0
    counters_first = sorted(SHAPES[model].items(), key=lambda item: not item[0].endswith(COUNTER))  # aligned to 8 bytes
    for name, shape in counters_first:
        shape = _for_classes(shape, name, model, classes)
        values = _values(name + variant, shape, name)
        if classes == 10 and name in BIASES.get(model, {}):
            values = np.array(BIASES[model][name], "<f4") / np.float32(1024)
        start, end = end, end + values.nbytes
        kind = "I64" if values.dtype == np.int64 else "F32"
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
        parts.append(values.tobytes())
    words = json.dumps(header, sort_keys=True).encode()
    words += b" " * (-len(words) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join([len(words).to_bytes(8, "little"), words, *parts]))
    return path


def _for_classes(shape: list[int], name: str, model: str, classes: int) -> list[int]:
    """The shape of a tensor of the last layer, which is for ten classes in `SHAPES`, for as many as wanted."""
    last = list(SHAPES[model])[-1].rpartition(".")[0]
    return [classes, *shape[1:]] if name.rpartition(".")[0] == last else shape


def _values(seed: str, shape: list[int], name: str) -> np.ndarray:
    """The values of a tensor, little-endian, of a size at which activations neither vanish nor explode."""
    if name.endswith(COUNTER):
        return np.ones(shape, "<i8")
    count = math.prod(shape)
    drawn = np.frombuffer(hashlib.shake_256(seed.encode()).digest(count), np.int8).astype("<f4").reshape(shape)
    if name.endswith("running_var"):
        return drawn / np.float32(256) + np.float32(1)
    if len(shape) == 1:  # scales of normalisations are near 1, and biases near 0
        return drawn / np.float32(1024) + np.float32(1 if name.endswith("weight") else 0)
    halvings = math.prod(shape[1:]).bit_length() // 2
    return drawn * np.float32(2.0 ** (1 - halvings - 7))
