"""`xaibench train cgc`: for explanations that move with the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from xaibench.cli.train.options import verb

if TYPE_CHECKING:
    from xaibench.training.cgc import Cgc

EPILOG = """
\b
Examples:
  xaibench train cgc --model resnet18 --dataset critters --name my_cgc
  xaibench run ses,sch --model my_cgc --methods grad-cam
  xaibench train cgc --model resnet18 --dataset imagenet-s50 --data-root INS --epochs 100 --batch-size 128
"""


@verb("cgc", EPILOG)
def cgc(
    weight: Annotated[float, typer.Option("--lambda", help="The weight of the contrastive loss.")] = 0.5,
    temperature: Annotated[float, typer.Option("--temperature", help="Of the contrastive loss.")] = 0.01,
    crop: Annotated[float, typer.Option("--crop", help="The smallest share of the area that a crop keeps.")] = 0.08,
) -> Cgc:
    """Train with CGC: the Grad-CAM map of a moved image is to be the moved map, and unlike those of other images.

    Three views of each image are classified, so an epoch takes three passes, and a second derivative.
    """
    from xaibench.training.cgc import Cgc

    return Cgc(weight, temperature, crop)
