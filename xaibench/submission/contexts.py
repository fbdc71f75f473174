"""The context of a submitted result against the cards of this xaibench: it is what a run would write.

A name stands for its values: a profile `paper` has those of its card, a protocol's settings are ones that it takes, and
what deviates from a card stands in the title, since titles are made anew from the values and compared. What only the
network itself knows (its CAM layer) is compared when a result is replayed, where its whole key is made again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from xaibench import registry
from xaibench.cards import Alignment, DatasetCard, ModelCard
from xaibench.datasets.open import options_of
from xaibench.errors import XaibenchError, one_line
from xaibench.evaluation.config import PRECISIONS
from xaibench.evaluation.keys import profile_part, protocol_part
from xaibench.evaluation.recorded import recorded_options
from xaibench.hashing import digest
from xaibench.models.base import label_of
from xaibench.models.open import alignment_words
from xaibench.protocols.api import make_protocol
from xaibench.protocols.base import TARGETS, Protocol
from xaibench.results.cells import part_name
from xaibench.training.tasks import TASKS

PARTS = frozenset({"protocol", "dataset", "model", "weights", "profile", "seed", "precision"})
OF_DATASET = frozenset({"name", "version", "source", "settings", "geometry", "label"})
OF_MODEL = frozenset({"name", "version", "source", "cam_layer", "cam_grid", "notes", "mean", "std", "label"})
NOTES = re.compile(r"last stage dilated|last \d stages dilated|grey images")
DIGEST = re.compile(r"[0-9a-f]{20}")


def context_problems(context: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a context, in words; may raise TypeError and the like where a part is of another type."""
    optional = {"arithmetic", "reference"}
    if odd := sorted(set(context) - PARTS - optional) or sorted(PARTS - set(context)):
        yield f"its key has another set of parts than those of xaibench: {ascii(odd[0])[:60]}"
        return
    for kind, part in (("protocol", "protocol"), ("dataset", "dataset"), ("model", "model"), ("model", "reference")):
        if part in context and (text := _card(kind, context[part])):
            yield text
            return
    model: ModelCard = registry.card("model", context["model"]["name"])
    data: DatasetCard = registry.card("dataset", context["dataset"]["name"]).for_model(model)
    if not same(context["dataset"].get("geometry"), data.geometry.key_fields):
        yield f"its images are not of the size of {data.name} ({data.geometry}): a board has one geometry"
        return
    yield from _protocol(context, data.geometry.crop)
    yield from _dataset(context, data)
    yield from _model(context)
    yield from _profile(context, data)
    if type(context["seed"]) is not int or context["seed"] < 0:
        yield f"its seed is {ascii(context['seed'])[:40]}, no whole number of at least 0"
    if context["precision"] not in PRECISIONS:
        yield f"its precision {ascii(context['precision'])[:40]} is none of {', '.join(PRECISIONS)}"
    if context.get("arithmetic", "ieee") != "ieee" or ("arithmetic" in context and context["precision"] == "tf32"):
        yield "its arithmetic is none that a run records"


def same(value: Any, other: Any) -> bool:
    """Whether two plain values are equal in keys, in which 1.0 is 1 and true is not."""
    return digest({"value": value}) == digest({"value": other})


def protocol_of(context: Mapping[str, Any]) -> Protocol:
    """The protocol of a context with its settings; raises XaibenchError for settings that it does not take."""
    card, settings = registry.card("protocol", context["protocol"]["name"]), context["protocol"].get("settings")
    try:
        return make_protocol(card, dict(settings or {}))
    except (TypeError, ValueError, OverflowError) as error:
        raise XaibenchError(f"{card.name} does not take these settings ({one_line(error)})") from None


def _card(kind: str, part: Mapping[str, Any]) -> str:
    """Why a part is not of a card of this xaibench in its version; "" where it is."""
    name = part_name({kind: part}, kind)
    newest = registry.shipped_version(kind, name)
    if newest is None:
        return f"its {kind} {ascii(name)[:60]} is none of xaibench; a submission brings methods alone"
    if part.get("version", 1) != newest or part.get("source"):
        return f"its {kind} {name} has version {part.get('version', 1)} or code of its own, not version {newest}"
    return ""


def _protocol(context: Mapping[str, Any], side: int) -> Iterator[str]:
    """Against what a run with these settings writes."""
    part, card = context["protocol"], registry.card("protocol", context["protocol"]["name"])
    try:
        protocol = protocol_of(context)
        protocol.check((side, side))
    except XaibenchError as error:
        yield f"its protocol: {error}"
        return
    if protocol.without_method:
        yield f"{card.name} measures the model alone; a submission brings methods: leave its results out"
    if protocol.target not in TARGETS:
        yield f"its protocol explains {ascii(protocol.target)[:40]}, none of {', '.join(TARGETS)}"
    if protocol.needs_reference != ("reference" in context):
        yield f"its key has a second model, or has none, unlike {card.name}"
    expected = protocol_part(card, protocol)
    others = {"held_out": protocol.held_out_images > 0, "shown": protocol.shows_others and "shown" in part}
    for name in sorted(expected.keys() | part.keys() - others.keys()):
        if name not in expected or not same(part.get(name), expected[name]):
            yield f"its protocol has another {ascii(name)[:40]} than {card.name} with these settings"
    for name, there in others.items():
        if there != (name in part):
            yield f"its protocol has other {name} than {card.name}"
    if protocol.held_out_images and part.get("held_out", {}).get("images") != protocol.held_out_images:
        yield f"its protocol has another number of held-out images than {card.name}"


def _dataset(context: Mapping[str, Any], data: DatasetCard) -> Iterator[str]:
    """Names and types of settings, by the card and the data set's own defaults; deviations are in the title."""
    part = context["dataset"]
    if odd := sorted((set(part) - {"masks"}) ^ OF_DATASET):
        yield f"its data set has {ascii(odd[0])[:40]}, or lacks it, unlike what a run records"
    settings, known = dict(part["settings"]), options_of(data)
    if data.needs_root and not DIGEST.fullmatch(settings.pop("classes", "")):
        yield "its data set lacks the digest of its classes"
    for name in sorted(settings.keys() | data.parameters.keys()):
        if name not in known or name not in settings:
            yield f"its data set has a setting {ascii(name)[:60]}, or lacks it, unlike {data.name}"
            return
        kinds = (type(known[name]),) if known[name] is not None else (bool, int, float, str)
        kinds += (int,) if kinds == (float,) else ()
        if type(settings[name]) not in kinds:
            wanted = " or ".join(kind.__name__ for kind in kinds)
            yield f"its data set has {name} = {ascii(settings[name])[:40]}, not {wanted}"
            return
    deviating = {f"{k} {v}" for k, v in recorded_options(data, dict(context)).items()}
    masks = {f"{part['masks']['maker']} masks"} if "masks" in part else set()
    needed = {f"{data.geometry.crop} px"} | deviating | masks
    label = str(part.get("label"))
    shown = set(label.removeprefix(f"{data.name} (").removesuffix(")").split(", "))
    needed = set(", ".join(needed).split(", "))
    if not needed <= shown <= needed | set(", ".join(f"{k} {v}" for k, v in settings.items()).split(", ")):
        yield f"its data set is titled {ascii(label)[:80]}, where its settings are {', '.join(sorted(needed))}"


def _model(context: Mapping[str, Any]) -> Iterator[str]:
    """Fields and titles of the model, and of the second."""
    weights = context["weights"]
    titles = []
    reference = context.get("reference")
    given = [(context["model"], weights)]
    if reference is not None:
        given.append((reference, reference.get("weights")))
    for part, own in given:
        extra = {"complement", "outputs"} | ({"weights"} if part is reference else set())
        if (odd := sorted(set(part) - OF_MODEL - extra)) or (odd := sorted(OF_MODEL - set(part))):
            yield f"its model has {ascii(odd[0])[:40]}, or lacks it, unlike what a run records"
            return
        grid, notes = part["cam_grid"], part["notes"]
        if [type(n) for n in (part["cam_layer"], *grid)] != [str, int, int] or not all(map(NOTES.fullmatch, notes)):
            yield f"its model {part['name']} has fields that no run records"
            return
        yield from _weights(own, titled=part is not reference)
        titles.append(label_of(part["name"], own.get("label"), part["cam_layer"], grid, notes))
    if reference is not None:
        titles[1] = str(reference["label"])
    if (label := context["model"]["label"]) != (title := " against ".join(titles)):
        yield f"its model is titled {ascii(label)[:80]}, not {ascii(title)[:120]}"


def _weights(part: Mapping[str, Any], titled: bool) -> Iterator[str]:
    """Digest, alignment and title of weights; what they are trained on must be what the title says."""
    fields = {"digest", "alignment"} | ({"label"} if titled else set())
    if set(part) != fields or not DIGEST.fullmatch(str(part["digest"])):
        yield "its weights are described otherwise than a run does"
        return
    alignment = part["alignment"]
    try:
        if alignment is not None and not same(Alignment.model_validate(alignment).key_fields, alignment):
            yield "its weights were trained on deletions that no run records"
    except ValidationError:
        yield "its weights were trained on deletions that no run records"
        return
    words = alignment_words(alignment)
    said = f"{words} " if "aligned" in words else ""
    label = part.get("label", words)
    usual = {words or "plain", "its own weights", *TASKS}
    if label not in usual and not (label.startswith(f"{said}weights ") and len(label) < 200):
        yield f"its weights are titled {ascii(label)[:60]}, where they are {words or 'plain'}"


def _profile(context: Mapping[str, Any], data: DatasetCard) -> Iterator[str]:
    """A profile has the values of the card under its name."""
    name = part_name(context, "profile")
    try:
        found = data.profile(name or "(none)")
    except XaibenchError as error:
        yield f"its profile: {error}"
        return
    if not same(context["profile"], profile_part(*found)):
        yield f"its profile {name} has other values or another title than that of {data.name}"
