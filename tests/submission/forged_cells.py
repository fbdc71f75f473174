"""Forged keys, and keys of what no board has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from forging import EVIL, Forge, relisting

CONTEXTS: dict[str, Callable[[dict], Any]] = {
    "protocol version": lambda v: v["context"]["protocol"].update(version=99),
    "protocol code": lambda v: v["context"]["protocol"].update(source="abc"),
    "protocol range": lambda v: v["context"]["protocol"].update(range=[-100, 100]),
    "protocol range open": lambda v: v["context"]["protocol"].update(range=[None, None]),
    "protocol direction": lambda v: v["context"]["protocol"].update(higher_is_better=False),
    "protocol cost": lambda v: v["context"]["protocol"].update(undefined_cost=1.0),
    "protocol setting": lambda v: v["context"]["protocol"]["settings"].update(easy=True),
    "protocol name": lambda v: v["context"]["protocol"].update(name="mine"),
    "protocol further": lambda v: v["context"]["protocol"].update(further={"*": {"range": [None, None]}}),
    "data set version": lambda v: v["context"]["dataset"].update(version=99),
    "data set name": lambda v: v["context"]["dataset"].update(name="theirs"),
    "data set code": lambda v: v["context"]["dataset"].update(source="abc"),
    "data set setting": lambda v: v["context"]["dataset"]["settings"].update(easy=True),
    "data set count": lambda v: v["context"]["dataset"]["settings"].update(count=7),
    "geometry": lambda v: v["context"]["dataset"].update(geometry={"resize": 32, "crop": 32}),
    "geometry crop": lambda v: v["context"]["dataset"]["geometry"].update(crop=48),
    "model version": lambda v: v["context"]["model"].update(version=99),
    "model name": lambda v: v["context"]["model"].update(name="../x"),
    "model code": lambda v: v["context"]["model"].update(source="abc"),
}
METHODS: dict[str, Callable[[dict], Any]] = {
    "version": lambda v: v["method"].update(version=99),
    "code": lambda v: v["method"].update(source="abc"),
    "transform": lambda v: v["method"].update(transform="squared"),
    "name": lambda v: v["method"].update(name="theirs"),
    "role": lambda v: v["method"].update(kind="best"),
    "role control": lambda v: v["method"].update(kind="control", name="ig"),
    "parameter": lambda v: v["method"].update(parameters={"cheat": 1}, name="ixg"),
    "label": lambda v: v["method"].update(label="ixg", name="mine", source="x"),
}


def cells(folder: Path) -> Iterator[tuple[str, str, Forge]]:
    """Keys that are not of what they stand for, and keys of what no board has."""
    for method in ("mine", "ixg", "random"):
        for name, change in (CONTEXTS | METHODS).items():
            if name.startswith("role"):
                continue  # not hashed
            yield "forged keys", f"{method}: {name}", relisting(lambda f, m=method, c=change: f.write(m, c))
    for name, change in CONTEXTS.items():
        yield "what no board has", f"mine: {name}", relisting(lambda f, c=change: f.rekey("mine", c))
    for method in ("mine", "ixg"):
        for name, change in METHODS.items():
            if not (method == "ixg" and name == "label"):
                yield "what no board has", f"{method}: {name}", relisting(lambda f, m=method, c=change: f.rekey(m, c))
    for text in EVIL:
        for place in ("protocol", "dataset", "model"):
            yield (
                "names with scripts and escapes",
                f"label of {place} {text!a}",
                relisting(lambda f, t=text, p=place: f.write("mine", lambda v: v["context"][p].update(label=t))),
            )
        yield (
            "names with scripts and escapes",
            f"label of the method {text!a}",
            relisting(lambda f, t=text: f.write("mine", lambda v: v["method"].update(label=f"mine {t}"))),
        )
        yield (
            "names with scripts and escapes",
            f"name of the method {text!a}",
            relisting(lambda f, t=text: f.rekey("mine", lambda v: v["method"].update(name=t))),
        )
        yield (
            "names with scripts and escapes",
            f"class {text!a}",
            relisting(lambda f, t=text: f.run(lambda run: run.update(classes=[t]))),
        )
        if text not in ("`id`", "<script>alert(1)</script>"):
            yield (
                "names with scripts and escapes",
                f"warning {text!a}",
                relisting(lambda f, t=text: f.run(lambda run: run.update(warnings=[t]))),
            )
