"""`xaibench explain`: heat maps of a few photos, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xaibench.cli.config_options import command_of, option
from xaibench.cli.output import echo
from xaibench.errors import XaibenchError
from xaibench.explanation.config import ExplainConfig

EPILOG = """
\b
Examples:
  # published weights, ImageNet's classes
  xaibench explain tench.jpg --model resnet50 --download
  # your own weights, two methods, a figure for a paper
  xaibench explain a.jpg b.jpg --model squeezenet1_0 \\
      --weights my.safetensors --methods grad-cam,ig-u --out panel.pdf
  # explain another class
  xaibench explain tench.jpg --model resnet50 --target goldfish
  # a segmentation network: why is the largest region called so?
  xaibench explain street.jpg --model seg.py:net --region predicted
  # an image of the embedded data set, after `xaibench run`
  xaibench explain test/000007 --model resnet50 --dataset critters
"""


def explain(given: dict[str, Any], *, photos: list[str], quiet: bool) -> None:
    """Draw photos, what the model predicts for them, and the heat maps of some methods side by side.

    Each map has its own colour bar: methods have different units, so only patterns may be compared between them. Noise
    depends on the seed and the photo's file name alone, so the same command draws the same picture.
    """
    from xaibench.explanation.api import explain_config
    from xaibench.printing import clean

    if "model" not in given:
        raise XaibenchError("missing --model; see `xaibench explain --help`")
    path = given.get("out") or Path(f"{Path(photos[0]).stem}-explained.png")
    found = explain_config(ExplainConfig.parse(given | {"photos": photos, "out": path}), quiet)
    for seen in found:
        explained = "" if seen.target in seen.top else f"; explained: {seen.target}"
        echo(clean(f"{seen.image_id}: {', '.join(map(str, seen.top))}{explained}"))
    for name, reason in found[0].skipped.items():
        echo(f"skipped: {clean(name)} {clean(reason)}")
    for warning in found[0].warnings:
        echo(f"warning: {clean(warning)}", err=True)
    echo(f"figure: {clean(path)}")
    failed = {name: reason for seen in found for name, reason in seen.failed.items()}
    if failed:
        name, reason = next(iter(failed.items()))
        others = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        raise XaibenchError(clean(f"method {name}{others} failed: {reason}; the other maps are in {path}"))


PHOTOS = Annotated[list[str], typer.Argument(metavar="PHOTO...", help="Image files, or image ids of the data set.")]
QUIET = Annotated[bool, typer.Option("--quiet", help="No progress.")]

command = command_of(ExplainConfig, explain, [option("photos", PHOTOS, ...), option("quiet", QUIET, False)])
