"""The table of what was measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

import pandas as pd
import torch

from xaibench.benchmark.config import BenchConfig
from xaibench.benchmark.measure import Row
from xaibench.provenance import package_versions
from xaibench.report.table import Column, Table

COLUMNS = (
    Column("what", title="what", align="left", wraps=True),
    Column("median", "the median over the repeats", format=lambda value: f"{value:.4g}"),
    Column("least", "the least of the repeats", format=lambda value: f"{value:.4g}", dropped=2),
    Column("largest", "the largest of the repeats", format=lambda value: f"{value:.4g}", dropped=2),
    Column("unit", "empty for a ratio", align="left"),
    Column("how", "what was timed", align="left", wraps=True, dropped=1),
)


def table_of(config: BenchConfig, rows: Sequence[Row]) -> Table:
    """The rows, with what was timed and where."""
    found = [
        {"what": r.what, "median": r.value, "least": r.low, "largest": r.high, "unit": r.unit, "how": r.how}
        for r in rows
    ]
    caption = (
        f"{config.model} with random weights at {config.image_size} px, {config.images} images, {config.steps} steps, "
        f"{config.masks} masks, at most {config.chunk_size} inputs a pass; {config.repeats} repeats in turns"
    )
    versions = package_versions()
    named = ", ".join(f"{name} {versions[name]}" for name in ("xaibench", "python", "torch", "captum", "grad-cam"))
    return Table(COLUMNS, pd.DataFrame(found), caption, (f"{machine(config.device)}; {named}",))


def machine(device: str) -> str:
    """The device in words: the GPU's name, or cores of the processor and threads that are used."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{os.cpu_count()} cores ({platform.machine()}), {torch.get_num_threads()} threads"
