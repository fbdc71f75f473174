"""Training by name: what `xaibench train` does, and a first run on a data set that trains its models itself."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xaibench import registry
from xaibench.cards import Alignment, DatasetCard, ModelCard
from xaibench.datasets.open import drops_parts, open_dataset, parameters_of
from xaibench.errors import XaibenchError
from xaibench.models.build import brings_weights, build_network, own_state
from xaibench.models.open import build_model, encoding_of, model_card
from xaibench.models.state import file_digest
from xaibench.models.trained import folder_of
from xaibench.training.find import WeightsRequest, find_weights, missing_weights
from xaibench.training.processes import first_process
from xaibench.training.recipe import Recipe, recipe_for
from xaibench.training.transfer import load_start, transferred_weights

if TYPE_CHECKING:
    from xaibench.training.task import Task


@dataclass(frozen=True)
class Training:
    """A training that can be looked up or carried out: everything that decides its result."""

    model: ModelCard
    dataset: DatasetCard
    alignment: Alignment | None
    recipe: Recipe
    root: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    start: Path | None = None  # the weights that it starts from
    start_digest: str | None = None  # of these, or of those that the model's builder brings
    task: Task | None = None  # None: classification, with the alignment

    @property
    def key_fields(self) -> dict[str, Any]:
        """What the result's key hashes and its header holds."""
        card, data = self.model, self.dataset
        return {
            "model": card.name,
            "model_card": {"version": card.version, "source": registry.source(card), "parameters": card.parameters},
            "encoding": encoding_of(card).key_fields,
            "dataset": data.name,
            "dataset_version": data.version,
            "train": self._train_options,
            "validation": parameters_of(data, self.options, "validation"),
            "geometry": data.geometry.key_fields,
            "min_cam_grid": data.min_cam_grid,
            "recipe": self.recipe.key_fields,
            "alignment": self.alignment.key_fields if self.alignment else None,
            "seed": self.seed,
            "start": self.start_digest,
        } | ({"task": {"name": self.task.name} | self.task.key_fields} if self.task else {})

    @property
    def _train_options(self) -> dict[str, Any]:
        """The parameters of the images that are learnt from: dropped parts are the data set's own doing."""
        dropped = self.alignment is not None and self.alignment.kind == "parts"
        parameters = parameters_of(self.dataset, self.options, "train")
        return parameters | ({"drop_parts": self.alignment.probability} if dropped else {})

    @property
    def title(self) -> str:
        """The training in words, such as `aligned resnet18 on critters`."""
        kind = self.task.name if self.task else "aligned" if self.alignment else "plain"
        return f"{kind} {self.model.name} on {self.dataset.name}"

    @property
    def path(self) -> Path:
        """Where the weights are once it is done."""
        return folder_of(self.key_fields) / "weights.safetensors"

    def run(self, *, workers: int = 0, device: str = "cpu", precision: str = "float32", quiet: bool = False) -> Path:
        """Trains, unless that is done already, and returns the path of the weights; resumes what was interrupted.

        Raises XaibenchError where another process is training the same right now, and where nothing can be written.
        """
        if self.path.is_file():
            return self.path
        from xaibench.locks import claim
        from xaibench.provenance import command_line

        folder = self.path.parent
        names = ["training"] if first_process() else []  # one for all
        with claim(folder, names, command_line(), f"the same {self.title} is being trained in {folder} right now"):
            if not self.path.is_file():  # another process may just have ended
                self._train(workers, device, precision, quiet)
        return self.path

    def _train(self, workers: int, device: str, precision: str, quiet: bool) -> None:
        """Trains, and leaves the weights at `path`."""
        import torch

        from xaibench.seeds import derive
        from xaibench.training.classifier import Classification
        from xaibench.training.head import head_of
        from xaibench.training.task import Split
        from xaibench.training.train import train

        learnt = open_dataset(self.dataset, self.root, self._train_options, "train")
        validation = open_dataset(self.dataset, self.root, self.options, "validation")
        if list(learnt.classes) != list(validation.classes):
            raise XaibenchError(f"{self.dataset.name}: training and validation images have different classes")
        torch.manual_seed(derive(self.seed, "initial weights"))
        model = build_model(self.model, len(learnt.classes), self.dataset.geometry, self.dataset.min_cam_grid)
        if model.classes != len(learnt.classes):
            raise XaibenchError(
                f"{self.model.name} tells {model.classes} classes apart, {self.dataset.name} has "
                f"{len(learnt.classes)}; give its builder the parameter num_classes"
            )
        transfer = self.recipe.start == "transfer"
        head = head_of(self.model, model) if transfer or self.recipe.head_epochs else ()
        classes, fresh = list(learnt.classes), []
        if self.start:
            fresh = load_start(model, self.start, self.model, head if transfer else None, classes, self.dataset.name)
        if fresh and not quiet and first_process():
            print(f"new head: {', '.join(fresh)}", file=sys.stderr, flush=True)
        header = self.key_fields | {"classes": classes} | ({"fresh": fresh} if fresh else {})
        train(
            model, Split(learnt, validation, self.dataset.geometry), self.task or Classification(self.alignment),
            self.recipe, self.path.parent, header, title=self.title,
            seed=self.seed, workers=workers, device=device, precision=precision, quiet=quiet, head=head,
        )  # fmt: skip


def plan_training(
    model: str,
    dataset: str,
    alignment: Alignment | None,
    *,
    data_root: Path | None = None,
    options: dict[str, Any] | None = None,
    changes: dict[str, Any] | None = None,
    weights: str = "plain",
    download: bool = False,
    seed: int = 0,
    image_size: int | None = None,
    task: Task | None = None,
) -> Training:
    """The training of a model on a data set by the data set's recipe, what the model's says otherwise, and changes.

    The model's recipe counts with numbers that are from scratch only; what is usual for the task counts more than both.
    A named training is trained further by default. alignment None trains on intact images. A recipe that starts from
    plain weights takes those of the model on this data set, or the file that `weights` names; one that starts by
    transfer those of the model's card, whatever data set they are for, or that file. image_size is the side of the
    images, where it is not the data set's. task is what it is trained for, where that is not classification alone.
    Raises XaibenchError where there are no such weights and for changes that no recipe has.
    """
    from pydantic import ValidationError

    card, data = model_card(model), registry.card("dataset", dataset).at_size(image_size)
    if alignment is not None and alignment.kind == "parts" and not drops_parts(data):
        raise XaibenchError(
            f"data set {dataset} cannot draw its training images without parts (it has no option drop_parts)"
        )
    try:
        recipe = recipe_for(card, data, getattr(task, "recipe", {}), changes or {})
    except ValidationError as error:
        first = error.errors()[0]
        field = "".join(f"{part}: " for part in first["loc"])
        problem = first["msg"].removeprefix("Value error, ")
        raise XaibenchError(f"recipe of {model} on {dataset}: {field}{problem}") from None
    start, own = None, brings_weights(card)
    if recipe.start == "transfer" and not (own and weights == "plain"):
        start = transferred_weights(card, weights, download)
    elif recipe.start == "plain" and not (own and weights == "plain"):
        wanted = WeightsRequest(weights)
        start = find_weights(card, data, wanted, download, options)
        if start is None:
            ways = "--recipe start=scratch, or start=transfer for weights of other classes"
            raise XaibenchError(f"{missing_weights(card, data, wanted)}; or start otherwise: {ways}")
    digest = file_digest(start) if start else own_state(card, build_network(card, 1)).digest if own else None
    return Training(card, data, alignment, recipe, data_root, options or {}, seed, start, digest, task)
