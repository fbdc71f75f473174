"""CGC: training for explanations that move with the image. Pillai et al., CVPR 2022; used by Bartak et al. 2024.

Three views of an image are classified: the recipe's augmented one, the image as displayed, and that moved. Between
the last two an InfoNCE loss pulls the moved Grad-CAM map to the map of the moved image, away from those of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy, interpolate

from xaibench.errors import XaibenchError
from xaibench.models.base import Model
from xaibench.models.outputs import is_right
from xaibench.protocols.transforms import Crop, draw_window
from xaibench.ranks import process_count
from xaibench.seeds import derive
from xaibench.training.classifier import MONITOR, classification_metrics, label_loss, validation_batches
from xaibench.training.data import TrainingImages, class_counts
from xaibench.training.feature_map import FeatureMap
from xaibench.training.processes import check_shares, of_all
from xaibench.training.recipe import Recipe
from xaibench.training.task import Objective, Split
from xaibench.training.vectors import unit


@dataclass(frozen=True)
class Move:
    """A crop enlarged to the whole image, then a mirror where flips (N,) bool say so; of images and maps alike."""

    crop: Crop
    flips: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        """values (N, C, H, W), moved (bilinear)."""
        moved = self.crop(values, values)  # a crop fills nothing
        return torch.where(self.flips.to(values.device)[:, None, None, None], moved.flip(3), moved)


def draw_move(size: tuple[int, int], smallest: float, seed: int, epoch: int, image_ids: Sequence[str]) -> Move:
    """The move of each image, from (seed, image id, epoch): half are mirrored, windows are those of `draw_window`."""
    own = derive(seed, "cgc", epoch)
    crop = Crop([draw_window(size, smallest, own, image_id) for image_id in image_ids])
    return Move(crop, torch.tensor([derive(own, "flip", image_id) % 2 == 1 for image_id in image_ids]))


def positional_cam(feature: Tensor, gradient: Tensor) -> Tensor:
    """relu of the channel sum of feature x gradient, (N, 1, h, w) of maps (N, C, h, w).

    Grad-CAM with a weight for each position, not the channel's mean, as CGC has it.
    """
    return (feature * gradient).sum(1, keepdim=True).relu()


def contrast(anchors: Tensor, positives: Tensor, temperature: float = 0.01) -> Tensor:
    """InfoNCE, a scalar: each anchor (N, P) is to be nearer to its positive (N, P) than to the other anchors.

    By cosine / temperature; a map of zeros has the cosine 0 and no gradient.
    """
    anchors, positives = unit(anchors), unit(positives)
    near = (anchors * positives).sum(1)
    far = anchors @ anchors.mT
    logits = torch.where(torch.eye(len(far), dtype=torch.bool, device=far.device), near[:, None], far)
    return cross_entropy(logits / temperature, torch.arange(len(far), device=far.device))


class ThreeViews(nn.Module):
    """The network, passed three times in a step; all passes are in one call, as training on several devices needs."""

    def __init__(self, model: Model):
        super().__init__()
        self.net, self.features = model.net, FeatureMap(model)

    def forward(self, augmented: Tensor, displayed: Tensor, move: Move) -> tuple[list[Tensor], Tensor, Tensor]:
        """The logits (N, K) of the three views, the moved map (N, H, W) and the map of the moved image (N, H, W).

        Both maps explain the class that is predicted for the image as displayed, in the mode the network is in; they
        are enlarged to the image before they are moved.
        """
        moved = move(displayed)
        first = self.net(augmented.contiguous(memory_format=torch.channels_last))
        second, shown = self._cam(displayed, None)
        third, found = self._cam(moved, second.detach().argmax(1))
        return [first, second, third], move(shown)[:, 0], found[:, 0]

    def _cam(self, inputs: Tensor, classes: Tensor | None) -> tuple[Tensor, Tensor]:
        """Logits, and the map (N, 1, H, W) of classes (N,), by default those predicted, with its graph."""
        with sdpa_kernel(SDPBackend.MATH):  # attention's fused kernels have no second derivative
            logits, given, feature = self.features(self.net, inputs)
        classes = logits.detach().argmax(1) if classes is None else classes
        (gradient,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), given, create_graph=True)
        exact = torch.promote_types(feature.dtype, torch.float32)
        gradient = self.features.as_map(gradient, inputs)
        found = positional_cam(feature.to(exact), gradient.to(exact))
        return logits, interpolate(found, inputs.shape[2:], mode="bilinear", align_corners=False)


class ViewImages(TrainingImages):
    """Training images twice: augmented and as displayed, encoded, (2, C, H, W), with label and image id."""

    def __getitem__(self, index: int) -> tuple[Tensor, int | Tensor, str]:
        augmented, target, image_id = super().__getitem__(index)
        displayed = self.encoding(self._displayed(image_id)[0][None])[0]
        return torch.stack([augmented, displayed]), target, image_id


@dataclass(frozen=True)
class Cgc:
    """Training with CGC: the sum of three classification losses + weight x `contrast`; with weight 0 the views alone.

    crop: the smallest share of the area that a move keeps. Raises XaibenchError for settings that are out of range.
    """

    weight: float = 0.5
    temperature: float = 0.01
    crop: float = 0.08
    name: str = "cgc"

    def __post_init__(self):
        if not 0 <= self.weight < float("inf"):
            raise XaibenchError(f"--lambda is a number from 0, not {self.weight:g}")
        if not 0 < self.temperature < float("inf"):
            raise XaibenchError(f"--temperature is a number above 0, not {self.temperature:g}")
        if not 0.01 <= self.crop <= 1:
            raise XaibenchError(f"--crop is a share from 0.01 to 1, not {self.crop:g}")

    @property
    def key_fields(self) -> dict[str, Any]:
        """Every parameter."""
        return {"weight": self.weight, "temperature": self.temperature, "crop": self.crop}

    @property
    def recipe(self) -> dict[str, Any]:
        """From scratch, with the schedule of LICO, beside which it was run; the rest is the data set's."""
        return {"start": "scratch", "schedule": "lico"}

    def objective(self, model: Model, split: Split, recipe: Recipe, seed: int, workers: int) -> Objective:
        """Trains the model on three views; the epoch with the best classification of validation images is kept."""
        check_shares(recipe.batch_size, process_count(), 2, "CGC contrasts the images of a batch")
        images = ViewImages(split.train, model.encoding, split.geometry, recipe.augmentation, seed, recipe.labels)
        validation = validation_batches(split.validation, model, recipe.batch_size, workers, recipe.labels)
        weights = 1 / class_counts(images.dataset) if recipe.class_weights else None

        def loss(net: nn.Module, batch: tuple[Tensor, Tensor, Sequence[str]]) -> dict[str, Tensor]:
            views, labels, image_ids = batch
            move = draw_move(tuple(views.shape[-2:]), self.crop, seed, images.epoch, image_ids)
            logits, positives, anchors = net(views[:, 0], views[:, 1], move)
            classified = sum(label_loss(recipe, view, labels, weights) for view in logits)
            with torch.autocast(views.device.type, enabled=False):
                anchors, positives = (of_all(maps.flatten(1).float()) for maps in (anchors, positives))
                value = contrast(anchors, positives, self.temperature)
                terms = {"loss": classified.float() + self.weight * value, "classification": classified}
            if labels.ndim == 1:
                terms["accuracy"] = is_right(logits[0], labels).float().mean()
            return terms | {"contrast": value}

        evaluate = lambda net: classification_metrics(net.net, validation)  # noqa: E731
        return Objective(ThreeViews(model), loss, images, evaluate, MONITOR[recipe.labels])
