"""Model guidance: a localisation loss on attributions beside the loss of classification.

Rao, Böhle, Parchami-Araghi, Schiele, ICCV 2023. A step minimises classification + lambda * 64 * the mean localisation
loss of its annotated images; see `losses.weighted`.

Normalisation layers keep the statistics of the baseline. Attributions are taken in evaluation mode, so that no image's
map depends on its batch. A classification loss in training mode would use other statistics than the attributions, and
the two networks drift apart: on the embedded data one classified 97 % of its training images correctly with the
statistics of batches, and 37 % with its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from xaibench.attribution.stages import INPUT
from xaibench.errors import XaibenchError
from xaibench.models.base import Model
from xaibench.models.modes import trains_as_it_explains
from xaibench.training.classifier import MONITOR, classification_loss
from xaibench.training.guidance.attributions import check_attribution, guided_maps
from xaibench.training.guidance.evaluation import Evaluation, EvaluationBatches
from xaibench.training.guidance.images import GuidedImages
from xaibench.training.guidance.kept import keep_epoch
from xaibench.training.guidance.localisation import LocalisationLoss, find_loss
from xaibench.training.guidance.losses import (
    OVER,
    gradient_norm,
    gradient_norm_lambda,
    reduction_key_fields,
    weighted,
)
from xaibench.training.guidance.targets import Annotations
from xaibench.training.head import normalisations
from xaibench.training.processes import process_mean
from xaibench.training.recipe import Recipe
from xaibench.training.task import Objective, Split

MATCHED = 16
"""Annotated images on which gradient norms of two losses are compared, before training."""


RECIPE = {
    "start": "plain", "epochs": 10, "batch_size": 64, "learning_rate": 1e-4, "optimizer": "adam", "weight_decay": 0.0,
    "schedule": "constant", "augmentation": "none", "label_smoothing": 0.0,
}  # fmt: skip
"""The paper's: from the baseline, Adam at 1e-4 in batches of 64, images as they are; 50 epochs on VOC, 10 on COCO."""


@dataclass(frozen=True)
class Guided:
    """Training with guidance.

    loss: a name of `xaibench ls losses`, with loss_options over the parameters of its card. attribution: a name of
    `attributions.ATTRIBUTIONS`. stage: Input, or a stage of the model. weight: lambda; 0 is the control, the same
    training and evaluation without guidance. annotations: which images guide, and by what. alpha: the exponent of
    `energy-star`. over: what the mean of a step is over, `annotated` images or the whole `batch`. match: another loss,
    whose lambda `weight` then is; the lambda of `loss` is the one that has as large a gradient on the weights that
    training starts from. keep: a folder for the weights of the epochs on the Pareto front, which changes no result.
    Raises XaibenchError for settings that are out of range.
    """

    loss: str = "energy"
    attribution: str = "ixg"
    stage: str = INPUT
    weight: float = 1e-3
    annotations: Annotations = field(default_factory=Annotations)
    alpha: float = 0.5
    over: str = "annotated"
    match: str | None = None
    keep: Path | None = field(default=None, compare=False)
    loss_options: dict[str, Any] = field(default_factory=dict, hash=False)
    name: str = "guided"
    recipe: ClassVar[dict[str, Any]] = RECIPE

    def __post_init__(self):
        self._take_alpha()
        self._find(self.loss)
        if self.match is not None:
            self._find(self.match, "--match")
        if self.over not in OVER:
            raise XaibenchError(f"--over is {' or '.join(OVER)}, not {self.over!r}")
        if not 0 <= self.weight < float("inf"):
            raise XaibenchError(f"--lambda is a number from 0, not {self.weight:g}")

    @property
    def key_fields(self) -> dict[str, Any]:
        """Every parameter, with how the values of a batch become one."""
        own = {"alpha": self.alpha} if "energy-star" in (self.loss, self.match) else {}
        more = find_loss(self.loss, self.loss_options).key_fields("loss")
        if self.match is not None:
            more |= find_loss(self.match).key_fields("match")
        return {
            "loss": self.loss, "attribution": self.attribution, "stage": self.stage, "lambda": self.weight,
            "annotations": self.annotations.key_fields, "match": self.match, "normalisation": "kept",
        } | own | more | reduction_key_fields(self.over)  # fmt: skip

    def objective(self, model: Model, split: Split, recipe: Recipe, seed: int, workers: int) -> Objective:
        """Both losses on images that the recipe augments; after each epoch classification and localisation are measured
        on the validation images, and the epoch with the best classification is the training's own result."""
        check_attribution(model, self.attribution, self.stage)
        images = GuidedImages(
            split.train, model.encoding, split.geometry, recipe.augmentation, seed, recipe.labels, self.annotations
        )
        validation = Evaluation(
            model, split.validation, self.attribution, self.stage, several=recipe.labels == "several",
            batches=EvaluationBatches(recipe.batch_size, workers, shared=True),
        )  # fmt: skip
        strength = self._strength(model, images)
        monitor = MONITOR[recipe.labels]
        keep = None
        if self.keep is not None:

            def keep(net: nn.Module, row: dict[str, float]) -> None:
                keep_epoch(self.keep, net, row, (monitor, "epg", "iou"))

        def evaluate(net: nn.Module) -> dict[str, float]:
            return {"lambda": strength} | validation()

        return Objective(model.net, self._loss(model, recipe, images, strength), images, evaluate, monitor, keep)

    def _loss(self, model: Model, recipe: Recipe, images: GuidedImages, strength: float):
        """The loss of the loop: classification on all images of a batch, localisation on the annotated ones.

        Its term `silent` is the share of these whose map has no positive value: most losses have no gradient there.
        """
        classify, values = classification_loss(recipe, images, None), self._find(self.loss)
        norms = list(normalisations(model.net).values())

        def loss(net: nn.Module, batch: tuple) -> dict[str, Tensor]:
            inputs, labels, image_ids, masks, targets, annotated = batch
            for module in norms:
                module.eval()  # the loop has put the network into training mode
            found, no_positive = inputs.new_zeros(len(inputs), dtype=torch.float32), inputs.new_zeros(())
            met = process_mean(annotated.sum().to(found)) if strength else no_positive
            answer = net
            if strength and annotated.any():  # maps cost more than the classification, so there are none for the others
                maps, logits = self._maps(model, inputs[annotated], targets[annotated])
                if net is model.net and annotated.all() and trains_as_it_explains(net):
                    answer = partial(_given, logits)  # one pass serves both losses
                found = found.index_put((annotated.nonzero()[:, 0],), values(maps, masks[annotated]).float())
                no_positive = (maps.detach() <= 0).flatten(1).all(1).float().sum() / met
            terms = classify(answer, (inputs, labels, image_ids))
            localisation = weighted(found, annotated, strength, self.over)
            return {
                "loss": terms["loss"] + localisation, "classification": terms["loss"], "localisation": localisation,
                "silent": no_positive,
            } | {name: value for name, value in terms.items() if name != "loss"}  # fmt: skip

        return loss

    def _maps(self, model: Model, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return guided_maps(model, inputs, targets, self.attribution, self.stage, tuple(inputs.shape[2:]))

    def _find(self, loss: str, argument: str = "--loss") -> LocalisationLoss:
        """A localisation loss with its options; those of `loss_options` are for the loss of the training."""
        options = self.loss_options if loss == self.loss else {}
        return find_loss(loss, options | ({"alpha": self.alpha} if loss == "energy-star" else {}), argument)

    def _take_alpha(self) -> None:
        """Moves the option alpha of energy-star into the field `alpha`, its older place."""
        if self.loss != "energy-star" or "alpha" not in self.loss_options:
            return
        alpha = self.loss_options["alpha"]
        if self.alpha not in (0.5, alpha):
            raise XaibenchError(f"--alpha {self.alpha:g} and --loss-option alpha={alpha} disagree; give one of them")
        object.__setattr__(self, "alpha", alpha)
        object.__setattr__(self, "loss_options", {k: v for k, v in self.loss_options.items() if k != "alpha"})

    def _strength(self, model: Model, images: GuidedImages) -> float:
        """Lambda: `weight`, or what it is for this loss where it was given for another."""
        if self.match is None or not self.weight:
            return self.weight
        indices = (n for n, image_id in enumerate(images.dataset.ids) if image_id in images.annotated)
        items = list(islice((item for item in map(images.__getitem__, indices) if item[5]), MATCHED))
        if not items:
            raise XaibenchError("no annotated image has a mask to match gradients on; give the lambda itself")
        inputs, masks = torch.stack([item[0] for item in items]), torch.stack([item[3] for item in items])
        maps, _ = self._maps(model, inputs, torch.tensor([item[4] for item in items]))
        norms = [
            gradient_norm(weighted(self._find(loss)(maps, masks), masks.flatten(1).any(1)), model.net.parameters())
            for loss in (self.match, self.loss)
        ]
        return gradient_norm_lambda(self.weight, *norms)


def _given(logits: Tensor, inputs: Tensor) -> Tensor:
    """What a network answered to these inputs before."""
    return logits
