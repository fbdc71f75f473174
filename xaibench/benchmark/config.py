"""The request of `xaibench bench`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from xaibench.configuration import Argument, Config


class BenchConfig(Config):
    """What is timed, and how often."""

    model: str = "resnet18"
    """A name of `xaibench ls models`, or timm:NAME; its weights are random."""
    image_size: Annotated[int, Field(ge=8), Argument(metavar="PIXELS")] = 64
    """The side of the images, which are noise."""
    images: Annotated[int, Field(ge=1), Argument(metavar="N")] = 4
    """Images of a batch."""
    steps: Annotated[int, Field(ge=1), Argument(metavar="N")] = 10
    """Steps of integrated gradients; the papers take 50."""
    masks: Annotated[int, Field(ge=2), Argument(metavar="N")] = 100
    """Masks of RISE; the papers take 1000."""
    repeats: Annotated[int, Field(ge=1), Argument(metavar="N")] = 3
    """How often each is timed; medians count."""
    chunk_size: Annotated[int, Field(ge=1), Argument(metavar="N")] = 32
    """Inputs in one pass of the network."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""
