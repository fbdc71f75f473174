"""`xaibench show`: one card in full, and what can be looked at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from xaibench.cards import Card

app = typer.Typer(help="Show a method, model, data set or protocol.", no_args_is_help=True, rich_markup_mode=None)


@app.command("method", epilog="Example:  xaibench show method ig-u")
def method(name: Annotated[str, typer.Argument(help="A name of `xaibench ls methods`.")]) -> None:
    """What a method computes, with which parameters, and where it was published."""
    from xaibench import registry

    _print(registry.card("method", name))


@app.command("model", epilog="Example:  xaibench show model timm:resnet18")
def model(name: Annotated[str, typer.Argument(help="A name of `xaibench ls models`, or timm:NAME.")]) -> None:
    """A model's builder, encoding, CAM layer and published weights."""
    from xaibench.models.open import model_card

    _print(model_card(name))


@app.command("protocol", epilog="Example:  xaibench show protocol idsds")
def protocol(name: Annotated[str, typer.Argument(help="A name of `xaibench ls protocols`.")]) -> None:
    """What a protocol measures, its settings, and what an undefined map costs."""
    from xaibench import registry

    _print(registry.card("protocol", name))


@app.command("dataset", epilog="Example:  xaibench show dataset critters --out critters.png")
def dataset(
    name: Annotated[str, typer.Argument(help="A name of `xaibench ls datasets`.")],
    data_root: Annotated[
        Path | None, typer.Option("--data-root", metavar="DIR", help="The folder with its images.")
    ] = None,
    images: Annotated[int, typer.Option("--images", min=1, help="How many images to draw.")] = 20,
    option: Annotated[
        list[str] | None, typer.Option("--dataset-option", metavar="KEY=VALUE", help="Such as rule=one:beak.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PNG", help="Where to draw it; by default NAME.png.")
    ] = None,
) -> None:
    """A data set's card, and a contact sheet of its first images with boxes and masks drawn on them."""
    from xaibench import registry
    from xaibench.cli.words import parse_options
    from xaibench.datasets.open import open_dataset
    from xaibench.report.contact_sheet import contact_sheet

    card = registry.card("dataset", name)
    _print(card)
    if card.needs_root and data_root is None:
        typer.echo("\nno contact sheet: name the folder with its images by --data-root")
        return
    data = open_dataset(card, data_root, parse_options(option))
    ids = data.image_list(images)
    annotate = getattr(data, "annotate", lambda image_id: None)
    path = out or Path(f"{name}.png")
    title = f"{name}: {len(ids)} of {len(data.ids)} images"
    contact_sheet([data.load(i) for i in ids], [annotate(i) for i in ids], data.classes, title, path)
    typer.echo(f"\ncontact sheet: {path}")


def _print(card: Card) -> None:
    """A card as `field: value` lines, empty fields left out."""
    for field, value in card.model_dump(exclude_defaults=True).items():
        typer.echo(f"{field}: {_value(value)}")


def _value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{k} = {_value(v) if not isinstance(v, dict) else '{' + _value(v) + '}'}" for k, v in value.items()
        )
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)
