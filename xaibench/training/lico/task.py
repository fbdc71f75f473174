"""LICO: cross entropy + alpha x manifold matching + beta x optimal transport.

Lei et al., NeurIPS 2023; numbers, normalisation and the bounded scale of Bartak et al., TMLR 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from xaibench.errors import XaibenchError
from xaibench.models.base import Model
from xaibench.models.outputs import is_right
from xaibench.ranks import process_count
from xaibench.seeds import generator
from xaibench.training.classifier import classification_metrics, label_loss, validation_batches
from xaibench.training.data import TrainingImages, class_counts
from xaibench.training.lico.encoders import load_encoder
from xaibench.training.lico.losses import mm_loss, ot_loss
from xaibench.training.lico.network import LicoNet
from xaibench.training.lico.prompts import PROMPTS
from xaibench.training.lico.text import TextSource
from xaibench.training.processes import check_shares, of_all, of_first
from xaibench.training.recipe import Recipe
from xaibench.training.task import Objective, Split

TERMS = ("mm", "ot")
TOLERANCE = 1e-3
"""Of the marginals, at which Sinkhorn's iterations end."""


@dataclass(frozen=True)
class Lico:
    """Training with LICO.

    terms: `mm`, `ot` or both. prompt: one of PROMPTS; contexts: how many trainable vectors it has. alpha and beta weigh
    the terms. epsilon and iterations are those of Sinkhorn's algorithm; the marginal error is reported as `ot_error`
    (published: 1e-4 and 100, which do not converge). text: the frozen encoder. Raises XaibenchError for settings that
    are out of range.
    """

    terms: tuple[str, ...] = TERMS
    prompt: str = "shared"
    alpha: float = 10.0
    beta: float = 1.0
    contexts: int = 12
    epsilon: float = 0.1
    iterations: int = 1000
    text: TextSource = field(default_factory=TextSource)
    name: str = "lico"

    def __post_init__(self):
        wrong = [term for term in self.terms if term not in TERMS]
        if wrong or not self.terms or len(set(self.terms)) < len(self.terms):
            raise XaibenchError(
                f"--terms {','.join(self.terms)!r} is none of mm, ot and mm,ot; the baseline without both is `xaibench "
                "train classifier`"
            )
        if self.prompt not in PROMPTS:
            raise XaibenchError(f"--prompt {self.prompt!r} is no prompt; take {', '.join(PROMPTS)}")
        for option in ("alpha", "beta", "epsilon"):
            if not 0 < getattr(self, option) < float("inf"):
                raise XaibenchError(f"--{option} is a number above 0, not {getattr(self, option):g}")
        for option in ("contexts", "iterations"):
            if getattr(self, option) < 1:
                raise XaibenchError(f"--{option} is at least 1")

    @property
    def key_fields(self) -> dict[str, Any]:
        """Every parameter, of the terms that there are."""
        mm = {"alpha": self.alpha} if "mm" in self.terms else {}
        ot = {"beta": self.beta, "epsilon": self.epsilon, "iterations": self.iterations, "tolerance": TOLERANCE}
        return {
            "terms": sorted(self.terms), "prompt": self.prompt, "contexts": self.contexts, "text": self.text.key_fields,
        } | mm | (ot if "ot" in self.terms else {})  # fmt: skip

    @property
    def recipe(self) -> dict[str, Any]:
        """From scratch, with the published schedule and clip; rate, batch and epochs are the data set's."""
        return {"start": "scratch", "schedule": "lico", "gradient_clip": 0.5}

    def objective(self, model: Model, split: Split, recipe: Recipe, seed: int, workers: int) -> Objective:
        """Trains the model with prompts and a projection, which are dropped afterwards; the epoch with the highest
        validation accuracy is kept."""
        if recipe.labels == "several":
            raise XaibenchError("LICO has a text for one class an image; train with --recipe labels=single")
        if "mm" in self.terms:
            check_shares(recipe.batch_size, process_count(), 2, "manifold matching compares the images of a batch")
        images = TrainingImages(split.train, model.encoding, split.geometry, recipe.augmentation, seed)
        validation = validation_batches(split.validation, model, recipe.batch_size, workers)
        encoder = load_encoder(self.text)
        net = LicoNet(model, encoder, split.train.classes, self.prompt, self.contexts, "mm" in self.terms, seed)
        return Objective(
            net, self._loss(recipe, images, seed), images, lambda net: classification_metrics(net.net, validation)
        )

    def _loss(self, recipe: Recipe, images: TrainingImages, seed: int):
        """The loss of the loop: the weighted sum, with its terms, the marginal error, the scale and the accuracy."""
        weights = 1 / class_counts(images.dataset) if recipe.class_weights else None

        def loss(net: nn.Module, batch: tuple[Tensor, Tensor, Sequence[str]]) -> dict[str, Tensor]:
            inputs, labels, image_ids = batch
            # the first image names the batch: the loop does not count steps for losses
            draws = generator(seed, "context order", images.epoch, image_ids[0])
            order = of_first(torch.randperm(self.contexts, generator=draws).to(inputs.device))
            logits, maps, texts, log_scale = net(inputs, labels, order)
            value = classified = label_loss(recipe, logits, labels, weights)
            terms: dict[str, Tensor] = {"classification": classified}
            with torch.autocast(inputs.device.type, enabled=False):  # distances of close samples need the precision
                maps, texts = maps.float(), texts.float()
                if "mm" in self.terms:
                    terms["mm"] = mm_loss(of_all(maps), of_all(texts), log_scale)
                    value = value + self.alpha * terms["mm"]
                    terms["scale"] = log_scale.exp()
                if "ot" in self.terms:
                    terms["ot"], transport = ot_loss(
                        maps, texts, self.epsilon, iterations=self.iterations, tolerance=TOLERANCE
                    )
                    value = value + self.beta * terms["ot"]
                    terms["ot_error"] = transport.error.mean()
            return {"loss": value} | terms | {"accuracy": is_right(logits, labels).float().mean()}

        return loss
