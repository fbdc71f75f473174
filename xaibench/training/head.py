"""The head of a network, whose shapes alone depend on the number of classes: a transfer replaces it, and a head stage
trains it alone."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from xaibench.cards import ModelCard
from xaibench.errors import XaibenchError
from xaibench.models.base import Model
from xaibench.models.build import build_network, is_finished


def head_of(card: ModelCard, model: Model) -> tuple[str, ...]:
    """The names of the tensors of a model whose shapes would be others for one class more; none where the builder takes
    no number of classes."""
    if is_finished(card):
        return ()
    with torch.random.fork_rng(devices=[]):  # the draws of what is trained are as if this network had not been made
        other = build_network(card, model.classes + 1).state_dict()
    return tuple(k for k, v in model.net.state_dict().items() if k in other and other[k].shape != v.shape)


def normalisations(net: nn.Module) -> dict[str, nn.Module]:
    """The layers of a network, by path, that keep statistics of the batches of training."""
    return {
        path: module
        for path, module in net.named_modules()
        if isinstance(getattr(module, "running_mean", None), Tensor)
    }


class HeadStage:
    """The first epochs of a training, in which only the head learns; called at the beginning of each epoch (from 0).

    Until all layers learn, no other parameter has a gradient, so that no weight decay moves it either, and
    normalisation layers outside of the head are in evaluation mode, which keeps their statistics. Raises XaibenchError
    where there is no head.
    """

    def __init__(self, net: nn.Module, head: Collection[str], epochs: int):
        if not head:
            raise XaibenchError(
                "no layer of this model depends on the number of classes, so it has no head; leave out head_epochs"
            )
        self.epochs = epochs
        self.body = [p for name, p in net.named_parameters() if name not in head and p.requires_grad]
        owners = {name.rpartition(".")[0] for name in head}
        self.norms = [module for path, module in normalisations(net).items() if path not in owners]

    def __call__(self, epoch: int) -> None:
        alone = epoch < self.epochs
        for parameter in self.body:
            parameter.requires_grad_(not alone)
        for module in self.norms if alone else ():
            module.eval()
