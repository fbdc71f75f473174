"""What runs of a study take and what is made before them: masks of all objects, and networks trained under a name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from xaibench import registry
from xaibench.cards import StudyCard, StudyScale
from xaibench.datasets.open import open_dataset
from xaibench.errors import XaibenchError
from xaibench.evaluation.config import RunConfig
from xaibench.evaluation.resources import choose_device, training_resources
from xaibench.files import plain as as_json
from xaibench.masks.config import MasksConfig
from xaibench.masks.make import has_masks, make_masks_of
from xaibench.masks.maker import Tools
from xaibench.models.state import read_header
from xaibench.training.api import fields_without_start
from xaibench.training.config import TrainingConfig
from xaibench.training.find import file_of
from xaibench.training.named import train_named

ALIKE = ("model", "dataset", "train", "task", "alignment", "recipe", "seed")
"""The fields of a training's key in which a network must agree with the study that takes it."""


def training_requests(one: StudyScale, **changes: object) -> dict[str, TrainingConfig]:
    """The trainings of a scale by the names that they give; changes: fields that replace those of the card."""
    return {
        name: TrainingConfig.parse({**fields, **changes, "name": name}, f"training {name}")
        for name, fields in one.trainings.items()
    }


def masks_requests(one: StudyScale, **changes: object) -> dict[str, MasksConfig]:
    """The masks of a scale by their folders; changes: fields that replace those of the card."""
    return {
        folder: MasksConfig.parse({**fields, **changes, "out": folder}, f"masks {folder}")
        for folder, fields in one.masks.items()
    }


def needed_trainings(one: StudyScale, models: Iterable[str]) -> list[str]:
    """The names of the trainings, in their order, that models rest on; what those start from that are done is not
    needed."""
    wanted, known = set(models), registry.names("model")
    for name, fields in reversed(one.trainings.items()):  # a training starts from one that stands before it
        if name in wanted and name not in known:
            wanted.add(fields["model"])
    return [name for name in one.trainings if name in wanted]


def untrained(one: StudyScale, models: Iterable[str]) -> list[str]:
    """Those of `needed_trainings` whose names no model has yet."""
    known = registry.names("model")
    return [name for name in needed_trainings(one, models) if name not in known]


def check_trained(name: str, request: TrainingConfig) -> None:
    """Raises XaibenchError where the model of a name was not made by this training, but for its version, and where its
    weights are gone."""
    card, again = registry.card("model", name), "give that model another name, or take another XAIBENCH_HOME"
    if card.plain is None or not card.plain.is_local:
        raise XaibenchError(f"the model {name} is not one that was trained here, and the study trains one; {again}")
    header, fields = read_header(file_of(card, card.plain)), as_json(fields_without_start(request))
    for field in ALIKE:
        was, asked = header.get(field), fields.get(field)
        if was != asked:
            shown = _first_difference(field, was, asked)
            raise XaibenchError(f"the model {name} was trained otherwise than the study asks: {shown}; {again}")


def _first_difference(field: str, was: Any, asked: Any) -> str:
    """Such as `recipe: epochs 60, not 300`."""
    if isinstance(was, dict) and isinstance(asked, dict):
        key = next(key for key in [*was, *asked] if was.get(key) != asked.get(key))
        return f"{field}: {key} {was.get(key)}, not {asked.get(key)}"
    return f"{field} {was}, not {asked}"


def _check_data(asked: Iterable[RunConfig | TrainingConfig]) -> None:
    """Opens the data set of every request once, so that one that is not there is missed before hours are spent."""
    opened = set()
    for each in asked:
        part = "train" if isinstance(each, TrainingConfig) else "test"
        found = (each.dataset, repr(each.dataset_options), part)
        if found not in opened:
            open_dataset(registry.card("dataset", each.dataset), each.data_root, each.dataset_options, part)
            opened.add(found)


def prepare(
    card: StudyCard, one: StudyScale, runs: Collection[RunConfig], models: Iterable[str], quiet: bool,
    report: Callable[[str], None], **changes: object,
) -> None:  # fmt: skip
    """Makes the masks that runs take and that their folders lack, then trains what runs and models rest on.

    changes: fields of the requests that replace those of the card (data_root, download, device). Raises XaibenchError
    as `xaibench masks make` and `xaibench train` do, as `check_trained` for names that there are, and where a data set
    is not there before anything is made. Interrupted, it goes on where it was.
    """
    models, requests = [*models, *(run.model for run in runs)], training_requests(one, **changes)
    names = untrained(one, models)
    for name in needed_trainings(one, models):
        if name not in names:
            check_trained(name, requests[name])
    _check_data([*runs, *(requests[name] for name in names)])
    used = {str(run.masks) for run in runs}
    masks = {folder: each for folder, each in masks_requests(one, **changes).items() if folder in used}
    lacking = [each for each in masks.values() if not has_masks(each)]
    for number, each in enumerate(lacking, 1):
        report(f"{card.name}, masks {number}/{len(lacking)}: {each.out}")
        tools = Tools(each.model, each.download, choose_device(each.device), each.chunk_size)
        make_masks_of(each, tools, quiet=quiet)
    for number, name in enumerate(names, 1):
        report(f"{card.name}, training {number}/{len(names)}: {name}")
        asked = requests[name]
        train_named(asked, training_resources(asked.device, asked.workers, quiet, asked.precision))
