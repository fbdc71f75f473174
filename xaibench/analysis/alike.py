"""Boards of a results folder that differ in one thing alone: their protocol, its settings, the seed, or the model.

Two questions are asked of them: whether they agree (`agreement`), and how far ranks move with settings (`meta_rank`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaibench.analysis.across_models import named_by_model
from xaibench.analysis.agreement import Agreement, agreement
from xaibench.analysis.boards import Board, fitting, rest_of, short_key
from xaibench.analysis.leaderboard import Leaderboard
from xaibench.analysis.meta_rank import MetaRank, meta_rank
from xaibench.analysis.stored import StoredResults
from xaibench.errors import XaibenchError
from xaibench.results.store import Store

OF_A_PROTOCOL = ("protocol", "weights", "reference", "held_out", "shown", "dataset.masks")
DIFFERING = {
    "protocol": OF_A_PROTOCOL,
    "setting": OF_A_PROTOCOL,
    "seed": ("seed",),
    "setting or seed": (*OF_A_PROTOCOL, "seed"),
    "model": ("model", "weights", "reference"),
}
"""Parts of a context that may differ between boards, by what is asked for: weights are aligned with a protocol."""
OF_ONE_PROTOCOL = ("setting", "setting or seed")


def agreement_of_boards(
    results: StoredResults | Store | str | Path, across: str = "protocol", protocol: str | None = None, *,
    model: str | None = None, dataset: str | None = None,
    newest: Callable[[str, str], int | None] = lambda kind, name: None,
) -> Agreement:  # fmt: skip
    """How the boards of a results folder that differ only in `across` agree on the order of methods.

    Of several such sets the one with the newest board is taken. Boards that a newer version replaced, without a better
    end, or of the model alone are left out.

    Args:
        across: what differs, one of `DIFFERING`.
        protocol, model, dataset: as for `fitting`.
        newest: as for `open_leaderboard`, of a folder; `StoredResults` have their own.

    Raises XaibenchError where no two boards are alike but for that.
    """
    taken, notes = _alike(StoredResults.of(results, newest), across, protocol, model, dataset)
    return agreement(
        {name: board.ranked_scores() for name, board in taken.items()},
        {name: board.higher_is_better for name, board in taken.items()},
        across=across, title=_title("agreement across", taken.values(), across),
        titles={name: board.title for name, board in taken.items()}, notes=notes,
    )  # fmt: skip


def meta_rank_of_boards(
    results: StoredResults | Store | str | Path, protocol: str, *, model: str | None = None, dataset: str | None = None,
    newest: Callable[[str, str], int | None] = lambda kind, name: None,
) -> MetaRank:  # fmt: skip
    """How far the ranks of methods move with the settings and the seed of one protocol, all else being the same.

    Arguments and which boards are taken: as for `agreement_of_boards`. Raises XaibenchError where no two boards of the
    protocol are alike but for settings and seed, or these have too few methods or no image in common.
    """
    taken, notes = _alike(StoredResults.of(results, newest), "setting or seed", protocol, model, dataset)
    contexts = {name: board.context for name, board in taken.items()}
    return meta_rank(
        {name: board.ranked_scores() for name, board in taken.items()},
        {name: board.higher_is_better for name, board in taken.items()},
        settings={name: (part["protocol"].get("settings") or {}) | {"seed": part.get("seed")}
                  for name, part in contexts.items()},
        title=_title("ranks across", taken.values(), "setting or seed"),
        titles={name: board.title for name, board in taken.items()}, notes=notes,
    )  # fmt: skip


def _alike(
    results: StoredResults, across: str, protocol: str | None, model: str | None, dataset: str | None
) -> tuple[dict[str, Leaderboard], tuple[str, ...]]:  # fmt: skip
    """The newest set of boards that differ in `across` alone, by their names, and notes."""
    every = fitting(results.boards, protocol, model=model, dataset=dataset)
    current = [board for board in every if board.is_current]
    groups: dict[str, list[Board]] = {}
    for board in current:
        if any(cell.method is not None for cell in board.cells):
            name = board.context["protocol"]["name"] if across in OF_ONE_PROTOCOL else ""
            groups.setdefault(name + rest_of(board, DIFFERING[across]), []).append(board)
    several = [_Usable.of(group, across, results) for group in groups.values() if len(group) > 1]
    several = [found for found in several if len(found.boards) > 1]
    if not several:
        raise XaibenchError(
            f"no two boards that differ in the {across} alone and rank methods{_wanted(protocol, model, dataset)} are "
            f"in {results.root}; there: {_titles(current)}"
        )
    taken = several[0]
    notes = [*taken.notes]
    for other in several[1:]:
        named = next(iter(other.boards.values()))
        notes.append(f"also alike but for the {across}: {len(other.boards)} boards such as {named.title}")
    return taken.boards, tuple(notes)


@dataclass(frozen=True)
class _Usable:
    """Boards that rank methods, by their names, and notes on those that are left out."""

    boards: dict[str, Leaderboard]
    notes: list[str]

    @classmethod
    def of(cls, group: list[Board], across: str, results: StoredResults) -> _Usable:
        found: dict[str, Leaderboard] = {}
        notes = []
        for name, board in sorted(_named(group, across).items()):
            one = results.open(board)
            if not one.has_direction:
                notes.append(f"{name} is left out: {one.metric} describes and has no better end")
            elif not one.table["rank"].notna().any():
                notes.append(f"{name} is left out: none of its methods has every image of the list")
            else:
                found[name] = one
        return cls(found, notes)


def _named(group: list[Board], across: str) -> dict[str, Board]:
    """Boards by what tells each from the others."""
    if across == "model":
        return named_by_model(group)
    protocols = [board.context["protocol"] for board in group]
    if across == "seed":
        names = [f"seed {board.context.get('seed')}" for board in group]
    elif across == "setting":
        names = differing_details([part.get("label") or part["name"] for part in protocols])
    elif across == "setting or seed":
        names = _of_settings_and_seeds(protocols, [board.context.get("seed") for board in group])
    else:
        labels: dict[str, list[str]] = {}
        for part in protocols:
            labels.setdefault(part["name"], []).append(part.get("label") or part["name"])
        own = {name: iter(differing_details(several)) for name, several in labels.items()}
        names = [
            part["name"] if len(labels[part["name"]]) == 1 else f"{part['name']}: {next(own[part['name']])}"
            for part in protocols
        ]
    several = Counter(names)
    return {
        name if several[name] == 1 else f"{name} {short_key(board, group)}": board
        for name, board in zip(names, group, strict=True)
    }


def _of_settings_and_seeds(protocols: Sequence[dict[str, Any]], seeds: Sequence[Any]) -> list[str]:
    """Names of boards of one protocol by the settings in which they differ, and by the seed where seeds differ."""
    labels = [part.get("label") or part["name"] for part in protocols]
    several = list(dict.fromkeys(labels))
    details = dict(zip(several, differing_details(several) if len(several) > 1 else [""], strict=True))
    seed = [f"seed {one}" if len(set(seeds)) > 1 else "" for one in seeds]
    return [", ".join(filter(None, (details[label], one))) for label, one in zip(labels, seed, strict=True)]


def differing_details(labels: Sequence[str]) -> list[str]:
    """Labels of one protocol without the details that all of them have at the same place.

    >>> differing_details(["sds (grid 4, zero baseline)", "sds (grid 8, zero baseline)"])
    ['grid 4', 'grid 8']
    """
    details = [label.partition(" (")[2].removesuffix(")").split(", ") for label in labels]
    if len({len(each) for each in details}) > 1 or len(set(labels)) < len(labels):
        return [", ".join(each) or label for each, label in zip(details, labels, strict=True)]
    kept = [place for place, each in enumerate(zip(*details, strict=True)) if len(set(each)) > 1]
    return [", ".join(each[place] for place in kept) for each in details]


def _title(asked: str, found: Iterable[Leaderboard], across: str) -> str:
    first = next(iter(found))
    parts = {part: first.context.get(part) or {} for part in ("protocol", "model", "dataset", "profile")}
    named = {"model"} if across == "protocol" else {"protocol"} if across in OF_ONE_PROTOCOL else set()
    shown = [
        value.get("name", "") if part in named else label
        for part, value in parts.items()
        if (label := value.get("label") or value.get("name")) and part != across
    ]
    seed = [] if "seed" in across else [f"seed {first.context.get('seed')}"]
    plural = "settings and seeds" if across == "setting or seed" else f"{across}s"
    return " · ".join([f"{asked} {plural}", *shown, *seed])


def _wanted(*given: str | None) -> str:
    asked = [name for name in given if name]
    return f" and fit {', '.join(asked)}" if asked else ""


def _titles(every: list[Board]) -> str:
    if not every:
        return "none"
    shown = "; ".join(board.title for board in every[:5])
    return f"{shown}; and {len(every) - 5} more" if len(every) > 5 else shown
