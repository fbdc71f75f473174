"""What is known of a stored run: its request, and what its keys say of data, model and weights."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from xaibench import registry
from xaibench.cards import DatasetCard, ModelCard
from xaibench.datasets.base import Dataset
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError
from xaibench.evaluation.config import RunConfig
from xaibench.masks.dataset import with_masks
from xaibench.models.build import brings_weights
from xaibench.models.class_names import PROMPT
from xaibench.models.published import known_places
from xaibench.models.state import file_digest
from xaibench.models.trained import trained_weights
from xaibench.results.manifest import RunManifest


@dataclass(frozen=True)
class RecordedPlaces:
    """Where a run found what its results folder does not hold: the photos, the masks, and the file of the weights; and
    the class names and the prompt of a zero-shot classifier."""

    data_root: Path | None = None
    masks: Path | None = None
    weights: Path | None = None
    classes_file: Path | None = None
    prompt: str = PROMPT

    @classmethod
    def of(cls, run: RunManifest | None) -> RecordedPlaces:
        """The places that the record of a run names; none of them where there is no record. Fields of a newer xaibench
        are left out.

        Raises XaibenchError where the record holds no request of a run.
        """
        if run is None:
            return cls()
        if run.config is None:
            return cls.of_command(run.command)
        known = {name: value for name, value in run.config.items() if name in RunConfig.model_fields}
        config = RunConfig.parse(known, f"the record of run {run.run}")
        weights = Path(config.weights) if config.weights else None
        return cls(config.data_root, config.masks, weights, config.classes_file, config.prompt)

    @classmethod
    def of_command(cls, command: str) -> RecordedPlaces:
        """The places in a command, for records of before 0.2, which have nothing else; it is read and never run."""
        try:
            parts = shlex.split(command)
        except ValueError:
            return cls()

        def path(name: str) -> Path | None:
            following = dict(pairwise(parts))
            joined = [part.partition("=")[2] for part in parts if part.startswith(name + "=")]
            value = joined[-1] if joined else following.get(name)
            return Path(value) if value else None

        return cls(path("--data-root"), path("--masks"), path("--weights"))


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


def recorded_weights(card: ModelCard, context: dict[str, Any], places: RecordedPlaces, named: Path | None) -> str:
    """The weights with the stored digest: the file that is named or recorded, or one that was trained or fetched here.

    `plain` for a model that brings its own.
    """
    digest, recorded = context["weights"]["digest"], places.weights
    if named is not None:
        if not named.is_file() or file_digest(named) != digest:
            raise XaibenchError(f"--weights {named} are not the weights of this run ({digest})")
        return str(named)
    trained = [w.path for w in trained_weights(card.name, context["dataset"]["name"], registry.source(card))]
    published = [path for weights in (card.plain, card.aligned) if weights for path in known_places(weights)]
    for path in [*([recorded] if recorded else []), *reversed(trained), *published]:
        if path.is_file() and file_digest(path) == digest:
            return str(path)
    if brings_weights(card):
        return "plain"
    place = f"not {recorded}" if recorded and recorded.is_file() else "no longer here"
    raise XaibenchError(f"its weights ({digest}) are {place}; name their file by --weights")
