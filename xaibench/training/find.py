"""Which file of weights a model has for a data set: named, trained here or published; and how to get one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaibench import registry
from xaibench.cards import Alignment, DatasetCard, ModelCard, PublishedWeights
from xaibench.datasets.open import parameters_of
from xaibench.errors import XaibenchError
from xaibench.home import home
from xaibench.models.download import address
from xaibench.models.file_kinds import folder_kind
from xaibench.models.published import known_places, obtain
from xaibench.models.trained import TrainedWeights, trained_weights

CHOICES = ("plain", "aligned", "self-aligned")
"""Weights that are looked for; anything else that `--weights` may say is a file."""
DEFAULT_ALIGNMENT = Alignment(grid=4, baseline="zero", probability=0.5)


@dataclass(frozen=True)
class WeightsRequest:
    """Which weights are needed: `plain`, `aligned` by labels or `self-aligned` without them (then with which
    deletions), or a path."""

    choice: str
    alignment: Alignment = DEFAULT_ALIGNMENT

    def fits(self, alignment: dict | None) -> bool:
        """Whether weights with this alignment fit the request."""
        if self.choice == "plain":
            return alignment is None
        if alignment is None:
            return False
        found = Alignment(**alignment)
        return self.alignment.suits(found) and (found.teacher == "self") == (self.choice == "self-aligned")


def find_weights(
    card: ModelCard,
    dataset: DatasetCard,
    request: WeightsRequest,
    download: bool,
    options: dict[str, Any] | None = None,
) -> Path | None:
    """The file of the weights of a request: trained here, or published and fetched (if download allows it).

    Of several trainings those with the same options of the data set come first, of these those by the usual recipe, and
    of these that of seed 0, as in a run; weights that were trained for another task than classification are found by
    their path or name alone. None where there are none yet. Raises XaibenchError where a path does not exist, where a
    file that the model's card names is gone, and where several trainings fit.
    """
    if request.choice not in CHOICES:
        return named_file(request.choice)
    if path := own_file(card, dataset, request):
        return path
    size = dataset.geometry.key_fields
    fitting = [
        w
        for name in (dataset.name, *([dataset.classes_of] if dataset.classes_of else []))
        for w in trained_weights(card.name, name, registry.source(card))
        if request.fits(w.header.get("alignment"))
        and w.header.get("geometry", size) == size
        and not w.header.get("task")
    ]
    here = [w.path for w in _nearest(fitting, card, dataset, parameters_of(dataset, options or {}, "train"))]
    if len(here) > 1:
        raise XaibenchError(
            f"several {request.choice} weights fit; choose one by --weights: {', '.join(map(str, here))}"
        )
    if here:
        return here[0]
    published = published_weights(card, dataset, request)
    return obtain(published, download) if published else None


def named_file(choice: str) -> Path:
    """The file that --weights names; raises XaibenchError where there is none."""
    path = Path(choice)
    if choice and path.is_dir():
        raise XaibenchError(f"--weights {choice} is {folder_kind(path)}")
    if not path.is_file():
        raise XaibenchError(f"--weights {choice} is neither {', nor '.join(CHOICES)}, nor a file")
    return path


def _nearest(
    trained: list[TrainedWeights], card: ModelCard, dataset: DatasetCard, parameters: dict[str, Any]
) -> list[TrainedWeights]:
    """Those trainings whose data set had these parameters, of these those by the usual recipe, of these those of seed
    0; a condition that no training meets is left out."""
    from xaibench.training.recipe import recipe_for

    ignored = {"drop_parts"} - parameters.keys()  # set by the alignment

    def same_images(key_fields: dict) -> bool:
        return {k: v for k, v in key_fields.get("train", {}).items() if k not in ignored} == parameters

    def usual(key_fields: dict) -> bool:
        return key_fields.get("recipe") == recipe_for(card, dataset).key_fields

    for preferred in (same_images, usual, lambda key_fields: key_fields.get("seed", 0) == 0):
        trained = [w for w in trained if preferred(w.header)] or trained
    return trained


def own_file(card: ModelCard, dataset: DatasetCard, request: WeightsRequest) -> Path | None:
    """The file that the card of a named training has for the weights of a request; None for other models.

    Raises XaibenchError where the file is gone, and where it is for another data set.
    """
    own = _own(card, request)
    if own is None or not own.is_local:
        return None
    path = file_of(card, own)
    if own.dataset not in (dataset.name, dataset.classes_of):
        raise XaibenchError(
            f"model {card.name} was trained on {own.dataset}, not on {dataset.name}; "
            f"to evaluate it there all the same, give --weights {path}"
        )
    return path


def _own(card: ModelCard, request: WeightsRequest) -> PublishedWeights | None:
    """The weights of a card that fit a request: a name stands for its file, whoever taught it."""
    if request.choice == "plain":
        return card.plain
    own = card.aligned
    if own is None or own.alignment is None or not request.alignment.suits(own.alignment):
        return None
    return own if request.choice == "aligned" or own.alignment.teacher == "self" else None


def file_of(card: ModelCard, published: PublishedWeights) -> Path:
    """The file of this machine that a model's card names; raises XaibenchError where it is gone."""
    path = home() / published.file
    if not path.is_file():
        raise XaibenchError(
            f"weights {path} of model {card.name} are gone; train it again, or name a file by --weights"
        )
    return path


def published_weights(card: ModelCard, dataset: DatasetCard, request: WeightsRequest) -> PublishedWeights | None:
    """The published weights of a model's card for this data set, where they fit the request; else None."""
    published = card.plain if request.choice == "plain" else card.aligned
    alignment = published.alignment.key_fields if published and published.alignment else None
    fits = published and published.dataset in (dataset.name, dataset.classes_of) and request.fits(alignment)
    return published if fits else None


def missing_weights(card: ModelCard, dataset: DatasetCard, request: WeightsRequest) -> XaibenchError:
    """The error where no weights were found: what to train, or what may be downloaded."""
    name = f"{request.choice} weights of {card.name} on {dataset.name}"
    return XaibenchError(f"no {name} here; {how_to_get_weights(card, dataset, request)}")


def how_to_get_weights(card: ModelCard, dataset: DatasetCard, request: WeightsRequest) -> str:
    """How the weights of a request can be had, as a text."""
    labels = request.choice != "self-aligned"  # which a data set that only borrows classes has none of to learn from
    taught = registry.card("dataset", dataset.classes_of) if dataset.classes_of and labels else dataset
    made = f"--model {card.name} --dataset {taught.name}{' --data-root DIR' if taught.needs_root else ''}"
    if request.choice != "plain":
        verb, deletions = training_command(request.alignment)
        deletions += "" if labels else " --teacher self"
        steps = [f"make them: xaibench train {verb} {made}{deletions}"]
    else:
        steps = [f"make them: xaibench train classifier {made}"]
    published = published_weights(card, dataset, request)
    if published and not published.package:  # a package needs no fetching
        steps.insert(0, f"fetch the published ones ({address(published)[0]}) by --download")
    elif not published and request.choice == "plain" and card.plain and not card.plain.is_local:
        here = (path for path in known_places(card.plain) if path.is_file())
        others = f"those of the classes of {card.plain.dataset} are here"
        steps += [f"{others}, to explain predictions: --target prediction --weights {path}" for path in here]
    return "; ".join([*steps, "or name a file by --weights PATH"])


def training_command(alignment: Alignment) -> tuple[str, str]:
    """The verb of `xaibench train` that makes weights of an alignment, and its options that are not as usual."""
    if alignment.kind == "parts":
        return "part-deletion", ""
    if alignment.kind == "pixels":
        return "random-masks", f" --share {alignment.probability:g} --baseline {alignment.baseline}"
    usual = DEFAULT_ALIGNMENT.suits(alignment)
    return "patch-deletion", "" if usual else f" --grid {alignment.grid} --baseline {alignment.baseline}"
