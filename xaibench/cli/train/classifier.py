"""`xaibench train classifier`: on intact images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from xaibench.cli.train.options import verb

if TYPE_CHECKING:
    from xaibench.training.fit_level import FitLevel

EPILOG = """
\b
Examples:
  xaibench train classifier --model resnet18 --dataset critters
  xaibench train classifier --model resnet18 --dataset imagefolder --data-root photos --recipe start=scratch
  xaibench train classifier --model critters_cnn --dataset critters --fit over --name my_overfitted
"""


@verb("classifier", EPILOG)
def classifier(
    fit: Annotated[
        str,
        typer.Option(
            "--fit",
            metavar="normal|over|under",
            help="over: a tenth of the images, twice the epochs; under: one epoch.",
        ),
    ] = "normal",
) -> FitLevel | None:
    """Train on intact images: what SDS judges, and where a fine-tuning starts."""
    from xaibench.training.fit_level import FitLevel

    return None if fit == "normal" else FitLevel(fit)
