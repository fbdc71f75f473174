"""What the verbs of `xaibench train` share: their options, and what is said when a training is done."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from xaibench.cli import arguments
from xaibench.cli.arguments import Cards, Plugins

if TYPE_CHECKING:
    from xaibench.cards import Alignment
    from xaibench.training.api import Training
    from xaibench.training.task import Task

JUDGES = {"lico": "ses,sch", "cgc": "ses,sch"}  # protocols that the paper of a way of training asks; ObEy by default

app = typer.Typer(help="Train or fine-tune a model.", no_args_is_help=True, rich_markup_mode=None)


@dataclass(frozen=True)
class _Training:
    """The options of every training; each verb adds its own."""

    model: Annotated[str, typer.Option("--model", help=arguments.MODEL)]
    dataset: Annotated[str, typer.Option("--dataset", help="A name of `xaibench ls datasets`.")]
    data_root: Annotated[
        Path | None, typer.Option("--data-root", metavar="DIR", help="The folder with its images, in train/ and val/.")
    ] = None
    image_size: arguments.ImageSize = None
    weights: Annotated[str, typer.Option("--weights", metavar="plain|PATH", help="Where a fine-tuning starts.")] = (
        "plain"
    )
    download: Annotated[bool, typer.Option("--download", help="Allow published weights to be fetched.")] = False
    epochs: Annotated[int | None, typer.Option("--epochs", help="By default what the recipe says.")] = None
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="By default what the recipe says.")] = (
        None
    )
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="Images per step; by default what the recipe says.")
    ] = None
    recipe: Annotated[
        list[str] | None, typer.Option("--recipe", metavar="KEY=VALUE", help="Any other field, such as weight_decay=0.")
    ] = None
    dataset_option: Annotated[
        list[str] | None, typer.Option("--dataset-option", metavar="KEY=VALUE", help="Such as rule=one:beak.")
    ] = None
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, ...")] = "auto"
    precision: Annotated[str, typer.Option("--precision", help="float32, bfloat16 or float16.")] = "float32"
    workers: Annotated[str, typer.Option("--workers", metavar="auto|N", help="Processes that load images.")] = "auto"
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of initial weights, order and augmentation.")] = 0
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Makes it a model: xaibench run epg --model NAME.")
    ] = None
    plugin: Plugins = None
    cards: Cards = None
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False

    def changes(self) -> dict[str, Any]:
        """The fields of the recipe that are given."""
        named = {"epochs": self.epochs, "learning_rate": self.learning_rate, "batch_size": self.batch_size}
        return {k: v for k, v in named.items() if v is not None} | arguments.parse_options(self.recipe)

    def data_words(self) -> str:
        """The options that name the same images to `xaibench run`."""
        data = f"--dataset {self.dataset}{f' --data-root {self.data_root}' if self.data_root else ''}"
        data += f" --image-size {self.image_size}" if self.image_size else ""
        return data + "".join(f" --dataset-option {option}" for option in self.dataset_option or ())

    def run(self, purpose: Task | Alignment | None) -> None:
        """Trains, and says where the weights are and what judges them."""
        from xaibench.cards import Alignment
        from xaibench.evaluation.resources import choose_device, choose_workers
        from xaibench.training.api import plan_training
        from xaibench.training.named import check_name, name_training
        from xaibench.training.processes import first_process

        alignment = purpose if isinstance(purpose, Alignment) else None
        device = choose_device(self.device)
        training = plan_training(
            self.model, self.dataset, alignment, data_root=self.data_root,
            options=arguments.parse_options(self.dataset_option), changes=self.changes(), weights=self.weights,
            download=self.download, seed=self.seed, image_size=self.image_size,
            task=None if alignment else purpose,
        )  # fmt: skip
        if self.name is not None:
            check_name(self.name, training.path)  # before hours are spent
        path = training.run(
            workers=choose_workers(self.workers, device), device=device, precision=self.precision, quiet=self.quiet
        )
        if not first_process():
            return
        typer.echo(f"{_outcome(path)}; weights: {path}")
        if self.name is not None:
            typer.echo(f"model {self.name}: {name_training(self.name, training)}")
        data = self.data_words()
        protocol, settings = _judged_by(training)
        model = (
            f"--model {self.name} {data}" if self.name is not None else f"--model {self.model} {data} --weights {path}"
        )
        typer.echo(f"judge it:  xaibench run {protocol} {model}{settings}")


def verb(
    name: str, epilog: str, carry_out: Callable[[_Training, Any], None] | None = None
) -> Callable[[Callable], Callable]:
    """Makes a verb of `xaibench train` of a function that turns the verb's own options into what is trained for.

    That is a task, the deletions of an alignment, or None for classification on intact images. The options of every
    training stand around them; the function's text is the verb's help. carry_out does otherwise than one training with
    the options and what the function returned.
    """

    def register(own: Callable[..., Task | Alignment | None]) -> Callable:
        own.__annotations__.pop("return", None)  # a name that is imported only when the verb is called
        hints = get_type_hints(_Training, include_extras=True) | get_type_hints(own, include_extras=True)
        mine, shared = inspect.signature(own).parameters, inspect.signature(_Training).parameters
        first = [shared[key] for key in ("model", "dataset", "data_root")]
        rest = [parameter for key, parameter in shared.items() if parameter not in first]
        asked = [parameter.replace(annotation=hints[parameter.name]) for parameter in (*first, *mine.values(), *rest)]

        def command(**given: Any) -> None:
            from xaibench.plugins import add

            add(given["plugin"] or (), given["cards"] or ())  # first: a plug-in may define what `own` looks up
            purpose = own(**{key: given.pop(key) for key in mine})
            (carry_out or _Training.run)(_Training(**given), purpose)

        command.__signature__ = inspect.Signature(sorted(asked, key=lambda p: p.default is not p.empty))
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in asked}
        command.__doc__ = own.__doc__
        app.command(name, epilog=epilog)(command)
        return own

    return register


def _outcome(path: Path) -> str:
    """The metric that chose the epoch that was kept, and the time that an epoch took."""
    import pyarrow.parquet as pq

    from xaibench.models.state import read_header

    header, table = read_header(path), path.with_name("metrics.parquet")
    monitor = header.get("monitor", "accuracy")
    names = [monitor, *(name for name in ("accuracy", "f1") if name != monitor and name in header["metrics"])][:2]
    words = ", ".join(_shown(name, header["metrics"][name]) for name in names)
    if not table.is_file():
        return words
    seconds = pq.read_table(table, columns=["seconds"])["seconds"].to_pylist()
    return f"{words}; {sum(seconds) / len(seconds):.1f} s an epoch"


def _shown(metric: str, value: float) -> str:
    """Such as `validation robust accuracy 95.7%`, `validation F1 0.512`, `accuracy on learnt images 100.0%`."""
    words = metric.removeprefix("learnt_").replace("_", " ").replace("f1", "F1")
    where = f"{words} on learnt images" if metric.startswith("learnt_") else f"validation {words}"
    return f"{where} {f'{value:.1%}' if metric.endswith('accuracy') else f'{value:.3f}'}"


def _judged_by(training: Training) -> tuple[str, str]:
    """The protocol that weights are made for, and the options that it needs for them."""
    alignment = training.alignment
    if training.task:
        return JUDGES.get(training.task.name, "obey") if "masks" in training.dataset.tags else "sds", ""
    if alignment is None:
        return "sds", ""
    if alignment.kind == "parts":
        return "part-deletion", ""
    if alignment.kind == "pixels":
        return "f-fidelity", f" --baseline {alignment.baseline} --setting beta={alignment.probability:g}"
    return "idsds", f" --grid {alignment.grid} --baseline {alignment.baseline}"
