"""Whether the CPU and the second device agree: maps of every method, scores of every protocol, and whole runs.

What differs by more than TOLERANCE in float32 is repeated in float64. Where that agrees, and the difference was small
enough for it, rounding decides (the gate of a ReLU, the order of two pixels); everything else is a disagreement.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from machine import second_device
from networks import FAMILIES, example
from report import in_short
from rows import compared_runs
from torch import Tensor

import xaibench
from xaibench import registry

if TYPE_CHECKING:
    from check import Options

TOLERANCE = 1e-4  # relative, in float32 without TF32
ROUNDING = {"maps": 1e-2, "scores": 1e-1}  # relative; what is larger is never put down to rounding
CHUNKS = (32, 5)  # of the CPU, and of what stands for a GPU in a dry run
PLANTED = 1.01  # the factor by which a test disturbs what the second device gives
JUDGED = ("ixg", "random", "grad-cam", "rise")  # methods whose maps every protocol judges
SMALLER = {"steps": 2, "masks": 8, "n_samples": 4, "samples": 2, "cells": 3, "window": 0.5, "stride": 0.25}


def maps(options: Options) -> dict:
    """For each method and family of networks: the difference of its maps, or why it was not tried."""
    found: dict[str, dict] = {name: {} for name in registry.names("method")}
    for family in FAMILIES:
        for name, by_family in found.items():
            if options.dry and not told_by_family(name, family):
                by_family[family] = {"verdict": "not tried", "why": "a dry run compares it on cnn alone"}
                continue
            by_family[family] = judged("maps", lambda exact, n=name, f=family: maps_of_both(n, f, exact, options))
    return found


def told_by_family(name: str, family: str) -> bool:
    """Whether a method does something of its own in a family, which a dry run compares beside all methods of CNNs."""
    card = registry.card("method", name)
    return family == "cnn" or name in ("ixg", "grad-cam") or family in {*card.families, *card.family_parameters}


def scores(options: Options) -> dict:
    """For each protocol: the difference of its scores of the same maps, or why `xaibench.score` cannot tell."""
    net, x, y = example("cnn", options.dry)
    given = [
        xaibench.attribute(net, x, y, name, **changed(name, options.dry))
        for name in JUDGED[: 1 if options.dry else None]
    ]
    protocols = registry.names("protocol")
    return {p: judged("scores", lambda exact, p=p: scores_of_both(p, given, exact, options)) for p in protocols}


def runs(options: Options) -> dict:
    """For each protocol and method: the difference of the rows of `xaibench.run` on the two devices."""
    first = compared_runs(options, "float32", registry.names("protocol"), planted=PLANTED)
    found = {}
    beyond = sorted({p for p, by in first.items() for entry in by.values() if entry.get("difference", 0) > TOLERANCE})
    again = compared_runs(options, "float64", beyond, planted=PLANTED) if beyond else {}
    for protocol, by_method in first.items():
        found[protocol] = {}
        for method, entry in by_method.items():
            exact = again.get(protocol, {}).get(method, {})
            found[protocol][method] = classed("scores", entry, lambda exact=exact: exact)
    return found


def judged(kind: str, compare: Callable[[bool], dict]) -> dict:
    """A comparison with its verdict; compare(exact) carries it out in float32, or in float64."""
    try:
        entry = compare(False)
    except Refused as refusal:
        return {"verdict": "not tried", "why": str(refusal)}
    except Exception as error:
        return {"verdict": "raised", "why": in_short(error)}
    return classed(kind, entry, lambda: compare(True))


def classed(kind: str, entry: dict, repeat: Callable[[], dict]) -> dict:
    """An entry with its verdict: agrees, rounding or differs (beside `raised` and `not tried`, which stay)."""
    if "verdict" in entry:
        return entry
    if entry["difference"] <= TOLERANCE:
        return entry | {"verdict": "agrees"}
    try:
        exact = repeat().get("difference")
    except Exception as error:  # then nothing speaks for rounding
        return entry | {"verdict": "differs", "float64": in_short(error)}
    small = exact is not None and exact <= TOLERANCE and entry["difference"] <= ROUNDING[kind]
    return entry | {"verdict": "rounding" if small else "differs", "float64": exact}


class Refused(Exception):
    """xaibench says on the CPU why it does not do this."""


def on_both(call: Callable[[str, int], Tensor], planted: bool, dry: bool) -> tuple[Tensor, Tensor]:
    """What call(device, chunk) gives on the CPU and on the second device; raises Refused where the CPU refuses."""
    try:
        first = call("cpu", CHUNKS[0])
    except xaibench.XaibenchError as error:
        raise Refused(str(error)) from None
    second = call(second_device(dry), CHUNKS[dry]).cpu()
    return first, second * PLANTED if planted else second


def maps_of_both(name: str, family: str, exact: bool, options: Options) -> dict:
    """The largest difference of a map in the Euclidean norm, and the images whose top pixel is another."""
    dtype = torch.float64 if exact else torch.float32
    net, x, y = example(family, options.dry)

    def call(device: str, chunk: int) -> Tensor:
        there = [part.to(device) for part in (x.to(dtype), y)]
        settings = {"family": family, "chunk": chunk} | changed(name, options.dry)
        return xaibench.attribute(net.to(device, dtype), *there, name, **settings)

    first, second = (found.flatten(1).double() for found in on_both(call, name in options.plant, options.dry))
    moved = int((first.argmax(1) != second.argmax(1)).sum())
    return {"difference": difference(first, second), "top_pixel_moves": moved, "images": len(x)}


def scores_of_both(name: str, given: list[Tensor], exact: bool, options: Options) -> dict:
    """The largest difference of a score, relative to the largest score, and the methods whose mean has another rank."""
    dtype = torch.float64 if exact else torch.float32
    net, x, y = example("cnn", options.dry)

    def call(device: str, chunk: int) -> Tensor:
        there = [part.to(device) for part in (x.to(dtype), y)]
        moved = net.to(device, dtype)
        judge = [xaibench.score(name, moved, *there, m.to(device, dtype), chunk=chunk).cpu() for m in given]
        return torch.stack(judge)

    first, second = (found.double() for found in on_both(call, name in options.plant, options.dry))
    moves = int((first.mean(1).argsort() != second.mean(1).argsort()).sum())
    return {"difference": difference(first[None].flatten(1), second[None].flatten(1), top=True), "rank_moves": moves}


def difference(first: Tensor, second: Tensor, top: bool = False) -> float:
    """The largest difference of rows in the Euclidean norm (top: in the largest value), relative to the first.

    Values that are undefined in both are equal; those undefined in one differ without bound.
    """
    if not torch.equal(first.isfinite(), second.isfinite()) or first.shape != second.shape:
        return float("inf")
    order = float("inf") if top else 2
    apart = (first - second).nan_to_num(0, 0, 0).norm(order, 1)
    return float((apart / first.nan_to_num(0, 0, 0).norm(order, 1).clamp_min(1e-30)).max())


def changed(name: str, dry: bool) -> dict[str, Any]:
    """Parameters of a method that a check makes smaller."""
    known = registry.card("method", name).parameters
    return {k: v for k, v in (SMALLER if dry else {"masks": 200}).items() if k in known}
