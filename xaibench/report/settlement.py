"""What `xaibench run --until-stable` says: a line at each look, and how it ended."""

from __future__ import annotations

from typing import Any

from xaibench.report.inputs import Settled

CLOSEST = 3  # pairs that a line names


def look_line(found: Settled) -> str:
    """What a look found: how many pairs are open, and the closest."""
    closest = "; ".join(f"{a} and {b} ({gap:.3g} apart)" for a, b, gap in found.undecided[:CLOSEST])
    line = f"{found.seen} of {found.listed} images, {len(found.undecided)} of {found.pairs} pairs open"
    return f"{line}, the closest {closest}" if closest else line


def conclusions(stop: dict[str, Any]) -> list[str]:
    """How a stop rule ended, from the record of its run (`stop`): a line for each protocol."""
    if stop["failed"]:
        return [f"not settled: {', '.join(stop['failed'])} failed"]
    return [f"{name}: {_conclusion(found, stop)}" for name, found in stop["protocols"].items()]


def _conclusion(found: dict[str, Any], stop: dict[str, Any]) -> str:
    seen, listed, ranking = found["seen"], found["listed"], found["order"]
    first = min(found["first"], len(ranking))
    what = "order of all methods" if first == len(ranking) else f"first {first} of {len(ranking)} methods"
    order = " > ".join(ranking[:first])
    if found["equivalent"]:
        order += (
            f"; equivalent within {stop['margin']:g}: {', '.join(' = '.join(pair) for pair in found['equivalent'])}"
        )
    if found["outcome"] == "settled":
        return (
            f"settled after {seen} of {listed} images ({1 - seen / listed:.0%} saved) at confidence "
            f"{stop['confidence']:g} for the means over these {listed} images; {what}: {order}"
        )
    if found["outcome"] == "exhausted":
        return (
            f"all {listed} images of the list were needed, nothing was saved; {what} on this list, which says nothing "
            f"of other images: {order}"
        )
    if not found["counted"]:
        return f"not settled: none of {listed} images has a defined reference"
    tied = "; ".join(f"{a} and {b}" for a, b, _ in found["undecided"])
    more = (
        f" and {found['open'] - len(found['undecided'])} more pairs" if found["open"] > len(found["undecided"]) else ""
    )
    hint = "" if stop["margin"] is not None else "; with --margin they are equivalent"
    return f"not settled by all {listed} images of the list, on which these tie exactly{hint}: {tied}{more}"
