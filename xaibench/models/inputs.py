"""Which images a network takes: colour or grey, as its first pass tells."""

from __future__ import annotations

from torch import nn

from xaibench.cards import ModelCard
from xaibench.errors import XaibenchError
from xaibench.models.base import Encoding
from xaibench.models.build import validate_classes
from xaibench.models.dilate import sample_input


def encoding_of(card: ModelCard) -> Encoding:
    """The encoding of images for the model of a card; where mean or std is a single number, it is that of all colours
    of the other."""
    count = max(len(card.mean), len(card.std))
    mean, std = (values * count if len(values) == 1 else values for values in (card.mean, card.std))
    return Encoding(mean, std, card.complement)


def fit_encoding(card: ModelCard, net: nn.Module, side: int) -> tuple[Encoding, int]:
    """The encoding of the images that a network takes, and how many outputs it has, by passes of one image.

    Mean and std that are the same for all colours are also those of grey images, which a network gets that takes one
    channel. Raises XaibenchError for a network that takes neither colour nor grey images of side x side pixels, or
    gives no logits.
    """
    given = encoding_of(card)
    same = len(set(given.mean)) == len(set(given.std)) == 1
    colour = Encoding(given.mean * 3, given.std * 3, card.complement) if len(given.mean) == 1 else given
    grey = Encoding(given.mean[:1], given.std[:1], card.complement)
    problem: XaibenchError | None = None
    for encoding in (colour, grey) if same else (colour,):
        try:
            return encoding, validate_classes(card.name, net, sample_input(encoding.channels, side))
        except XaibenchError as error:
            problem = problem or error
    wanted = input_channels(net)
    if wanted == grey.channels and not same:
        raise XaibenchError(
            f"model {card.name} takes grey images, but has a mean and std for each colour; give one mean and one std"
        )
    if wanted not in (None, colour.channels, grey.channels):
        raise XaibenchError(
            f"model {card.name} takes images of {wanted} channels; it can be shown {colour.channels} (colour) or "
            f"{grey.channels} (grey)"
        )
    raise problem


def input_channels(net: nn.Module) -> int | None:
    """The channels that a network's first convolution takes; None for a network without one."""
    return next((module.in_channels for module in net.modules() if isinstance(module, nn.Conv2d)), None)
