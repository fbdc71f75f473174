"""`xaibench train`: make weights that the protocols can judge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from xaibench.cli import words
from xaibench.cli.words import Cards, Plugins

if TYPE_CHECKING:
    from xaibench.cards import Alignment

app = typer.Typer(help="Train or fine-tune a model.", no_args_is_help=True, rich_markup_mode=None)

Model = Annotated[str, typer.Option("--model", help=words.MODEL)]
Dataset = Annotated[str, typer.Option("--dataset", help="A name of `xaibench ls datasets`.")]
Root = Annotated[
    Path | None, typer.Option("--data-root", metavar="DIR", help="The folder with its images, in train/ and val/.")
]
Options = Annotated[
    list[str] | None, typer.Option("--dataset-option", metavar="KEY=VALUE", help="Such as rule=one:beak.")
]
Weights = Annotated[str, typer.Option("--weights", metavar="plain|PATH", help="Where a fine-tuning starts.")]
Download = Annotated[bool, typer.Option("--download", help="Allow published weights to be fetched.")]
Epochs = Annotated[int | None, typer.Option("--epochs", help="By default what the recipe says.")]
Rate = Annotated[float | None, typer.Option("--learning-rate", help="By default what the recipe says.")]
Batch = Annotated[int | None, typer.Option("--batch-size", help="Images per step; by default what the recipe says.")]
Recipe = Annotated[
    list[str] | None, typer.Option("--recipe", metavar="KEY=VALUE", help="Any other field, such as weight_decay=0.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, ...")]
Precision = Annotated[str, typer.Option("--precision", help="float32, bfloat16 or float16.")]
Workers = Annotated[str, typer.Option("--workers", metavar="auto|N", help="Processes that load images.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of initial weights, order and augmentation.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]

PATCH_EPILOG = """
\b
Examples:
  xaibench train patch-deletion --model resnet50 --dataset imagenet --data-root ILSVRC2012 --download
  xaibench train patch-deletion --model resnet18 --dataset critters --grid 8
  xaibench train patch-deletion --model my_models.py:make --dataset critters
"""
CLASSIFIER_EPILOG = """
\b
Examples:
  xaibench train classifier --model resnet18 --dataset critters
  xaibench train classifier --model resnet18 --dataset imagefolder --data-root photos --recipe start=scratch
"""


@app.command("patch-deletion", epilog=PATCH_EPILOG)
def patch_deletion(
    model: Model, dataset: Dataset, data_root: Root = None,
    grid: Annotated[int, typer.Option("--grid", min=2, help="Cells a side.")] = 4,
    baseline: Annotated[str, typer.Option("--baseline", help="zero, random or blur.")] = "zero",
    probability: Annotated[float, typer.Option("--probability", help="Share of images that lose a cell.")] = 0.5,
    weights: Weights = "plain", download: Download = False, epochs: Epochs = None, learning_rate: Rate = None,
    batch_size: Batch = None, recipe: Recipe = None, dataset_option: Options = None, device: Device = "auto",
    precision: Precision = "float32", workers: Workers = "auto", seed: Seed = 0, plugin: Plugins = None,
    cards: Cards = None, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Fine-tune on images of which half have lost one cell, so that IDSDS can judge the model.

    The recipe is the paper's (30 epochs of SGD from the plain weights), or that of the data set's card. A checkpoint is
    written after each epoch: the same command after an interruption goes on from there.
    """
    from pydantic import ValidationError

    from xaibench.cards import Alignment
    from xaibench.errors import XaibenchError

    try:
        alignment = Alignment(grid=grid, baseline=baseline, probability=probability)
    except ValidationError as error:
        first = error.errors()[0]
        raise XaibenchError(f"--{first['loc'][0]}: {first['msg']}") from None
    plan = _Plan(
        model, dataset, data_root, weights, download, epochs, learning_rate, batch_size, recipe, dataset_option,
        plugin, cards,
    )  # fmt: skip
    _train(plan, alignment, device, precision, workers, seed, quiet)


@app.command("classifier", epilog=CLASSIFIER_EPILOG)
def classifier(
    model: Model, dataset: Dataset, data_root: Root = None, weights: Weights = "plain", download: Download = False,
    epochs: Epochs = None, learning_rate: Rate = None, batch_size: Batch = None, recipe: Recipe = None,
    dataset_option: Options = None, device: Device = "auto", precision: Precision = "float32",
    workers: Workers = "auto", seed: Seed = 0, plugin: Plugins = None, cards: Cards = None, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Train on intact images: what SDS judges, and where a fine-tuning starts."""
    plan = _Plan(
        model, dataset, data_root, weights, download, epochs, learning_rate, batch_size, recipe, dataset_option,
        plugin, cards,
    )  # fmt: skip
    _train(plan, None, device, precision, workers, seed, quiet)


class _Plan(NamedTuple):
    """What the options say of a training, whatever it is for."""

    model: str
    dataset: str
    data_root: Path | None
    weights: str
    download: bool
    epochs: int | None
    learning_rate: float | None
    batch_size: int | None
    recipe: list[str] | None
    dataset_option: list[str] | None
    plugin: list[Path] | None
    cards: list[Path] | None

    def changes(self) -> dict[str, Any]:
        """The fields of the recipe that are given."""
        named = {"epochs": self.epochs, "learning_rate": self.learning_rate, "batch_size": self.batch_size}
        return {k: v for k, v in named.items() if v is not None} | words.parse_options(self.recipe)


def _train(
    plan: _Plan, alignment: Alignment | None, device: str, precision: str, workers: str, seed: int, quiet: bool
) -> None:
    from xaibench.engine.budget import choose_device, choose_workers
    from xaibench.models.state import read_header
    from xaibench.plugins import add
    from xaibench.training.api import plan_training

    add(plan.plugin or (), plan.cards or ())
    device = choose_device(device)
    training = plan_training(
        plan.model, plan.dataset, alignment, data_root=plan.data_root, options=words.parse_options(plan.dataset_option),
        changes=plan.changes(), weights=plan.weights, download=plan.download, seed=seed,
    )  # fmt: skip
    path = training.carry_out(workers=choose_workers(workers, device), device=device, precision=precision, quiet=quiet)
    typer.echo(f"validation accuracy {read_header(path)['metrics']['accuracy']:.1%}; weights: {path}")
    protocol, root = "idsds" if alignment else "sds", f" --data-root {plan.data_root}" if plan.data_root else ""
    grid = f" --grid {alignment.grid} --baseline {alignment.baseline}" if alignment else ""
    typer.echo(
        f"judge it:  xaibench run {protocol} --model {plan.model} --dataset {plan.dataset}{root} --weights {path}{grid}"
    )
