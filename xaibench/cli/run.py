"""`xaibench run`: evaluate attribution methods on a model."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xaibench.cli import arguments

if TYPE_CHECKING:
    from xaibench.evaluation.api import Results

EPILOG = """
\b
Examples:
  # the embedded data set, nothing to download; then more images
  xaibench run idsds --model resnet50
  xaibench run idsds --model resnet50 --images 64
  # your weights, ImageNet photos
  xaibench run sds --model squeezenet1_0 --weights my.safetensors \\
      --dataset imagenet --data-root ILSVRC2012 --images 50
  # any folder of class folders, some methods
  xaibench run sds --model resnet18 --weights my.pth \\
      --dataset imagefolder --data-root photos --methods grad-cam,ig
  # a method of your own on any timm CNN
  xaibench run idsds --model timm:resnet26d \\
      --methods grad-cam,my-method --plugin my_method.py
  # a network of your own with its weights; every method there is
  xaibench run sds --model my_models.py:make --methods all \\
      --dataset imagefolder --data-root photos --target prediction
  # several models, and the board that compares them
  xaibench run idsds --model 'resnet18,vit_tiny*,bcos_resnet18'
  xaibench leaderboard idsds --by model
  # two models: what fine-tuning on deletions changed
  xaibench run model-similarity --model resnet18 --weights aligned \\
      --reference-weights plain
"""


def command(
    protocols: Annotated[str, typer.Argument(metavar="PROTOCOL[,PROTOCOL]", help="Names of `xaibench ls protocols`.")],
    model: Annotated[
        str, typer.Option("--model", metavar="MODEL[,MODEL]", help=f"{arguments.MODEL} Several, or 'resnet*'.")
    ],
    dataset: Annotated[str, typer.Option("--dataset", help="A name of `xaibench ls datasets`.")] = "critters",
    data_root: Annotated[
        Path | None, typer.Option("--data-root", metavar="DIR", help="The folder with its images.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="aligned|plain|PATH", help="By default what the protocol asks for."),
    ] = None,
    reference_model: Annotated[
        str | None,
        typer.Option(
            "--reference-model", help="The second model, where a protocol compares two.", show_default="--model"
        ),
    ] = None,
    reference_weights: Annotated[
        str | None,
        typer.Option(
            "--reference-weights", metavar="aligned|plain|PATH", help="Of the second model.", show_default="plain"
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option("--masks", metavar="PATH", help="Masks of `xaibench masks make`: one more level of objects."),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option("--methods", metavar="NAME,...", help="Or `all`; by default the paper's list and the controls."),
    ] = None,
    layer: arguments.Layer = None,
    images: Annotated[
        int | None, typer.Option("--images", min=1, help="How many; by default what the profile says.")
    ] = None,
    image_size: arguments.ImageSize = None,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile", help="`paper`: the papers' parameters; the data set's card may have a lighter default."
        ),
    ] = None,
    grid: Annotated[int | None, typer.Option("--grid", help="Cells a side: 2, 4 or 8.", show_default="4")] = None,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", help="What replaces deleted cells: zero, random or blur.", show_default="zero"),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="What is explained: label or prediction.", show_default="label")
    ] = None,
    attribution_output: Annotated[
        str | None, typer.Option("--attribution-output", help="logit or probability.", show_default="logit")
    ] = None,
    drop_output: Annotated[
        str | None, typer.Option("--drop-output", help="logit or probability.", show_default="logit")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The results folder.")] = Path("results"),
    training_seed: Annotated[
        int | None,
        typer.Option("--training-seed", min=0, help="Of weights that a run trains itself.", show_default="0"),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option("--recipe", metavar="KEY=VALUE", help="Train them otherwise, such as epochs=4."),
    ] = None,
    dataset_option: Annotated[
        list[str] | None, typer.Option("--dataset-option", metavar="KEY=VALUE", help="Such as rule=one:beak.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--setting", metavar="KEY=VALUE", help="Any setting of `xaibench show protocol NAME`."),
    ] = None,
    plugin: arguments.Plugins = None,
    cards: arguments.Cards = None,
    download: Annotated[bool, typer.Option("--download", help="Allow published weights to be fetched.")] = False,
    keep_maps: Annotated[bool, typer.Option("--keep-maps", help="Also keep the attribution maps.")] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    precision: Annotated[str, typer.Option("--precision", help="float32, float64, bfloat16 or float16.")] = "float32",
    batch_size: Annotated[
        str, typer.Option("--batch-size", metavar="auto|N", help="Images that are worked on together.")
    ] = "auto",
    chunk_size: Annotated[
        str, typer.Option("--chunk-size", metavar="auto|N", help="Inputs in one pass of the network.")
    ] = "auto",
    workers: Annotated[str, typer.Option("--workers", metavar="auto|N", help="Processes that load images.")] = "auto",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of noise, masks and baselines.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Evaluate attribution methods on a model and print the ranked board.

    On the embedded data set the model is trained first, once. Everything computed is stored in --out, and never
    computed again: the same command after an interruption goes on where it stopped.
    """
    from xaibench.cli.several import expand, run_each
    from xaibench.provenance import command_line

    settings = {
        "grid": grid, "baseline": baseline, "target": target, "attribution_output": attribution_output,
        "drop_output": drop_output,
    }  # fmt: skip
    run_each(
        arguments.parse_names(protocols), expand(model, plugin or (), cards or ()), report, dataset=dataset,
        data_root=data_root, images=images, image_size=image_size, methods=arguments.parse_names(methods), profile=profile,
        weights=weights, out=out, device=device, reference_model=reference_model,
        reference_weights=reference_weights, masks=masks, layer=layer, training_seed=training_seed,
        recipe=arguments.parse_options(recipe),
        settings={k: v for k, v in settings.items() if v is not None} | arguments.parse_options(setting),
        dataset_options=arguments.parse_options(dataset_option), precision=precision, batch_size=batch_size,
        chunk_size=chunk_size, workers=workers, seed=seed, keep_maps=keep_maps, download=download,
        plugins=plugin or (), cards=cards or (), quiet=quiet, command=command_line(),
    )  # fmt: skip


def report(results: Results) -> None:
    """Prints the boards of a run, draws them into its results folder, and lists what was skipped."""
    from xaibench.files import make_folder
    from xaibench.report.board_figure import board_figure
    from xaibench.report.pages import page_of
    from xaibench.report.text import clean

    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else None
    manifest = results.manifest
    for protocol in results.boards:
        board = results.leaderboard(protocol)
        typer.echo(page_of(board).to_text(width, colour=terminal) + "\n")
        for note in board.notes[1:]:
            typer.echo(clean(note))
        if board.table["mean"].notna().any():  # MOSU has no score where no image has two instances
            make_folder(results.path / "figures")
            typer.echo(f"figure: {board_figure(board, results.path / 'figures' / f'{protocol}-{board.board}.png')}")
    if manifest.training:
        metrics, images = manifest.training["metrics"], manifest.training["validation"].get("count")
        unseen = f"{images} unseen images" if images else "the validation images"
        measured = f"accuracy {metrics['accuracy']:.1%}" if "accuracy" in metrics else f"F1 {metrics['f1']:.3f}"
        typer.echo(f"model: trained by xaibench, {measured} on {unseen}")
    for name, reason in manifest.skipped.items():
        typer.echo(f"skipped: {clean(name)} {clean(reason)}")
    for warning in manifest.warnings:
        typer.echo(f"warning: {clean(warning)}", err=True)
    cost = f", {manifest.forward_equivalents:.0f} forward-equivalents an image" if manifest.forward_equivalents else ""
    work = (
        f"computed {results.computed} images in {manifest.seconds:.0f} s{cost}"
        if results.computed
        else "nothing was missing"
    )
    typer.echo(f"{work}; results: {results.path}")
