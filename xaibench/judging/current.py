"""Whether stored rows are those of a protocol's code of today."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from xaibench import registry
from xaibench.cards import ProtocolCard
from xaibench.errors import XaibenchError
from xaibench.evaluation.keys import protocol_part
from xaibench.hashing import digest
from xaibench.judging.summary import Stored
from xaibench.protocols.api import make_protocol
from xaibench.protocols.base import Protocol


def protocol_identity(card: ProtocolCard, protocol: Protocol) -> dict[str, Any]:
    """What a key says of a protocol: its name, settings and code, and not its label."""
    return {name: value for name, value in protocol_part(card, protocol).items() if name != "label"}


def is_current(identity: Mapping[str, Any]) -> bool:
    """Whether a protocol's stored identity is that of its code and card of today; true where no such protocol is
    registered now, as with a plug-in that is not loaded."""
    try:
        card = registry.card("protocol", identity["name"])
    except XaibenchError:
        return True
    try:
        return digest(protocol_identity(card, make_protocol(card, dict(identity["settings"])))) == digest(identity)
    except Exception:  # code of other people, which may refuse the settings of before in any way
        return False


def split_by_code(stored: Iterable[Stored]) -> tuple[list[Stored], list[str]]:
    """What is stored of today's code, and the labels of what is stored of earlier code alone or too.

    Where the code of a plug-in cannot be compared, as it is not loaded, and several are stored, labels tell them apart
    by a part of the digest.
    """
    kept, earlier = [], set()
    for each in stored:
        if is_current(each.identity):
            kept.append(each)
        else:
            earlier.add(each.label)
    labels = [each.label for each in kept]
    for each in kept:
        if labels.count(each.label) > 1:
            each.label = f"{each.label} [code {digest(each.identity)[:6]}]"
    return kept, sorted(earlier)
