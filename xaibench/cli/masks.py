"""`xaibench masks`: masks of all objects, for data sets without annotations."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from xaibench.cli import arguments

app = typer.Typer(help="Make masks of all objects.", no_args_is_help=True, rich_markup_mode=None)

EPILOG = """
\b
Examples:
  # Segment Anything, as in ObEy
  xaibench masks make --dataset imagenet --data-root ILSVRC2012 \\
      --with sam --images 1000 --download
    # superpixels: no download; they are not objects xaibench masks make --dataset critters --with slic --images 32
  --out masks xaibench run obey --model resnet18 --masks masks --setting level=slic
"""


@app.command("make", epilog=EPILOG)
def make(
    dataset: Annotated[str, typer.Option("--dataset", help="A name of `xaibench ls datasets`.")],
    maker: Annotated[str, typer.Option("--with", metavar="MAKER", help="sam, sam2, slic or annotations.")],
    data_root: Annotated[
        Path | None, typer.Option("--data-root", metavar="DIR", help="The folder with its images.")
    ] = None,
    images: Annotated[
        int | None,
        typer.Option("--images", min=1, help="The number of images, chosen as by `run`.", show_default="all"),
    ] = None,
    image_size: arguments.ImageSize = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The folder for the masks.", show_default="below XAIBENCH_HOME"),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--setting", metavar="KEY=VALUE", help="A setting of the maker, such as min_area=0.005."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="A folder or a name of the Hugging Face Hub.", show_default="the paper's ViT-H"),
    ] = None,
    dataset_option: Annotated[
        list[str] | None, typer.Option("--dataset-option", metavar="KEY=VALUE", help="Such as split=train.")
    ] = None,
    plugin: arguments.Plugins = None,
    cards: arguments.Cards = None,
    download: Annotated[bool, typer.Option("--download", help="Allow the network to be fetched.")] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    chunk_size: Annotated[int, typer.Option("--chunk-size", min=1, help="Points in one pass of the network.")] = 64,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Make masks of everything in the images of a data set, once, for `obey`.

    Masks have the pixels of displayed images, which are the input of a model. Masks below min_area, 1 % of the image,
    are dropped and counted. Masks that the folder has already are not made again: after an interruption the same
    command continues.
    """
    from xaibench.evaluation.resources import choose_device
    from xaibench.masks.make import make_masks
    from xaibench.masks.maker import Tools
    from xaibench.provenance import command_line
    from xaibench.report.text import clean

    made = make_masks(
        maker, dataset=dataset, data_root=data_root, dataset_options=arguments.parse_options(dataset_option),
        settings=arguments.parse_options(setting), images=images, image_size=image_size, out=out,
        plugins=plugin or (), cards=cards or (),
        tools=Tools(model, download, choose_device(device), chunk_size), quiet=quiet, command=command_line(),
    )  # fmt: skip
    count = made.masks
    if made.few:
        typer.echo(f"warning: {clean(dataset)} has {len(count)} images, not the {images} asked for", err=True)
    none = f", {(count == 0).sum()} images without" if (count == 0).any() else ""
    typer.echo(
        f"{len(count)} images: {count.mean():.1f} masks an image ({count.min()} to {count.max()}){none}; "
        f"{made.dropped} below min_area {made.header.settings['min_area']:g} dropped"
    )
    typer.echo(f"{f'made {made.computed} now' if made.computed else 'nothing was missing'}; masks: {clean(made.path)}")
    data = [dataset, *(["--data-root", data_root] if data_root else [])]
    data += [word for option in dataset_option or () for word in ("--dataset-option", option)]
    data += ["--image-size", str(image_size)] if image_size else []
    data += ["--masks", made.path, "--setting", f"level={made.header.maker}"]
    typer.echo(f"use them:  xaibench run obey --model MODEL --dataset {shlex.join(clean(word) for word in data)}")
