"""Which file of weights a model has for a data set: named, trained here, published, or how to come by one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaibench import registry
from xaibench.cards import Alignment, DatasetCard, ModelCard, PublishedWeights
from xaibench.datasets.open import parameters_of
from xaibench.errors import XaibenchError
from xaibench.home import home
from xaibench.models.download import address, fetch, stored_at
from xaibench.models.trained import TrainedWeights, trained_weights

DEFAULT_ALIGNMENT = Alignment(grid=4, baseline="zero", probability=0.5)


@dataclass(frozen=True)
class WeightsRequest:
    """Which weights a run asks for: `plain`, `aligned` (then with which deletions), or a path."""

    choice: str
    alignment: Alignment = DEFAULT_ALIGNMENT

    def fits(self, alignment: dict | None) -> bool:
        """Whether weights with this alignment are what is asked for."""
        if self.choice == "plain":
            return alignment is None
        return alignment is not None and self.alignment.suits(Alignment(**alignment))


def find_weights(
    card: ModelCard, dataset: DatasetCard, wanted: WeightsRequest, download: bool, options: dict[str, Any] | None = None
) -> Path | None:
    """The file of the weights that are wanted: trained here, or published and fetched (if download allows it).

    Of several trainings, those count that learnt from images with the same options of the data set, of these those by
    the usual recipe, and of these that of seed 0, as in a run; what a task made is found by its path or name alone.
    None where there are none yet. Raises XaibenchError where a path does not exist, where a file that the model's card
    names is gone, and where several trainings fit.
    """
    if wanted.choice not in ("plain", "aligned"):
        return named_file(wanted.choice)
    if path := own_file(card, dataset, wanted):
        return path
    size = dataset.geometry.key_fields
    fitting = [
        w
        for w in trained_weights(card.name, dataset.name, registry.source(card))
        if wanted.fits(w.header["alignment"]) and w.header.get("geometry", size) == size and not w.header.get("task")
    ]
    here = [w.path for w in _nearest(fitting, card, dataset, parameters_of(dataset, options or {}, "train"))]
    if len(here) > 1:
        raise XaibenchError(
            f"several {wanted.choice} weights fit; choose one by --weights: {', '.join(map(str, here))}"
        )
    if here:
        return here[0]
    published = published_weights(card, dataset, wanted)
    if published is None:
        return None
    url, sha256 = address(published)
    path = stored_at(url)
    return fetch(url, path, sha256) if download or path.is_file() else None


def named_file(choice: str) -> Path:
    """The file that --weights names; raises XaibenchError where there is none."""
    path = Path(choice)
    if not path.is_file():
        raise XaibenchError(f"--weights {choice} is neither plain, nor aligned, nor a file")
    return path


def _nearest(
    trained: list[TrainedWeights], card: ModelCard, dataset: DatasetCard, parameters: dict[str, Any]
) -> list[TrainedWeights]:
    """Those trainings that learnt from images of these parameters, of these those by the usual recipe, of these those
    of seed 0; all, where none did."""
    from xaibench.training.recipe import recipe_for

    unasked = {"drop_parts"} - parameters.keys()  # the alignment's doing

    def same_images(key_fields: dict) -> bool:
        return {k: v for k, v in key_fields.get("train", {}).items() if k not in unasked} == parameters

    def usual(key_fields: dict) -> bool:
        return key_fields.get("recipe") == recipe_for(card, dataset).key_fields

    for wanted in (same_images, usual, lambda key_fields: key_fields.get("seed", 0) == 0):
        trained = [w for w in trained if wanted(w.header)] or trained
    return trained


def own_file(card: ModelCard, dataset: DatasetCard, wanted: WeightsRequest) -> Path | None:
    """The file that the card of a named training has for the weights that are wanted; None for other models.

    Raises XaibenchError where the file is gone, and where it is for another data set.
    """
    said = card.aligned if wanted.choice == "aligned" else card.plain
    if said is None or not said.file or not wanted.fits(said.alignment.key_fields if said.alignment else None):
        return None
    path = file_of(card, said)
    if said.dataset != dataset.name:
        raise XaibenchError(
            f"model {card.name} was trained on {said.dataset}, not on {dataset.name}; "
            f"judge it there all the same by --weights {path}"
        )
    return path


def file_of(card: ModelCard, said: PublishedWeights) -> Path:
    """The file of this machine that a model's card names; raises XaibenchError where it is gone."""
    path = home() / said.file
    if not path.is_file():
        raise XaibenchError(
            f"weights {path} of model {card.name} are gone; train it again, or name a file by --weights"
        )
    return path


def published_weights(card: ModelCard, dataset: DatasetCard, wanted: WeightsRequest) -> PublishedWeights | None:
    """What the model's card says of published weights for this data set that are what is wanted."""
    published = card.aligned if wanted.choice == "aligned" else card.plain
    alignment = published.alignment.key_fields if published and published.alignment else None
    return published if published and published.dataset == dataset.name and wanted.fits(alignment) else None


def missing_weights(card: ModelCard, dataset: DatasetCard, wanted: WeightsRequest) -> XaibenchError:
    """The error where no weights were found: what to train, or what may be downloaded."""
    name = f"{wanted.choice} weights of {card.name} on {dataset.name}"
    return XaibenchError(f"no {name} here; {how_to_get_weights(card, dataset, wanted)}")


def how_to_get_weights(card: ModelCard, dataset: DatasetCard, wanted: WeightsRequest) -> str:
    """How a user comes by the weights that are wanted, in words."""
    made = f"--model {card.name} --dataset {dataset.name}{' --data-root DIR' if dataset.needs_root else ''}"
    if wanted.choice == "aligned":
        verb, deletions = training_command(wanted.alignment)
        ways = [f"make them: xaibench train {verb} {made}{deletions}"]
    else:
        ways = [f"make them: xaibench train classifier {made}"]
    if published := published_weights(card, dataset, wanted):
        ways.insert(0, f"fetch the published ones ({address(published)[0]}) by --download")
    return "; ".join([*ways, "or name a file by --weights PATH"])


def training_command(alignment: Alignment) -> tuple[str, str]:
    """The verb of `xaibench train` that makes weights of an alignment, and its options that are not as usual."""
    if alignment.kind == "parts":
        return "part-deletion", ""
    if alignment.kind == "pixels":
        return "random-masks", f" --share {alignment.probability:g} --baseline {alignment.baseline}"
    usual = DEFAULT_ALIGNMENT.suits(alignment)
    return "patch-deletion", "" if usual else f" --grid {alignment.grid} --baseline {alignment.baseline}"
