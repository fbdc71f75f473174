"""`xaibench train patch-deletion`, `random-masks` and `part-deletion`: on images that have lost something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from xaibench.cli.train.options import verb

if TYPE_CHECKING:
    from xaibench.cards import Alignment

PATCH_EPILOG = """
\b
Examples:
  xaibench train patch-deletion --model resnet50 --dataset imagenet --data-root ILSVRC2012 --download
  xaibench train patch-deletion --model resnet18 --dataset critters --grid 8
  xaibench train patch-deletion --model my_models.py:make --dataset critters
"""
MASKS_EPILOG = """
\b
Examples:
  xaibench train random-masks --model resnet18 --dataset critters --share 0.1
  xaibench run f-fidelity --model resnet18
"""
PARTS_EPILOG = """
\b
Examples:
  xaibench train part-deletion --model resnet18 --dataset critters --probability 0.2
  xaibench run part-deletion --model resnet18
"""
Baseline = Annotated[str, typer.Option("--baseline", help="zero, random or blur.")]


@verb("patch-deletion", PATCH_EPILOG)
def patch_deletion(
    grid: Annotated[int, typer.Option("--grid", min=2, help="Cells a side.")] = 4,
    baseline: Baseline = "zero",
    probability: Annotated[float, typer.Option("--probability", help="Share of images that lose a cell.")] = 0.5,
) -> Alignment:
    """Fine-tune on images of which half have lost one cell, so that IDSDS can judge the model.

    The recipe is the paper's (30 epochs of SGD from the plain weights), or that of the data set's card. A checkpoint is
    written after each epoch: the same command after an interruption goes on from there.
    """
    return _alignment(grid=grid, baseline=baseline, probability=probability)


@verb("random-masks", MASKS_EPILOG)
def random_masks(
    share: Annotated[float, typer.Option("--share", help="The largest share of an image's pixels that go.")] = 0.1,
    baseline: Baseline = "zero",
) -> Alignment:
    """Fine-tune on images that have lost random pixels, so that F-Fidelity can judge the model."""
    return _alignment(kind="pixels", baseline=baseline, probability=share)


@verb("part-deletion", PARTS_EPILOG)
def part_deletion(
    probability: Annotated[float, typer.Option("--probability", help="With which each part is dropped.")] = 0.2,
) -> Alignment:
    """Train on images whose objects lack some parts, so that part deletion is nothing new to the model.

    For data sets that draw their images and can leave parts out (their option drop_parts).
    """
    return _alignment(kind="parts", probability=probability)


def _alignment(**fields: Any) -> Alignment:
    """An alignment from options; raises XaibenchError that names the option that does not fit."""
    from pydantic import ValidationError

    from xaibench.cards import Alignment
    from xaibench.errors import XaibenchError

    try:
        return Alignment(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = first["loc"][0]
        option = "share" if (name, fields.get("kind")) == ("probability", "pixels") else name
        raise XaibenchError(f"--{option}: {first['msg']}") from None
