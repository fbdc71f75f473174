"""What is known of a stored run: the words of its command, and what its keys say of data, model and weights."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaibench import registry
from xaibench.cards import DatasetCard, ModelCard
from xaibench.datasets.base import Dataset
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError
from xaibench.home import home
from xaibench.masks.dataset import with_masks
from xaibench.models.build import brings_weights
from xaibench.models.download import address, stored_at
from xaibench.models.state import file_digest
from xaibench.models.trained import trained_weights


@dataclass(frozen=True)
class Recorded:
    """The words of a recorded command."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, command: str) -> Recorded:
        """The words as a shell would split them; none of a command that it would not take."""
        try:
            return cls(tuple(shlex.split(command)))
        except ValueError:
            return cls(())

    def option(self, name: str) -> str | None:
        """What an option said, as `--name value` or `--name=value`; the last one counts."""
        following = dict(zip(self.description, self.description[1:], strict=False))
        joined = [word.partition("=")[2] for word in self.description if word.startswith(name + "=")]
        return joined[-1] if joined else following.get(name)

    def path(self, name: str) -> Path | None:
        """What an option said, as a path."""
        value = self.option(name)
        return Path(value) if value else None


def recorded_dataset(context: dict[str, Any], root: Path | None, masks: Path | None = None) -> Dataset:
    """The data set of a context, with its photos in root and its masks; raises XaibenchError where they are missing."""
    card: DatasetCard = registry.card("dataset", context["dataset"]["name"])
    card = card.at_size(context["dataset"]["geometry"]["crop"])
    if card.needs_root and (root is None or not root.is_dir()):
        raise XaibenchError(f"the photos of this run are not in {root or 'a known folder'}; name it by --data-root")
    found = open_dataset(card, root if card.needs_root else None, recorded_options(card, context))
    return with_masks(card, found, masks) if masks else found


def recorded_options(card: DatasetCard, context: dict[str, Any]) -> dict[str, Any]:
    """The options of the data set that a context holds: its settings that are not the card's."""
    settings = {k: v for k, v in context["dataset"]["settings"].items() if not (card.needs_root and k == "classes")}
    return {k: v for k, v in settings.items() if k not in card.parameters or card.parameters[k] != v}


def recorded_model(name: str, plugins: Sequence[Path]) -> str:
    """The name to open a model by: a builder in a file is known by the file's name, and opened by its path."""
    file, _, attribute = name.rpartition(":")
    if not file.endswith(".py"):
        return name
    path = next((path for path in plugins if path.name == file), None)
    if path is None:
        raise XaibenchError(f"its model is made by {file}, whose path --plugin is to name")
    return f"{path}:{attribute}"


def recorded_weights(card: ModelCard, context: dict[str, Any], said: Recorded, named: Path | None) -> str:
    """The weights with the stored digest: the file that is named or recorded, or one that was trained or fetched here.

    `plain` for a model that brings its own.
    """
    digest, recorded = context["weights"]["digest"], said.path("--weights")
    if named is not None:
        if not named.is_file() or file_digest(named) != digest:
            raise XaibenchError(f"--weights {named} are not the weights of this run ({digest})")
        return str(named)
    trained = [w.path for w in trained_weights(card.name, context["dataset"]["name"], registry.source(card))]
    published = [stored_at(address(w)[0]) for w in (card.plain, card.aligned) if w]
    local = [home() / w.file for w in (card.plain, card.aligned) if w and w.file]
    for path in [*([recorded] if recorded else []), *reversed(trained), *published, *local]:
        if path.is_file() and file_digest(path) == digest:
            return str(path)
    if brings_weights(card):
        return "plain"
    place = f"not {recorded}" if recorded and recorded.is_file() else "no longer here"
    raise XaibenchError(f"its weights ({digest}) are {place}; name their file by --weights")
