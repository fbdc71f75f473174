"""`xaibench judge`: what is missing of some protocols on some networks is computed and stored, part by part."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from xaibench import registry
from xaibench.cards import ProtocolCard
from xaibench.errors import XaibenchError
from xaibench.evaluation.resolve import protocol_settings
from xaibench.evaluation.resources import choose_device
from xaibench.judging.bench import Bench, open_bench
from xaibench.judging.config import VERSION, JudgeConfig
from xaibench.judging.current import protocol_identity
from xaibench.judging.measure import Row, attack_rows, ladder_rows, method_rows
from xaibench.judging.scoring import trial
from xaibench.judging.store import JudgedFolder, key_of
from xaibench.plugins import add
from xaibench.progress import bar
from xaibench.protocols.api import make_protocol
from xaibench.protocols.base import Protocol

PARTS = ("ladder", "attack", "methods")


@dataclass(frozen=True)
class Judged:
    """A protocol with its settings, ready to be judged."""

    card: ProtocolCard
    protocol: Protocol
    settings: dict[str, Any]

    @property
    def label(self) -> str:
        """The name, and settings that are not the card's."""
        changed = [f"{k}={v}" for k, v in self.settings.items() if v != self.card.parameters.get(k)]
        return f"{self.card.name} ({', '.join(changed)})" if changed else self.card.name

    @property
    def identity(self) -> dict[str, Any]:
        """What a key says of it."""
        return protocol_identity(self.card, self.protocol)


def open_protocols(config: JudgeConfig) -> list[Judged]:
    """The protocols of a request; raises XaibenchError for unknown names and settings.

    `all` are all that are registered, plug-ins too.
    """
    add(config.plugins, ())
    names = registry.names("protocol") if config.protocols == ("all",) else config.protocols
    cards = [registry.card("protocol", name) for name in dict.fromkeys(names)]
    settings = protocol_settings(cards, config.settings) if cards else []
    return [Judged(card, make_protocol(card, chosen), chosen) for card, chosen in zip(cards, settings, strict=True)]


def identity_of(judged: Judged, bench: Bench, part: str) -> dict[str, Any]:
    """All that can change a number of a part of a protocol on a network, and the protocol's label for readers."""
    return {
        "version": VERSION, "part": part, "protocol": judged.identity, "network": bench.identity,
        "seed": bench.seed, "label": judged.label,
    }  # fmt: skip


def measured(judged: Judged, bench: Bench, part: str) -> tuple[list[Row], dict[str, float]]:
    """The rows of a part, and what its maps cost."""
    if part == "ladder":
        return ladder_rows(bench, judged.card, judged.protocol)
    if part == "attack":
        return attack_rows(bench, judged.card, judged.protocol), {}
    return method_rows(bench, judged.card, judged.protocol, judged.settings), {}


@dataclass(frozen=True)
class Outcome:
    """What a request came to: how many parts were computed, how many were there already, and the protocols that cannot
    be judged, with the reason."""

    computed: int
    found: int
    refused: dict[str, str]


def judge(config: JudgeConfig, quiet: bool = False) -> Outcome:
    """Computes and stores what is missing of a request.

    A protocol that cannot score a single map is left out with the reason; raises XaibenchError where that is every one
    of them. A part that fails is left out with the reason too, and the others go on.
    """
    config = config.model_copy(update={"device": choose_device(config.device)})
    folder, protocols = JudgedFolder(config.out), open_protocols(config)
    folder.create()
    failures: dict[str, dict[str, str]] = {judged.label: {} for judged in protocols}
    judged_somewhere: set[str] = set()
    computed = found = 0
    with bar("judging", len(protocols) * len(config.chosen_networks) * len(PARTS), quiet) as progress:
        for name in config.chosen_networks:
            bench = open_bench(name, config)
            for judged in protocols:
                identities = {part: identity_of(judged, bench, part) for part in PARTS}
                missing = {part: each for part, each in identities.items() if not folder.has(key_of(each))}
                fresh, reason = _add(judged, bench, folder, missing)
                if reason is not None:
                    failures[judged.label][name] = reason
                present = len(PARTS) - len(missing)
                computed, found = computed + fresh, found + present
                judged_somewhere |= {judged.label} if fresh + present else set()
                progress.advance(len(PARTS), f"{judged.label} on {name}")
    if protocols and not judged_somewhere:
        label, reasons = next(iter(failures.items()))
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise XaibenchError(f"{label} cannot be judged: it {next(iter(reasons.values()))}{more}")
    return Outcome(computed, found, _refused(failures, judged_somewhere))


def _add(
    judged: Judged, bench: Bench, folder: JudgedFolder, missing: Mapping[str, Mapping[str, Any]]
) -> tuple[int, str | None]:
    """Stores missing parts of a protocol on a network: how many, and why others could not be computed (None: all
    were)."""
    if not missing:  # nothing is tried where all rows are stored
        return 0, None
    if reason := trial(judged.card, judged.protocol, bench.known, bench.image_ids):
        return 0, reason
    computed, reason = 0, None
    for part, identity in missing.items():
        try:
            rows, cost = measured(judged, bench, part)
        except XaibenchError as error:
            reason = reason or f"fails: {error}"
            continue
        folder.write(identity, rows, cost)
        computed += 1
    return computed, reason


def _refused(failures: Mapping[str, Mapping[str, str]], judged_somewhere: Collection[str]) -> dict[str, str]:
    """The first reason of each protocol; of one that was judged on some networks, with the names of the others."""
    return {
        label if label not in judged_somewhere else f"{label} on {', '.join(reasons)}": next(iter(reasons.values()))
        for label, reasons in failures.items()
        if reasons
    }
