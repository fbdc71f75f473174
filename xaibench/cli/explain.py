"""`xaibench explain`: heat maps of a few photos, side by side."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from xaibench.cli import arguments

EPILOG = """
\b
Examples:
    # published weights, ImageNet's classes xaibench explain tench.jpg --model resnet50 --download   # your own weights,
  two methods, a figure for a paper xaibench explain a.jpg b.jpg --model squeezenet1_0 \\
      --weights my.safetensors --methods grad-cam,ig-u --out panel.pdf
    # explain another class xaibench explain tench.jpg --model resnet50 --target goldfish # an image of the embedded
  data set, after `xaibench run` xaibench explain test/000007 --model resnet50 --dataset critters
"""

STYLE_HELP = "overlay (over the faint photo) or map."


class Style(StrEnum):
    """How a map is drawn."""

    overlay = "overlay"
    map = "map"


def command(
    photos: Annotated[list[str], typer.Argument(metavar="PHOTO...", help="Image files, or image ids of the data set.")],
    model: Annotated[str, typer.Option("--model", help=arguments.MODEL)],
    methods: Annotated[
        str | None,
        typer.Option("--methods", metavar="NAME,...", help="Names, or `all`; by default five quick methods."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="PATH", help="A .png, .svg or .pdf file.", show_default="PHOTO-explained.png"),
    ] = None,
    dataset: Annotated[
        str, typer.Option("--dataset", help="The data set whose crop, class names and weights are used.")
    ] = "imagenet",
    data_root: Annotated[
        Path | None,
        typer.Option("--data-root", metavar="DIR", help="Its folder, if class names or image ids are needed."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights", metavar="plain|aligned|PATH", help="By default plain, or else aligned (trained on deletions)."
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target", metavar="CLASS", help="Index or name of the explained class.", show_default="prediction"
        ),
    ] = None,
    layer: arguments.Layer = None,
    style: Annotated[Style, typer.Option("--style", help=STYLE_HELP)] = Style.overlay,
    profile: Annotated[
        str | None,
        typer.Option("--profile", help="`paper`: the papers' parameters; the data set may have a lighter one."),
    ] = None,
    plugin: arguments.Plugins = None,
    cards: arguments.Cards = None,
    download: Annotated[bool, typer.Option("--download", help="Allow published weights to be fetched.")] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    seed: Annotated[int, typer.Option("--seed", min=0, help="The seed of noise and masks.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Draw photos with the model's predictions and the heat maps of some methods side by side.

    Each map has its own colour bar: methods have different units, so only patterns may be compared between them. Noise
    depends on the seed and the photo's file name alone, so the same command draws the same picture.
    """
    from xaibench.errors import XaibenchError
    from xaibench.explanation.api import explain
    from xaibench.report.text import clean

    path = out or Path(f"{Path(photos[0]).stem}-explained.png")
    found = explain(
        photos, model=model, methods=arguments.parse_names(methods), dataset=dataset, data_root=data_root,
        weights=weights, target=target, layer=layer, profile=profile, out=path, style=style.value, device=device,
        seed=seed, download=download, plugins=plugin or (), cards=cards or (), quiet=quiet,
    )  # fmt: skip
    for seen in found:
        explained = "" if seen.target in seen.top else f"; explained: {seen.target}"
        typer.echo(clean(f"{seen.image_id}: {', '.join(map(str, seen.top))}{explained}"))
    for name, reason in found[0].skipped.items():
        typer.echo(f"skipped: {clean(name)} {clean(reason)}")
    typer.echo(f"figure: {clean(path)}")
    failed = {name: reason for seen in found for name, reason in seen.failed.items()}
    if failed:
        name, reason = next(iter(failed.items()))
        others = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        raise XaibenchError(clean(f"method {name}{others} failed: {reason}; the other maps are in {path}"))
