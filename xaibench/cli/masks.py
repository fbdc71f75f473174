"""`xaibench masks`: masks of all objects, for data sets without annotations."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xaibench.cli.config_options import command_of, option
from xaibench.cli.group import Commands
from xaibench.cli.output import echo
from xaibench.errors import XaibenchError
from xaibench.evaluation.config import RunConfig
from xaibench.masks.config import MasksConfig

app = typer.Typer(cls=Commands, help="Make masks of all objects.", no_args_is_help=True, rich_markup_mode=None)

EPILOG = """
\b
Examples:
  # Segment Anything, as in ObEy
  xaibench masks make --dataset imagenet --data-root ILSVRC2012 \\
      --with sam --images 1000 --download
  # superpixels: no download; they are not objects
  xaibench masks make --dataset critters --with slic --images 32 --out masks
  xaibench run obey --model resnet18 --masks masks --setting level=slic
"""


def make(given: dict[str, Any], *, quiet: bool) -> None:
    """Make masks of everything in the images of a data set, once, for `obey`.

    Masks have the pixels of displayed images, which are the input of a model. Masks below min_area, 1 % of the image,
    are dropped and counted. Masks that the folder has already are not made again: after an interruption the same
    command continues.
    """
    from xaibench.evaluation.resources import choose_device
    from xaibench.masks.make import make_masks_of
    from xaibench.masks.maker import Tools
    from xaibench.printing import clean
    from xaibench.provenance import command_line

    for name, flag in (("dataset", "--dataset"), ("maker", "--with")):
        if name not in given:
            raise XaibenchError(f"missing {flag}; see `xaibench masks make --help`")
    config = MasksConfig.parse(given)
    tools = Tools(config.model, config.download, choose_device(config.device), config.chunk_size)
    made = make_masks_of(config, tools, quiet=quiet, command=command_line())
    count = made.masks
    if made.few:
        there = f"{clean(config.dataset)} has {len(count)} images, not the {config.images} asked for"
        echo(f"warning: {there}", err=True)
    none = f", {(count == 0).sum()} images without" if (count == 0).any() else ""
    echo(
        f"{len(count)} images: {count.mean():.1f} masks an image ({count.min()} to {count.max()}){none}; "
        f"{made.dropped} below min_area {made.header.settings['min_area']:g} dropped"
    )
    echo(f"{f'made {made.computed} now' if made.computed else 'nothing was missing'}; masks: {clean(made.path)}")
    use = RunConfig(
        protocols=("obey",), model="MODEL", dataset=config.dataset, data_root=config.data_root,
        dataset_options=config.dataset_options, image_size=config.image_size, masks=made.path,
        settings={"level": made.header.maker},
    )  # fmt: skip
    echo(f"use them:  {clean(use.to_command('run'))}")


QUIET = Annotated[bool, typer.Option("--quiet", help="No progress.")]

app.command("make", epilog=EPILOG)(command_of(MasksConfig, make, [option("quiet", QUIET, False)]))
