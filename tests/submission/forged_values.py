"""Forged values: other ones under a name that a board knows, and titles that say other ones. Keys are right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from forging import Forge, relisting

Change = Callable[[dict], Any]


def _set(part: str, **fields: Any) -> Change:
    return lambda value: value["context"][part].update(fields)


def _settings(part: str, **fields: Any) -> Change:
    return lambda value: value["context"][part]["settings"].update(fields)


def _context(**parts: Any) -> Change:
    return lambda value: value["context"].update(parts)


PROFILES: dict[str, Change] = {
    "paper with fewer steps": _set("profile", name="paper", label="profile paper", overrides={"steps": 4}),
    "quick with more masks": _set("profile", overrides={"steps": 16, "masks": 9000}),
    "quick without overrides": _set("profile", overrides={}),
    "quick titled paper": _set("profile", label="profile paper"),
    "unknown": _set("profile", name="best"),
    "no name": _set("profile", name=""),
    "a table for a name": _set("profile", name={}),
    "a text": _context(profile="paper"),
}
SETTINGS: dict[str, Change] = {
    "a negative grid": _settings("protocol", grid=-4), "a grid that is a text": _settings("protocol", grid="4"),
    "a grid that is true": _settings("protocol", grid=True), "half a cell": _settings("protocol", grid=1.5),
    "more cells than pixels": _settings("protocol", grid=4096),
    "an unknown baseline": _settings("protocol", baseline="best"),
    "an unknown target": _settings("protocol", target="nothing"),
    "an unknown output": _settings("protocol", attribution_output="rank"),
    "no settings": _set("protocol", settings={}), "settings that are a list": _set("protocol", settings=["grid"]),
    "another grid than its title": _settings("protocol", grid=2),
    "more fields": _set("protocol", bonus=1),
    "held-out images": _set("protocol", held_out={"images": 4, "list": "0" * 20}),
}  # fmt: skip
DATA: dict[str, Change] = {
    "a rule that is not titled": _settings("dataset", rule="one:beak"),
    "an unknown rule": _settings("dataset", rule="easy"),
    "a count that is a text": _settings("dataset", count="5000"), "a huge count": _settings("dataset", count=10**12),
    "an unknown rule in the title": lambda v: v["context"]["dataset"].update(
        label="critters (64 px, rule easy)", settings={"split": "test", "count": 5000, "rule": "easy"}),
    "a huge count in the title": lambda v: v["context"]["dataset"].update(
        label=f"critters (64 px, count {10**12})", settings={"split": "test", "count": 10**12, "rule": "redundant"}),
    "an option of another type": _settings("dataset", drop_parts="all"),
    "a data set without settings": _set("dataset", settings={}),
    "more fields of the data set": _set("dataset", bonus=1),
    "another title": _set("dataset", label="imagenet (224 px)"),
    "another size in the title": _set("dataset", label="critters (512 px)"),
}  # fmt: skip
OTHERS: dict[str, Change] = {
    "a negative seed": _context(seed=-1), "half a seed": _context(seed=0.5), "a seed that is true": _context(seed=True),
    "a seed that is a text": _context(seed="0"), "no seed": _context(seed=None),
    "an unknown precision": _context(precision="float8"), "precision that is a number": _context(precision=32),
    "an unknown arithmetic": _context(arithmetic="fast"), "one part more": _context(bonus={"name": "x"}),
    "one part less": lambda value: value["context"].pop("weights"),
    "a second model": _context(reference={"name": "vgg16"}),
    "weights titled aligned": _set("weights", label="aligned"),
    "weights of an odd alignment": _set("weights", alignment={"grid": 4}),
    "weights without a digest": _set("weights", digest="best"),
    "a model titled otherwise": _set("model", label="resnet152"), "odd notes": _set("model", notes=["tuned"]),
    "a grid that is a text": _set("model", cam_grid="4x4"), "more fields of the model": _set("model", bonus=1),
}  # fmt: skip
PARAMETERS: dict[str, Change] = {
    "RISE of fewer masks": lambda v: v["method"].update(name="rise", version=2, parameters={"masks": 10}),
    "ixg with a parameter": lambda v: v["method"].update(parameters={"steps": 16}),
    "ixg at a stage": lambda v: v["method"].update(parameters={"layer": "Final"}, module="conv1", label="ixg@Final"),
    "ixg at no stage": lambda v: v["method"].update(parameters={"layer": "Best"}, module="conv1", label="ixg@Best"),
    "ixg titled otherwise": lambda v: v["method"].update(label="ixg2"),
    "ixg enlarged otherwise": lambda v: v["method"].update(resize="nearest"),
    "ixg with more fields": lambda v: v["method"].update(bonus=1),
    "ixg as an oracle": lambda v: v["method"].update(kind="oracle"),
    "ixg as a control": lambda v: v["method"].update(kind="control"),
    "parameters that are a list": lambda v: v["method"].update(parameters=[]),
}
MINE: dict[str, Change] = {
    "steps that the profile does not have": lambda v: v["method"].update(parameters={"steps": 999}),
    "a title of another": lambda v: v["method"].update(label="oracle"),
    "as an oracle": lambda v: v["method"].update(kind="oracle"),
    "enlarged otherwise": lambda v: v["method"].update(resize="nearest"),
    "a parameter that is null": lambda v: v["method"].update(parameters={"x": None}),
}


def values(folder: Path) -> Iterator[tuple[str, str, Forge]]:
    """All of them; parts of the context are changed for all methods."""
    for kind, changes in {"other values of a profile": PROFILES, "other values of settings": SETTINGS | DATA,
                          "other values of the context": OTHERS}.items():  # fmt: skip
        for name, change in changes.items():
            yield kind, name, relisting(lambda f, c=change: f.rekey_all(c))
    for method, changes in {"ixg": PARAMETERS, "mine": MINE}.items():
        for name, change in changes.items():
            yield (
                "other values of a method",
                f"{method}: {name}",
                relisting(lambda f, m=method, c=change: f.rekey(m, c)),
            )
    yield (
        "the model alone",
        "no method",
        relisting(lambda f: f.rekey("random", lambda value: value.update(method=None))),
    )
