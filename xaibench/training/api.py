"""Training by name: what `xaibench train` does, and a first run on a data set that trains its models itself."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xaibench import registry
from xaibench.cards import Alignment, DatasetCard, ModelCard
from xaibench.datasets.open import drops_parts, open_dataset, parameters_of
from xaibench.errors import XaibenchError
from xaibench.files import make_folder, write_atomic
from xaibench.models.build import brings_weights, build_network, own_state
from xaibench.models.inputs import encoding_of
from xaibench.models.open import build_model, model_card
from xaibench.models.state import WEIGHTS_FILE, file_digest
from xaibench.models.trained import folder_of
from xaibench.printing import logger, print_line, say
from xaibench.ranks import first_process
from xaibench.training.classifier import Classification
from xaibench.training.config import TrainingConfig
from xaibench.training.find import WeightsRequest, find_weights, missing_weights
from xaibench.training.fit_level import FitLevel
from xaibench.training.recipe import Recipe, recipe_for, recipe_problem
from xaibench.training.resources import TrainingResources
from xaibench.training.self_alignment import SelfAlignment
from xaibench.training.transfer import load_start, transferred_weights
from xaibench.training.unlabelled import Unlabelled, aligned_on, open_unlabelled

if TYPE_CHECKING:
    from xaibench.models.base import Model
    from xaibench.training.task import Split, Task


@dataclass(frozen=True)
class Training:
    """A training that can be looked up or run: its request, and what the names in it stand for.

    start: the file of the weights that it starts from. start_digest: that of the file, or of the weights that the
    model's builder brings; None for a training from scratch. unlabelled: the images of a network that is its own
    teacher.
    """

    config: TrainingConfig
    model: ModelCard
    dataset: DatasetCard
    recipe: Recipe
    task: Task
    start: Path | None = None
    start_digest: str | None = None
    unlabelled: Unlabelled | None = None

    @property
    def alignment(self) -> Alignment | None:
        """The deletions that the model is trained on; None for intact images."""
        return self.task.alignment if isinstance(self.task, Classification) else None

    @property
    def key_fields(self) -> dict[str, Any]:
        """What the result's key hashes and its header holds."""
        card, data, alignment = self.model, self.dataset, self.alignment
        fields = {
            "model": card.name,
            "model_card": {"version": card.version, "source": registry.source(card), "parameters": card.parameters},
            "encoding": encoding_of(card).key_fields,
            "dataset": data.name,
            "dataset_version": data.version,
            "train": self._train_options,
            "validation": parameters_of(data, self.config.dataset_options, "validation"),
            "geometry": data.geometry.key_fields,
            "min_cam_grid": data.min_cam_grid,
            "recipe": self.recipe.key_fields,
            "alignment": alignment.key_fields if alignment else None,
            "seed": self.config.seed,
            "start": self.start_digest,
        }
        if not isinstance(self.task, Classification):
            fields["task"] = {"name": self.task.name} | self.task.key_fields
        if self.unlabelled:
            fields["unlabelled"] = self.unlabelled.key_fields
        return fields

    @property
    def _train_options(self) -> dict[str, Any]:
        """The parameters of the training images; where parts are dropped, the data set itself drops them."""
        alignment = self.alignment
        parameters = parameters_of(self.dataset, self.config.dataset_options, "train")
        if alignment is not None and alignment.kind == "parts":
            parameters = parameters | {"drop_parts": alignment.probability}
        return parameters

    @property
    def title(self) -> str:
        """What is trained, such as `aligned resnet18 on critters`."""
        classified = isinstance(self.task, Classification)
        kind = ("aligned" if self.alignment else "plain") if classified else self.task.name
        kind = "self-aligned" if self.unlabelled else kind
        return f"{kind} {self.model.name} on {self.dataset.name}"

    @property
    def path(self) -> Path:
        """Where the weights are once it is done."""
        return folder_of(self.key_fields) / WEIGHTS_FILE

    def run(self, resources: TrainingResources = TrainingResources()) -> Path:  # noqa: B008
        """Trains, unless that is done already, and returns the path of the weights; resumes what was interrupted.

        Raises XaibenchError where another process is training the same right now, and where nothing can be written.
        """
        if self.path.is_file():
            self._tidy()
            return self.path
        from xaibench.datasets.lost_processes import end_if_being_started
        from xaibench.locks import claim
        from xaibench.provenance import command_line
        from xaibench.surroundings import own_surroundings

        end_if_being_started()
        folder = self.path.parent
        names = ["training"] if first_process() else []  # one for all
        with claim(folder, names, command_line(), f"the same {self.title} is being trained in {folder} right now"):
            if not self.path.is_file():  # another process may just have ended
                began = time.monotonic()
                logger.info("training %s in %s", self.title, folder)
                with own_surroundings():
                    self._train(resources)
                logger.info("trained %s in %.1f s", self.title, time.monotonic() - began)
        return self.path

    def _tidy(self) -> None:
        """Removes what a process left that was killed after it had stored the weights."""
        from xaibench.locks import try_lock
        from xaibench.training.working import discard, working_files

        folder = self.path.parent
        if first_process() and working_files(folder) and (held := try_lock(folder, ["training"])):
            with held:
                discard(folder)

    @property
    def _is_described(self) -> bool:
        """Whether the request makes this task; a task that was given as an object may be another one."""
        try:
            return self.config.make_task() == self.task
        except XaibenchError:
            return False

    def write_config(self) -> None:
        """Writes the request beside the weights, as `training.toml`; no key and no header of weights holds it."""
        folder = self.path.parent
        make_folder(folder)
        write_atomic(folder / "training.toml", self.config.to_toml().encode())

    def _train(self, resources: TrainingResources) -> None:
        """Trains, and leaves the weights at `path`."""
        from xaibench.training.train import TrainingJob, train

        opened = self.opened(resources.quiet)
        if first_process() and self._is_described:
            self.write_config()
        header = opened.header
        if aligned := aligned_on(self.start, self.unlabelled):
            header |= {"aligned_on": aligned}  # so that no run evaluates them
        job = TrainingJob(self.task, self.recipe, self.path.parent, header, self.title, self.config.seed, opened.head)
        train(opened.model, opened.split, job, resources)

    def opened(self, quiet: bool) -> OpenedTraining:
        """The network with the weights that it starts from, and its images; nothing is trained. Raises XaibenchError
        where they do not fit each other."""
        import torch

        from xaibench.seeds import derive
        from xaibench.training.head import head_of
        from xaibench.training.task import Split

        config, data = self.config, self.dataset
        validation = open_dataset(data, config.data_root, config.dataset_options, "validation")
        classes = list(validation.classes)
        if self.unlabelled:
            learnt = self.unlabelled.dataset
        else:
            learnt = open_dataset(data, config.data_root, self._train_options, "train")
            if list(learnt.classes) != classes:
                raise XaibenchError(f"{data.name}: training and validation images have different classes")
        torch.manual_seed(derive(config.seed, "initial weights"))
        model = build_model(self.model, len(classes), data.geometry, data.min_cam_grid)
        if model.one_logit:
            raise XaibenchError(
                f"{self.model.name} has one output; networks are trained with one logit for each class, here "
                f"{len(classes)}"
            )
        if model.classes != len(classes):
            raise XaibenchError(
                f"{self.model.name} has {model.classes} classes, {data.name} has {len(classes)}; "
                "give its builder the parameter num_classes"
            )
        head = head_of(self.model, model) if self.recipe.start == "transfer" or self.recipe.head_epochs else ()
        fresh = self._load_start(model, head, classes, quiet)
        header = self.key_fields | {"classes": classes} | ({"fresh": fresh} if fresh else {})
        return OpenedTraining(model, Split(learnt, validation, data.geometry), tuple(head), header)

    def _load_start(self, model: Model, head: tuple[str, ...], classes: list[str], quiet: bool) -> list[str]:
        """Loads the weights that the training starts from; the names of the tensors that keep their first values."""
        if not self.start:
            return []
        transfer = self.recipe.start == "transfer"
        fresh = load_start(model, self.start, self.model, head if transfer else None, classes, self.dataset.name)
        if first_process():
            if fresh and not quiet:
                print_line(f"new head: {', '.join(fresh)}")
            for remark in model.remarks:
                say(remark)
        return fresh


@dataclass(frozen=True)
class OpenedTraining:
    """What a training works with: the model before its first step, its images, the names of the tensors of its head,
    and the header of its weights."""

    model: Model
    split: Split
    head: tuple[str, ...]
    header: dict[str, Any]


def plan_training(config: TrainingConfig, task: Task | None = None) -> Training:
    """The training that a request asks for; nothing is trained.

    The recipe is the data set's; the model's counts over it with numbers that are from scratch only; what is usual for
    the task counts over both, and the recipe of the request over all. A recipe that starts from plain weights takes
    those of the model on this data set, or the file that `config.weights` names; one that starts by transfer takes
    those of the model's card, whatever data set they are for, or that file; a named training is trained further by
    default. task: an object in the place of the task that the request names. Raises XaibenchError where there are no
    such weights, where weights are named for a training from scratch, and for a recipe or options that do not exist.
    """
    planned = _without_start(config, task)
    card = planned.model
    own = brings_weights(card)
    start = None if own and config.weights == "plain" else _start(config, card, planned.dataset, planned.recipe)
    digest = file_digest(start) if start else own_state(card, build_network(card, 1)).digest if own else None
    return replace(planned, start=start, start_digest=digest)


def fields_without_start(config: TrainingConfig, task: Task | None = None) -> dict[str, Any]:
    """The `key_fields` of a training but for `start`, the digest of the weights that it starts from, which need not be
    here. Arguments and errors as for `plan_training`."""
    fields = _without_start(config, task).key_fields
    return {name: value for name, value in fields.items() if name != "start"}


def _without_start(config: TrainingConfig, task: Task | None) -> Training:
    """The training of a request, before the weights that it starts from are looked up."""
    card = model_card(config.model)
    data = registry.card("dataset", config.dataset).for_model(card, config.image_size)
    task = config.make_task() if task is None else task
    alignment = task.alignment if isinstance(task, Classification) else None
    if alignment is not None and alignment.kind == "parts" and not drops_parts(data):
        raise XaibenchError(
            f"data set {config.dataset} cannot draw its training images without parts (it has no option drop_parts)"
        )
    recipe = _recipe(config, card, data, task)
    unlabelled = None
    if isinstance(task, SelfAlignment):
        if recipe.start != "plain":
            raise XaibenchError(
                f"--teacher self: a network teaches itself what it has learnt; start={recipe.start} has learnt other "
                "things, leave it out"
            )
        parameters = parameters_of(data, config.dataset_options, "train")
        unlabelled = open_unlabelled(data, config.data_root, parameters, task.photos, alignment.images)
    return Training(config, card, data, recipe, task, unlabelled=unlabelled)


def _recipe(config: TrainingConfig, card: ModelCard, data: DatasetCard, task: Task) -> Recipe:
    """The recipe of a request; raises XaibenchError for fields and values that no recipe has."""
    from pydantic import ValidationError

    try:
        recipe = recipe_for(card, data, getattr(task, "recipe", {}), config.recipe)
    except ValidationError as error:
        raise XaibenchError(f"recipe of {config.model} on {config.dataset}: {recipe_problem(error)}") from None
    if isinstance(task, FitLevel):
        task.check(recipe)
    return recipe


def _start(config: TrainingConfig, card: ModelCard, data: DatasetCard, recipe: Recipe) -> Path | None:
    """The file of weights that a recipe starts from, None from scratch; raises XaibenchError where it is not here, and
    where weights are named and the recipe starts from scratch."""
    if recipe.start == "transfer":
        return transferred_weights(card, config.weights, config.download)
    if recipe.start != "plain":
        if config.weights != "plain":
            raise XaibenchError(
                f"--weights {config.weights}: this training starts from scratch and takes no weights; to start from "
                "them, give --recipe start=plain, or start=transfer for weights of other classes"
            )
        return None
    request = WeightsRequest(config.weights)
    start = find_weights(card, data, request, config.download, config.dataset_options)
    if start is None:
        others = "--recipe start=scratch, or start=transfer for weights of other classes"
        raise XaibenchError(f"{missing_weights(card, data, request)}; or start otherwise: {others}")
    return start
