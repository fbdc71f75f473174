"""The card and the code of submitted methods: which results they made, and the files that go with them. Nothing is run.

A key holds a digest of the names and the contents of the files, not of their folder: they give the same keys elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xaibench import registry
from xaibench.cards.read import read_card
from xaibench.errors import XaibenchError
from xaibench.files import write_atomic
from xaibench.sources import file_source, files_of

TARGET = re.compile(r"^target[ \t]*=[ \t]*([\"'])[^\"'\n]*\1[ \t]*(#[^\n]*)?$", re.MULTILINE)
PACKAGES = ("captum", "pytorch_grad_cam", "zennit")  # classes of which a card may name without any code
DECORATED = ((1, "raw"), (1, "abs"))  # versions and transforms that a decorator gives
MOST = 1 << 20  # bytes of a file


def copy_source(card: Path, root: Path) -> str:
    """Copies a card (.toml) or a plug-in (.py), with the files that it imports from its folder, to `source/`; the name
    of the card there.

    A card's target is rewritten to the copied file. Raises XaibenchError for other files, and a target elsewhere.
    """
    if card.suffix == ".py":
        _copy(files_of(card), root / "source")
        return f"source/{card.name}"
    if card.suffix != ".toml":
        raise XaibenchError(f"--card {card} is neither a card (.toml) nor a plug-in (.py)")
    file, _, attribute = read_card("method", card).target.rpartition(":")
    text = card.read_text(encoding="utf-8-sig")
    folder = root / "source" / "methods"
    if file.endswith(".py"):
        _copy(files_of(Path(file)), folder)
        line = f'target = "{Path(file).name}:{attribute}"'
        text, count = TARGET.subn(lambda found: line, text)
        if count != 1:
            raise XaibenchError(f'{card}: write the target in one line, such as target = "my_method.py:my_method"')
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / card.name, text.encode())
    return f"source/methods/{card.name}"


def made_by(card: Path, methods: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names, of the methods in the results (by name what a key says of each), that a card or a plug-in made.

    No file is run. Raises XaibenchError for a card whose target this cannot be said of.
    """
    if card.suffix == ".py":
        source = file_source(card)
        parts = {name: part for name, part in methods.items() if part.get("source") == source}
        return sorted(name for name, part in parts.items() if (part.get("version"), part.get("transform")) in DECORATED)
    found = read_card("method", card)
    file, _, attribute = found.target.rpartition(":")
    parts = {name: part for name, part in methods.items() if name == found.name}
    if file.endswith(".py"):
        source = f"{attribute} {file_source(Path(file))}"
        parts = {name: part for name, part in parts.items() if part.get("source") == source}
    elif found.target.split(":")[0].split(".")[0] not in PACKAGES:
        raise XaibenchError(
            f"{card.name}: its target is {ascii(found.target)[:80]}; name a file beside the card (my_method.py:name), "
            f"or a class of {', '.join(PACKAGES)}"
        )
    if found.name in registry.names("method") and registry.shipped_version("method", found.name) is not None:
        raise XaibenchError(f"{card.name}: {found.name} is the name of a method of xaibench; choose another")
    wrong = [name for name, part in parts.items()
             if (part.get("version"), part.get("transform")) != (found.version, found.transform)]  # fmt: skip
    return sorted(set(parts) - set(wrong))


def check_inside(folder: Path, card: Path) -> None:
    """Raises XaibenchError for a card whose target is a file outside of a folder."""
    if card.suffix == ".toml":
        file, _, _ = read_card("method", card).target.rpartition(":")
        if file.endswith(".py") and not Path(file).resolve().is_relative_to(folder.resolve()):
            raise XaibenchError(f"{card.name}: its target is a file outside of the submission")


def needed_files(folder: Path, card: str) -> set[str]:
    """The files below `source/` that a card or plug-in in it needs, itself included, by their names from there.

    card: its name from the submission's folder.
    """
    path = folder.parent / card
    if path.suffix == ".toml":
        file, _, _ = read_card("method", path).target.rpartition(":")
        files = [path, *(files_of(Path(file)) if file.endswith(".py") else [])]
    else:
        files = files_of(path)
    root = folder.resolve()
    return {found.resolve().relative_to(root).as_posix() for found in files if found.resolve().is_relative_to(root)}


def _copy(files: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        if file.stat().st_size > MOST:
            raise XaibenchError(f"{file} is larger than {MOST >> 20} MiB; a submission has code, no weights")
        write_atomic(folder / file.name, file.read_bytes())
