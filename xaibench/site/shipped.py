"""What the cards that ship with xaibench say of names on boards; nothing of one's own installation is published."""

from __future__ import annotations

from typing import Any

from xaibench import registry


def is_comparable(protocol: str) -> bool:
    """Whether scores of a protocol may be compared across models: what the card that ships says, and else not."""
    if registry.shipped_version("protocol", protocol) is None:
        return False
    return registry.card("protocol", protocol).comparable_across_models


def shipped_card(kind: str, name: str) -> Any:
    """The card of a name where it ships with xaibench, else None."""
    return None if registry.shipped_version(kind, name) is None else registry.card(kind, name)


def title_of(kind: str, name: str) -> str:
    """What a name stands for, by its card; the name itself without one."""
    found = shipped_card(kind, name)
    return found.title if found else name
