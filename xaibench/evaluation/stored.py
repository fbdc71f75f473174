"""Which stored board answers a request: found by the requests in the records of runs; nothing is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
    return next(_answers(boards, config, ()), None)


def stored_boards(boards: Sequence[Board], config: RunConfig) -> list[Board]:
    """All that could be `stored_board`, newest first: the same request may have been run on several networks, as a
    training from scratch gives another one on another machine."""
    return list(_answers(boards, config, ()))


def stored_boards_of_training(
    boards: Sequence[Board], config: RunConfig, matches: Callable[[Mapping[str, Any]], bool]
) -> list[Board]:
    """Current boards that complete runs of the same request made on weights that some training left, newest first.

    The request names no weights: a path says nothing elsewhere, and records of board folders have none. matches says of
    the record of a training (`RunManifest.training`) whether it is the one.
    """
    return [board for board in _answers(boards, config, ("weights",)) if matches(board.run.training or {})]


def _answers(boards: Sequence[Board], config: RunConfig, unknown: tuple[str, ...]) -> Iterator[Board]:
    """Current boards that a complete run made of the same request, but for fields that are unknown."""
    (protocol,) = config.protocols
    left_out = {*WITHOUT_EFFECT, *unknown}
    wanted = _essential(config.changed(), left_out)
    for board in boards:
        if board.context["protocol"]["name"] != protocol or not board.is_current:
            continue
        for run in reversed(board.runs):
            same = run.status == "complete" and run.config and _essential(run.config, left_out) == wanted
            if same and _images(run.images, run.config) >= (config.images or 1):
                yield board
                break


def _images(images: Mapping[str, Any], fields: Mapping[str, Any]) -> int:
    """For how many images of a request a complete run is the answer: as many as it has, or, of a data set that has
    fewer, as many as it was asked for."""
    asked = 0 if fields.get("until_stable") else fields.get("images")
    return max(images.get("count") or 0, asked or 0)


def _essential(fields: dict[str, Any], left_out: set[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in left_out and value not in (None, {}, ())}
