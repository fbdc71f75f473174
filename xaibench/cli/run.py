"""`xaibench run`: evaluate attribution methods on a model."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xaibench.cli.config_options import ConfigFile, PrintConfig, command_of, merged, option
from xaibench.cli.output import echo
from xaibench.errors import XaibenchError
from xaibench.evaluation.config import RunConfig
from xaibench.printing import clean

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
  # CLIP as a zero-shot classifier of the classes in a text file
  xaibench run sds --model clip:ViT-B-32 --classes-file names.txt \\
      --dataset imagefolder --data-root photos --download
  # several models, and the board that compares them
  xaibench run idsds --model 'resnet18,vit_tiny*,bcos_resnet18'
  xaibench leaderboard idsds --by model
  # one setting for one protocol; the same run from a file
  xaibench run sds,idsds --model resnet18 --setting sds.grid=2
  xaibench run sds,idsds --model resnet18 --setting sds.grid=2 --print-config > run.toml
  xaibench run --config run.toml --images 64
  # two processes, or two machines with one folder, share a run
  xaibench run sds --model resnet18 --images 64 --shard 1/2 &
  xaibench run sds --model resnet18 --images 64 --shard 2/2
  # all cores of this machine, by Ray; two tasks on each GPU of a cluster
  xaibench run sds --model resnet18 --images 64 --engine ray
  xaibench run sds --model resnet18 --images 64 --engine ray --address 10.0.0.1:6379 --gpus-per-task .5
  # as many of 512 images as it takes to know the three best, with 95 % confidence
  xaibench run sds --model resnet18 --images 512 --until-stable top-3
  # what it would take: passes, time, memory and disk, from a few timed batches; nothing is stored
  xaibench run idsds --model resnet50 --profile paper --dry-run
  # where the time goes: two batches, for https://ui.perfetto.dev
  xaibench run sds --model resnet18 --profile-trace trace.json.gz
  # two models: what fine-tuning on deletions changed
  xaibench run model-similarity --model resnet18 --weights aligned \\
      --reference-weights plain
"""


SHORT = {
    "grid": (int | None, "Cells a side: 2, 4 or 8."),
    "baseline": (str | None, "What replaces deleted cells: zero, random or blur."),
    "target": (str | None, "What is explained: label or prediction."),
    "attribution_output": (str | None, "logit or probability."),
    "drop_output": (str | None, "logit or probability."),
}
"""Settings that have an option of their own: short forms of `--setting NAME=VALUE`."""

DRY_RUN = "Time a few batches, print what the run would take (passes, time, memory, disk), and store nothing."
TRACE = "Profile two batches into a Chrome trace, for https://ui.perfetto.dev."


def run(
    given: dict[str, Any],
    *,
    config: Path | None,
    print_config: bool,
    quiet: bool,
    dry_run: bool,
    profile_trace: Path | None,
    **short: Any,
) -> None:
    """Evaluate attribution methods on a model and print the ranked board.

    On the embedded data set the model is trained first, once. Everything computed is stored in --out, and never
    computed again: the same command after an interruption goes on where it stopped.
    """
    fields = merged(RunConfig, config, with_short_forms(given, short))
    for name, what in (("protocols", "PROTOCOL, a name of `xaibench ls protocols`"), ("model", "--model")):
        if not fields.get(name):
            raise XaibenchError(f"missing {what}; see `xaibench run --help`")
    request = RunConfig.parse(fields)
    if print_config:
        echo(request.to_toml(), nl=False)
        return
    from xaibench.cli.several import do_each, expand, of_model, run_each
    from xaibench.provenance import command_line

    models = expand(request.model, request.plugins, request.cards)
    if dry_run:
        from xaibench.cli.dry_run import print_estimate
        from xaibench.evaluation.estimate import estimate_config

        if profile_trace:
            raise XaibenchError("--dry-run and --profile-trace: a dry run is no run; leave out one")
        do_each(models, lambda model: print_estimate(estimate_config(of_model(request, model))))
        return
    if profile_trace:
        from xaibench.evaluation.trace import check_trace

        check_trace(profile_trace)
        if len(models) > 1:
            raise XaibenchError(f"--profile-trace is of one run, not of {len(models)} models; name one")
    command = command_line() if config is None else None  # a file may change; then the record has the options
    run_each(request, models, report, quiet=quiet, command=command, trace=profile_trace)


def with_short_forms(given: dict[str, Any], short: dict[str, Any]) -> dict[str, Any]:
    """What was given, with the short forms among the settings; raises XaibenchError where the two disagree."""
    settings = dict(given.get("settings", {}))
    for name, value in short.items():
        if value is None:
            continue
        if name in settings and settings[name] != value:
            flag = f"--{name.replace('_', '-')}"
            raise XaibenchError(f"{flag} {value} and --setting {name}={settings[name]} disagree; leave one out")
        settings[name] = value
    return given | ({"settings": settings} if settings else {})


command = command_of(
    RunConfig,
    run,
    [
        option("config", ConfigFile),
        option("print_config", PrintConfig, False),
        *(
            option(
                name,
                Annotated[kind, typer.Option(f"--{name.replace('_', '-')}", help=f"{text}  [default: the card's]")],
            )
            for name, (kind, text) in SHORT.items()
        ),
        option("quiet", Annotated[bool, typer.Option("--quiet", help="No progress.")], False),
        option("dry_run", Annotated[bool, typer.Option("--dry-run", help=DRY_RUN)], False),
        option("profile_trace", Annotated[Path | None, typer.Option(metavar="FILE.json[.gz]", help=TRACE)]),
    ],
)


def report(results: Results) -> None:
    """Prints the boards of a run, draws them into its results folder, and lists what was skipped."""
    from xaibench.files import file_name, make_folder
    from xaibench.report.board_figure import board_figure
    from xaibench.report.pages import page_of
    from xaibench.report.settlement import conclusions

    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else None
    manifest = results.manifest
    for protocol in results.boards:
        board = results.leaderboard(protocol)
        echo(page_of(board).to_text(width, colour=terminal) + "\n", coloured=True)
        for note in board.notes[1:]:
            echo(clean(note))
        if board.table["mean"].notna().any():  # MOSU has no score where no image has two instances
            make_folder(results.path / "figures")
            echo(
                f"figure: {board_figure(board, results.path / 'figures' / f'{file_name(protocol)}-{board.board}.png')}"
            )
    for line in conclusions(manifest.stop) if manifest.stop else ():
        echo(clean(line))
    if manifest.training:
        echo(f"model: {_training_line(manifest.training)}")
    for name, reason in manifest.skipped.items():
        echo(f"skipped: {clean(name)} {clean(reason)}")
    for warning in [line for line in manifest.warnings if line not in results.announced]:
        echo(f"warning: {clean(warning)}", err=True)
    if manifest.status == "partial":
        echo(f"other parts of the images are missing: xaibench status --out {shlex.quote(str(results.path))}")
    cost = f", {manifest.forward_equivalents:.0f} forward-equivalents an image" if manifest.forward_equivalents else ""
    work = (
        f"computed {results.computed} images in {manifest.seconds:.0f} s{cost}"
        if results.computed
        else "nothing was missing"
    )
    echo(f"{work}; results: {results.path}")


def _training_line(training: dict[str, Any]) -> str:
    """How a model was trained here and how well, from the header of its weights."""
    metrics, images = training["metrics"], training["validation"].get("count")
    if learnt := training.get("unlabelled"):
        number, same = training["alignment"]["images"], metrics["agreement_deleted"]
        return (
            f"aligned without labels on {number} images of {clean(learnt['from'])}; its answer stays the same for "
            f"{same:.1%} of them without a cell"
        )
    unseen = f"{images} unseen images" if images else "the validation images"
    measured = f"accuracy {metrics['accuracy']:.1%}" if "accuracy" in metrics else f"F1 {metrics['f1']:.3f}"
    return f"trained by xaibench, {measured} on {unseen}"
