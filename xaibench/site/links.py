"""Addresses inside the site, and which addresses of others become links."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from xaibench.files import file_name
from xaibench.hashing import digest
from xaibench.printing import clean


def slugs(names: Iterable[str]) -> dict[str, str]:
    """A part of a file's name and of an address for each name: the name itself where it can be one, and else a similar
    one; no two are equal on a file system that ignores case.

    >>> slugs(["grad-cam", "grad-cam++", "Grad-CAM"])["grad-cam++"]
    'grad-cam-plus-plus'
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(set(names), key=lambda name: (file_name(name) != name, name != name.lower(), name)):
        slug = file_name(name.replace("+", "-plus"))
        if slug.lower() in taken:
            slug = f"{slug[:80]}-{digest(name)[:8]}"
        taken.add(slug.lower())
        found[name] = slug
    return found


def web_address(text: str) -> str:
    """An address of the web as it is, and "" for everything else (`javascript:`, `data:`, files): cards come from
    others, and only the first is safe behind a click.

    >>> web_address("https://arxiv.org/abs/1610.02391"), web_address("javascript:alert(1)")
    ('https://arxiv.org/abs/1610.02391', '')
    """
    text = text.strip()
    if clean(text) != text or any(character.isspace() for character in text):
        return ""
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    return text if parts.scheme in ("http", "https") and parts.hostname else ""
