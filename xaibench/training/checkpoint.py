"""What a training leaves on the disk after each epoch, so that no kill loses more than the epoch it falls into."""

from __future__ import annotations

import io
import json
import math
import shutil
from pathlib import Path

from accelerate import Accelerator
from safetensors import SafetensorError
from torch import nn

from xaibench.errors import XaibenchError, one_line
from xaibench.files import make_folder, obstacle, write_atomic
from xaibench.models.state import save_state
from xaibench.training.working import BEST


def best_epoch(history: list[dict[str, float]], monitor: str) -> int:
    """The epoch (from 1) of the highest monitored metric, the last among equals; NaN is lower than any other."""

    def rank(row: dict[str, float]) -> tuple[float, float]:
        return (-math.inf if math.isnan(row[monitor]) else row[monitor], row["epoch"])

    return max(history, key=rank)["epoch"]


def save_epoch(accelerator: Accelerator, net: nn.Module, history: list[dict], folder: Path, monitor: str) -> None:
    """Best weights, metrics and the checkpoint; the checkpoint's folder is swapped in whole.

    Raises XaibenchError where something cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    make_folder(folder)
    if best_epoch(history, monitor) == len(history):
        save_state(net, folder / BEST, {})
    metrics = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(history), metrics)
    write_atomic(folder / "metrics.parquet", metrics.getvalue())
    fresh, kept, old = folder / "checkpoint.part", folder / "checkpoint", folder / "checkpoint.old"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        accelerator.save_state(str(fresh))
        (fresh / "history.json").write_text(json.dumps(history), "utf-8")
        if kept.exists():
            shutil.rmtree(old, ignore_errors=True)
            kept.rename(old)
        fresh.rename(kept)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise obstacle(error, fresh) from error
    except (RuntimeError, SafetensorError) as error:  # what torch and safetensors make of a failure to write
        reason = one_line(error)
        raise XaibenchError(
            f"the checkpoint of epoch {len(history)} cannot be written in {folder} (is the disk full?): {reason}; "
            "the one before it is kept, the same command goes on from there"
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def resume(accelerator: Accelerator, folder: Path) -> list[dict[str, float]]:
    """Loads the last whole checkpoint, if there is one, and returns the metrics of its epochs."""
    for kept in (folder / "checkpoint", folder / "checkpoint.old"):
        if (kept / "history.json").is_file():
            accelerator.load_state(str(kept))
            return json.loads((kept / "history.json").read_text("utf-8"))
    return []
