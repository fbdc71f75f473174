"""The method of a submitted result against its card: one of xaibench as it is, or one that the submission brings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xaibench import registry
from xaibench.analysis.ranking import RANKED
from xaibench.attribution.methods import merge_parameters
from xaibench.attribution.stages import LAYER, with_layer
from xaibench.cards import MethodCard, ModelCard, read_card
from xaibench.configuration import check_table
from xaibench.errors import XaibenchError, one_line
from xaibench.evaluation.keys import method_part
from xaibench.evaluation.plan import kind_of
from xaibench.results.cells import Cell
from xaibench.results.validate import Problem
from xaibench.submission.contexts import protocol_of, same
from xaibench.submission.manifest import Submission
from xaibench.submission.source import check_inside, made_by, needed_files


def folded(name: str) -> str:
    """A name without what readers overlook: case, and which sign is between its words."""
    return re.sub(r"[-_.]", "-", name.lower())


def brought_card(root: Path, submission: Submission) -> MethodCard | None:
    """The card of the method that a submission brings; None for a plug-in, whose decorators are not run here."""
    return read_card("method", root / submission.card) if submission.card.endswith(".toml") else None


def method_problems(cell: Cell, submission: Submission, brought: MethodCard | None) -> Iterator[str]:
    """What is wrong with the method of a cell whose context is sound; brought: see `brought_card`."""
    part = cell.method
    if part is None:
        yield "it is of the model alone; a submission brings methods: leave it out"
        return
    name, foreign = str(part.get("name")), part.get("name") in submission.methods
    newest = registry.shipped_version("method", name)
    if newest is None and not foreign:
        yield f"its method {ascii(name)[:60]} is neither one of xaibench nor of the submission"
        return
    if not foreign and (part.get("version") != newest or part.get("source")):
        yield f"its method {name} has version {part.get('version')} or code of its own, not version {newest}"
        return
    if foreign and cell.kind not in RANKED:
        yield f"its method is a {ascii(cell.kind)[:40]}; what is submitted is ranked"
        return
    model: ModelCard = registry.card("model", cell.context["model"]["name"])
    card = _card(name, part, foreign, brought).for_family(model.family)
    layer = part.get("parameters", {}).get(LAYER) if "module" in part else None
    if layer is not None and layer not in model.stages:
        yield f"its method {name} is at {ascii(layer)[:40]}, which is no stage of {model.name}"
        return
    parameters = with_layer(card, merge_parameters(card, cell.context["profile"]["overrides"]), layer)
    expected = method_part(card, parameters, model.stages)
    if foreign:
        expected |= {"source": part.get("source")}  # compared with the code: `source_problems`
    for field in sorted((expected.keys() | part.keys()) - {"kind"}):
        if field not in expected or not same(part.get(field), expected[field]):
            shown = f"{ascii(part.get(field))[:60]}, not {ascii(expected.get(field))[:60]}"
            yield f"its method {name} has another {ascii(field)[:40]} than its card and profile say: {shown}"
    side = cell.context["dataset"]["geometry"]["crop"]
    kind = card.role if foreign else kind_of(protocol_of(cell.context), card, parameters, side)
    if cell.kind != kind:
        yield f"its method {name} is a {kind}, not a {ascii(cell.kind)[:40]}"


def _card(name: str, part: Mapping[str, Any], foreign: bool, brought: MethodCard | None) -> MethodCard:
    """The card of a method; of a plug-in one with the parameters of the key, which a replay compares with the code."""
    if not foreign:
        return registry.card("method", name)
    if brought is not None:
        return brought
    layered = {LAYER} if "module" in part else set()
    own = {key: value for key, value in dict(part["parameters"]).items() if key not in layered}
    check_table("parameters", own)
    return MethodCard(name=name, title="", version=part["version"], transform=part["transform"], parameters=own)


def source_problems(root: Path, submission: Submission, cells: Mapping[str, Cell]) -> Iterator[Problem]:
    """That the code which is there made the keys of the methods that the submission brings."""
    parts = {cell.method["name"]: cell.method for cell in cells.values() if cell.method}
    try:
        check_inside(root / "source", root / submission.card)
        made = made_by(root / submission.card, parts)
    except (XaibenchError, OSError) as error:
        yield Problem(submission.card, "source", one_line(error))
        return
    listed = {name for name in submission.files if name.startswith("source/")}
    if extra := sorted(listed - {f"source/{name}" for name in needed_files(root / "source", submission.card)}):
        yield Problem(extra[0], "source", "the card of the methods has no use for it; pack it again")
    if shipped := [name for name in submission.methods if registry.shipped_version("method", name) is not None]:
        yield Problem("submission.json", "source", f"{shipped[0]} is a method of xaibench, which nobody submits")
    shipped_names = {
        folded(name): name for name in registry.names("method") if registry.shipped_version("method", name)
    }
    for name in submission.methods:
        if folded(name) in shipped_names and name not in shipped_names.values():
            text = f"{name} looks like {shipped_names[folded(name)]}, a method of xaibench; choose another name"
            yield Problem("submission.json", "source", text)
    if set(made) != set(submission.methods):
        odd = sorted(set(made) ^ set(submission.methods))[0]
        yield Problem(submission.card, "source", f"it is not the code that made the results of {odd}, by their keys")
