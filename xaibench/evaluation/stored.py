"""Which stored board answers a request: found by the requests in the records of runs; nothing is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xaibench.analysis.boards import Board
from xaibench.evaluation.config import RunConfig

WITHOUT_EFFECT = (
    "protocols", "methods", "images", "out", "data_root", "device", "batch_size", "chunk_size", "workers", "shard",
    "keep_maps", "download", "cards", "plugins", "until_stable", "confidence", "margin", "engine",
    "address", "gpus_per_task",
)  # fmt: skip
"""Fields that change no score of a method on an image, or that the board itself tells."""


def stored_board(boards: Sequence[Board], config: RunConfig) -> Board | None:
    """The newest current board of one protocol that a complete run of the same request made; None where there is none.

    A folder without records of requests, or one whose runs have fewer images than are asked for, has no answer. Where
    code or cards have changed since, `Leaderboard.age` of the board says so: keys of what would be computed now are not
    known without the weights.
    """
    (protocol,) = config.protocols
    wanted = _essential(config.changed())
    for board in boards:
        if board.context["protocol"]["name"] != protocol or not board.is_current:
            continue
        for run in reversed(board.runs):
            enough = (run.images.get("count") or 0) >= (config.images or 1)
            if run.status == "complete" and enough and run.config and _essential(run.config) == wanted:
                return board
    return None


def _essential(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in WITHOUT_EFFECT and value not in (None, {}, ())}
