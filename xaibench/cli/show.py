"""`xaibench show`: one card in full, the images of a data set, or a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xaibench.cli import arguments
from xaibench.cli.arguments import Cards, Plugins
from xaibench.cli.config_options import command_of, option
from xaibench.cli.gallery_config import GalleryConfig
from xaibench.cli.group import Commands
from xaibench.cli.output import echo

if TYPE_CHECKING:
    from xaibench.cards import Card

app = typer.Typer(
    cls=Commands,
    help="Show one card in full, a data set's images, or a run.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("method", epilog="Example:  xaibench show method ig-u")
def method(
    name: Annotated[str, typer.Argument(help="A name of `xaibench ls methods`.")],
    plugin: Plugins = None,
    cards: Cards = None,
) -> None:
    """Print the card of a method: what it computes, its parameters, its paper."""
    from xaibench import registry
    from xaibench.plugins import add

    add(plugin or (), cards or ())
    _print(registry.card("method", name))


@app.command("model", epilog="Example:  xaibench show model timm:resnet18")
def model(
    name: Annotated[str, typer.Argument(help=arguments.MODEL)],
    image_size: arguments.ImageSize = None,
    plugin: Plugins = None,
    cards: Cards = None,
) -> None:
    """Print the card of a model and, of the built network, parameters, preprocessing, sizes of maps, methods that
    fit."""
    from xaibench.cli.model_text import model_text
    from xaibench.models import clip
    from xaibench.models.open import model_card
    from xaibench.plugins import add

    add(plugin or (), cards or ())
    card = clip.card(name, None) if name.startswith(clip.PREFIX) else model_card(name)
    text = model_text(card, image_size)
    _print(card)
    echo(f"\n{text}")


@app.command("protocol", epilog="Example:  xaibench show protocol idsds")
def protocol(
    name: Annotated[str, typer.Argument(help="A name of `xaibench ls protocols`.")],
    plugin: Plugins = None,
    cards: Cards = None,
) -> None:
    """Print the card of a protocol: what it measures, its settings, the score of an undefined map."""
    from xaibench import registry
    from xaibench.plugins import add

    add(plugin or (), cards or ())
    _print(registry.card("protocol", name))


def _card_command(kind: str, text: str, example: str) -> None:
    """Adds `xaibench show KIND` for a kind of card that has nothing to show besides its fields."""

    @app.command(kind, help=text, epilog=f"Example:  xaibench show {kind} {example}")
    def command(
        name: Annotated[str, typer.Argument(help="A name of `xaibench ls`.")],
        plugin: Plugins = None,
        cards: Cards = None,
    ) -> None:
        from xaibench import registry
        from xaibench.plugins import add

        add(plugin or (), cards or ())
        _print(registry.card(kind, name))


_card_command("loss", "Print the card of a localisation loss of guidance, with its options.", "energy-star")
_card_command("schedule", "Print the card of a schedule of the learning rate, with its options.", "one-cycle")
_card_command("study", "Print the card of a study: runs, printed numbers, claims.", "hesse-table-4")
_card_command("recipe", "Print the fields of a named recipe of training.", "guidance-baseline")


@app.command("dataset", epilog="Example:  xaibench show dataset critters --out critters.png")
def dataset(
    name: Annotated[str, typer.Argument(help="A name of `xaibench ls datasets`.")],
    data_root: Annotated[
        Path | None, typer.Option("--data-root", metavar="DIR", help="The folder with its images.")
    ] = None,
    images: Annotated[int, typer.Option("--images", min=1, help="How many images to draw.")] = 20,
    dataset_option: Annotated[
        list[str] | None, typer.Option("--dataset-option", metavar="KEY=VALUE", help="Such as rule=one:beak.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PNG", help="The contact sheet; by default NAME.png.")
    ] = None,
    plugin: Plugins = None,
    cards: Cards = None,
) -> None:
    """Print the card of a data set, and draw a contact sheet of its first images with boxes and masks."""
    from xaibench import registry
    from xaibench.cli.arguments import parse_options
    from xaibench.datasets.open import open_dataset
    from xaibench.plugins import add
    from xaibench.report.contact_sheet import dataset_sheet, sheet_path

    add(plugin or (), cards or ())
    card = registry.card("dataset", name)
    _print(card)
    if card.needs_root and data_root is None:
        echo("\nno contact sheet: pass the folder with its images by --data-root")
        return
    path = sheet_path(out or Path(f"{name}.png"))
    data = open_dataset(card, data_root, parse_options(dataset_option))
    echo(f"\ncontact sheet: {dataset_sheet(data, name, images, path)}")


RUN_EPILOG = """
\b
Examples:
  # the board computed last, its best methods and the oracle
  xaibench show run results
  xaibench show run results --protocol sds --methods grad-cam,ig,random --images 2 --out gallery.pdf
"""


def show_run(given: dict[str, Any], *, quiet: bool) -> None:
    """A gallery of a run: its best, typical and worst images with the protocol's cells, maps and scores.

    Scores are the stored ones. Maps are those that `xaibench run --keep-maps` stored, or else they are computed again
    with the same weights and settings; if anything has changed, this is an error.
    """
    from xaibench.analysis.boards import boards, short_key
    from xaibench.cli.run_gallery import draw_run
    from xaibench.printing import clean
    from xaibench.results.store import Store

    config = GalleryConfig.parse(given)
    drawn = draw_run(config, quiet)
    board = drawn.shown.board
    echo(clean(f"board {short_key(board, boards(Store.open(config.path)))}: {board.title}"))
    for group, ids in drawn.shown.groups:
        echo(clean(f"{group}: {', '.join(ids)}"))
    echo(f"maps: {'as kept by the run' if drawn.maps.kept else 'made again with the same weights and settings'}")
    echo(clean(f"figure: {drawn.path}"))


QUIET = Annotated[bool, typer.Option("--quiet", help="No progress.")]

app.command("run", epilog=RUN_EPILOG)(command_of(GalleryConfig, show_run, [option("quiet", QUIET, False)]))


def _print(card: Card) -> None:
    """A card as `field: value` lines, empty fields left out."""
    for field, value in card.model_dump(exclude_defaults=True).items():
        lines = isinstance(value, str) and "\n" in value
        echo(f"{field}:\n{arguments.indented(value)}" if lines else f"{field}: {_value(value)}")


def _value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{k} = {_value(v) if not isinstance(v, dict) else '{' + _value(v) + '}'}" for k, v in value.items()
        )
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)
