"""The models of a run with their weights: found where there are some, else trained, by one process at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xaibench.cards import Alignment, ProtocolCard
from xaibench.errors import XaibenchError
from xaibench.evaluation.resolve import ResolvedRun
from xaibench.evaluation.resources import Resources
from xaibench.locks import Busy
from xaibench.models.base import Model
from xaibench.models.open import open_model
from xaibench.models.state import StateFile, check_classes
from xaibench.protocols.base import Protocol
from xaibench.training.api import Training, plan_training
from xaibench.training.config import TrainingConfig
from xaibench.training.find import CHOICES, WeightsRequest, find_weights, how_to_get_weights, missing_weights, own_file
from xaibench.training.resources import TrainingResources
from xaibench.training.tasks import alignment_fields
from xaibench.training.unlabelled import check_unseen

WAIT_SECONDS = 2.0  # between two looks whether another process has trained the weights

Train = Callable[[Training, TrainingResources], Path]
"""Gives the file of the weights of a training."""


@dataclass(frozen=True)
class OpenedModels:
    """The model of a run, and the second where its protocols compare two.

    comparable: whether the model's classes are those of the data set. training: what the header of the weights says of
    their training here, None for others.
    """

    model: Model
    reference: Model | None
    comparable: bool
    training: dict[str, Any] | None


def open_models(
    run: ResolvedRun, resources: Resources, quiet: bool, say: Callable[[str], None], train: Train | None = None
) -> OpenedModels:
    """Finds or trains the weights of a run's models; raises XaibenchError where there are none, where a protocol
    refuses them, and where either was aligned, without labels, on images that the run evaluates. say is told what the
    user should know of their files, and once where another process is training them, which is waited for in parts of a
    run. train gives the weights of a training, by default by running it.
    """
    train = train or _trained
    model, state, other = _network(run, resources, quiet, say, train)
    reference = _second(run, model, resources, quiet, say, train) if run.reference else None
    alignment = model.weights["alignment"] and Alignment(**model.weights["alignment"])
    for card, protocol in run.protocols:
        problem = protocol.check_weights(alignment) if card.weights == "aligned" else None
        if problem:
            raise _unaligned(card, protocol, problem, run)
    check_unseen(state.header, run.dataset, run.dataset.image_list(run.images))
    header = {name: value for name, value in state.header.items() if name != "aligned_on"}  # one entry an image
    return OpenedModels(model, reference, other is None, header or None)


def _second(
    run: ResolvedRun, model: Model, resources: Resources, quiet: bool, say: Callable[[str], None], train: Train
) -> Model:
    """The second model of a run, found or made as the first was; its classes must be the first one's."""
    card, request = run.reference
    other = replace(run, model=card, weights=request)
    if _starts_from_itself(other):  # the recipe says how the first model was trained on from these weights
        other = replace(other, config=run.config.model_copy(update={"recipe": {}}))
    try:
        second, state, _ = _network(other, resources, quiet, say, train)
        check_unseen(state.header, run.dataset, run.dataset.image_list(run.images))
    except XaibenchError as error:
        raise XaibenchError(f"the second model (--reference-model, --reference-weights): {error}") from error
    if second.classes != model.classes:
        raise XaibenchError(
            f"--reference-model {second.name} tells {second.classes} classes apart, {model.name} {model.classes}; "
            "compare models of the same classes"
        )
    return second


def _network(
    run: ResolvedRun, resources: Resources, quiet: bool, say: Callable[[str], None], train: Train
) -> tuple[Model, StateFile, int | None]:
    """The model with its weights, what these were read from, and their number of classes where the data set's is
    another."""
    choice, classes = run.weights.choice, run.dataset.classes

    def weights() -> Path:
        return _weights(run, resources, quiet, say, train)

    found = open_model(run.model, run.data, len(classes), choice, weights, run.any_classes)
    for remark in found[0].remarks:
        say(remark)
    if choice in CHOICES:  # a file that is named is taken for these classes
        check_classes(found[1], classes, run.data.name)
    if trained := _training_description(run):
        found[0].weights["label"] += f", {trained}"
    return found


def _starts_from_itself(run: ResolvedRun) -> bool:
    """Whether the recipe of a run would train plain weights on from plain weights."""
    return run.weights.choice == "plain" and run.config.recipe.get("start") == "plain"


def _training_description(run: ResolvedRun) -> str:
    """How weights are trained for a run otherwise than usual, for titles."""
    seed = [f"training seed {run.config.training_seed}"] if run.config.training_seed else []
    return ", ".join([*seed, *(f"{name} {value}" for name, value in run.config.recipe.items())])


def _weights(run: ResolvedRun, resources: Resources, quiet: bool, say: Callable[[str], None], train: Train) -> Path:
    """The file of the weights that a run wants; trained now where the data set has a recipe for it."""
    config = run.config
    if path := own_file(run.model, run.data, run.weights):
        if config.training_seed is not None or config.recipe:
            raise XaibenchError(
                f"model {run.model.name} is what one training gave; --training-seed and --recipe need a model that a "
                "run trains itself"
            )
        return path
    if not run.data.recipe or run.weights.choice not in ("plain", "aligned"):
        path = find_weights(run.model, run.data, run.weights, config.download, config.dataset_options)
        if path is None:
            raise missing_weights(run.model, run.data, run.weights)
        return path
    if _starts_from_itself(run):
        raise XaibenchError(
            "--recipe start=plain trains on from plain weights, and this run is of these: leave it out, or ask for "
            "--weights aligned"
        )
    alignment = run.weights.alignment if run.weights.choice == "aligned" else None
    request = TrainingConfig(
        model=run.model.name,
        dataset=run.data.name,
        data_root=config.data_root,
        dataset_options=config.dataset_options,
        recipe=config.recipe,
        download=config.download,
        seed=config.training_seed or 0,
        image_size=run.data.geometry.crop,
        **alignment_fields(alignment),
    )
    training = plan_training(request)
    how = TrainingResources(resources.workers, resources.device, quiet=quiet)

    def made() -> Path:
        return train(training, how)

    return made() if config.shard is None else _once_free(made, training.path, say)


def _trained(training: Training, resources: TrainingResources) -> Path:
    return training.run(resources=resources)


def _once_free(train: Callable[[], Path], path: Path, say: Callable[[str], None]) -> Path:
    """The weights at a path, which another part of the same run may be training right now: then it is waited for."""
    announced_once = False
    while True:
        try:
            return train()
        except Busy as error:
            if not announced_once:
                say(f"waiting: {error}")
                announced_once = True
            while not path.is_file() and error.still_held():
                time.sleep(WAIT_SECONDS)


def _unaligned(card: ProtocolCard, protocol: Protocol, problem: str, run: ResolvedRun) -> XaibenchError:
    advice = how_to_get_weights(run.model, run.data, WeightsRequest("aligned", protocol.alignment))
    other = "judge them by sds, or " if protocol.alignment.kind == "cell" else ""
    return XaibenchError(f"{card.name} needs weights aligned with its deletions, but {problem}; {other}{advice}")
