"""A cell: everything that can change a number, except which images. Its hash is the key of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from xaibench.hashing import digest
from xaibench.printing import NO_METHOD

# Descriptions, which change no number and are not hashed, so that a better text does not change keys.
CONTEXT_LABELS = frozenset({"label"})
METHOD_LABELS = frozenset({"label", "kind"})
BESIDE_MAPS = frozenset({"protocol", "reference", "profile"})  # parts of a context on which no map depends


@dataclass(frozen=True, eq=False)
class Cell:
    """One attribution method (or none) in one context.

    Args:
        context: protocol, dataset, model, weights, profile (dicts with a `name`; weights with a `kind`), seed,
            precision. Plain JSON values only. A part's `label` is its description and is not hashed.
        method: name, version, parameters, source; `label` and `kind` (method, variant, control or oracle) are not
            hashed. None for protocols that evaluate no attribution method.
        registered: when a store first saw the cell (ISO, UTC); None before.
        maps: the key under which its maps are kept, which cells of other protocols share; None where that is its own
            key.

    Raises ValueError for NaN and infinities and TypeError for values that JSON does not have, both when the key is
    read. Two cells are equal when their keys are.
    """

    context: dict[str, Any]
    method: dict[str, Any] | None
    registered: str | None = field(default=None, repr=False)
    maps: str | None = field(default=None, repr=False)

    @cached_property
    def key(self) -> str:
        """16 hex digits over context and method."""
        return digest({"context": _hashed_context(self.context), "method": _without(self.method, METHOD_LABELS)})

    @cached_property
    def board(self) -> str:
        """16 hex digits over the context: methods with the same one may be compared with each other."""
        return digest({"context": _hashed_context(self.context)})

    def map_key(self, output: str) -> str:
        """16 hex digits over what its maps of an explained output (`logit`, `probability`) depend on.

        That is all but the protocol, a second model, and the profile, whose overrides are parameters of the method.
        """
        context = {name: part for name, part in self.context.items() if name not in BESIDE_MAPS}
        method = _without(self.method, METHOD_LABELS)
        return digest({"maps of": output, "context": _hashed_context(context), "method": method})

    @property
    def method_name(self) -> str:
        """The name shown on boards: the method's label, or its name, or `NO_METHOD`."""
        if self.method is None:
            return NO_METHOD
        return self.method.get("label") or self.method["name"]

    @property
    def kind(self) -> str:
        """method, variant, control or oracle; the last two are never ranked."""
        return (self.method or {}).get("kind") or "method"

    @property
    def title(self) -> str:
        """Method and context in one line."""
        description = describe(self.context)
        return description if self.method is None else f"{self.method_name} · {description}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)


def part_name(context: Mapping[str, Any], part: str) -> str:
    """The name of a part of a context, "" where there is no such part or it has none."""
    return str((context.get(part) or {}).get("name") or "")


def metric_declaration(protocol: dict[str, Any], metric: str) -> dict[str, Any]:
    """The declaration of a metric in a context's protocol: range, undefined_cost, and higher_is_better (None where it
    has no better end).

    A further metric is declared by its name, or by a pattern such as `stage-*`.
    """
    declared = {name: one for name, one in (protocol.get("further") or {}).items() if fnmatchcase(metric, name)}
    return next(iter(declared.values()), protocol)


def metric_range(protocol: dict[str, Any], metric: str) -> Sequence[float | None]:
    """The ends of the range that a context's protocol declares for a metric; (None, None) where it declares none."""
    return metric_declaration(protocol, metric).get("range") or (None, None)


def describe(context: dict[str, Any]) -> str:
    """The context in one line for titles: protocol · model · dataset · profile · seed (· precision, if not float32).

    A part's `label` stands for the whole part; without one its name and settings are written out.

    >>> describe({"protocol": {"name": "sds", "settings": {"grid": 4}}, "model": {"name": "vgg16"},
    ...           "weights": {"kind": "plain"}, "dataset": {"label": "critters (64 px)"}, "seed": 0})
    'sds (grid 4) · vgg16 (plain) · critters (64 px) · seed 0'
    """
    parts = [_part(context.get("protocol")), _model(context), _part(context.get("dataset"))]
    profile = _part(context.get("profile"))
    if profile:
        parts.append(profile if profile.startswith("profile") else f"profile {profile}")
    if context.get("seed") is not None:
        parts.append(f"seed {context['seed']}")
    if context.get("precision") not in (None, "float32"):
        parts.append(str(context["precision"]))
    return " · ".join(part for part in parts if part)


def _part(part: dict[str, Any] | None) -> str:
    if not part:
        return ""
    if part.get("label"):
        return part["label"]
    settings = ", ".join(f"{key} {value}" for key, value in (part.get("settings") or {}).items())
    return f"{part.get('name', '')} ({settings})" if settings else str(part.get("name", ""))


def _model(context: dict[str, Any]) -> str:
    model, weights = context.get("model"), context.get("weights") or {}
    label = _part(model)
    kind = weights.get("label") or weights.get("kind")
    return f"{label} ({kind})" if kind and label and not (model or {}).get("label") else label


def _hashed_context(context: dict[str, Any]) -> dict[str, Any]:
    return {key: _without(part, CONTEXT_LABELS) for key, part in context.items()}


def _without(part: Any, labels: frozenset[str]) -> Any:
    return {key: value for key, value in part.items() if key not in labels} if isinstance(part, dict) else part


def difference(old: Cell, new: Cell) -> str:
    """The part in which two cells differ, in words."""
    for part, value in old.context.items():
        now = new.context.get(part)
        if Cell({part: value}, None).key != Cell({part: now}, None).key:
            versions = [(each or {}).get("version", 1) if isinstance(each, dict) else 1 for each in (value, now)]
            moved = versions[0] != versions[1]
            return f"its {part} has version {versions[0]}, not {versions[1]}," if moved else f"its {part} is another"
    return f"its method {old.method_name} is another"
