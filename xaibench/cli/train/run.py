"""One training by its request, and what is printed when it is done."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from xaibench.cli.output import echo
from xaibench.training.config import TrainingConfig

if TYPE_CHECKING:
    from xaibench.training.api import Training

PROTOCOLS = {"lico": "ses,sch", "cgc": "ses,sch"}
"""The protocols of the paper of a task; ObEy for other tasks, where the data set has masks."""


def run(config: TrainingConfig, quiet: bool) -> None:
    """Trains, prints where the weights are and how they can be evaluated."""
    from xaibench.evaluation.resources import training_resources
    from xaibench.models.state import read_header
    from xaibench.plugins import add
    from xaibench.ranks import first_process
    from xaibench.training import api
    from xaibench.training.named import check_name, name_training
    from xaibench.training.unlabelled import lost_answers

    add(config.plugins, config.cards)
    resources = training_resources(config.device, config.workers, quiet, config.precision)
    training = api.plan_training(config)
    if config.name is not None:
        check_name(config.name, training.path)  # before hours are spent
    if config.task == "lico" and first_process():
        echo(f"text encoder: {training.task.text.description}")
    path = training.run(resources=resources)
    if not first_process():
        return
    echo(f"{_outcome(path)}; weights: {path}")
    if lost := lost_answers(read_header(path)):
        echo(f"warning: {lost}", err=True)
    if config.name is not None:
        echo(f"model {config.name}: {name_training(config.name, training)}")
    protocol, settings = _evaluated_by(training)
    echo(f"judge it:  xaibench run {protocol} {model_and_data(config, path)}{settings}")


def model_and_data(config: TrainingConfig, weights: Path) -> str:
    """The options that name the trained model and the same images to `xaibench run`."""
    names = ("dataset", "data_root", "image_size", "dataset_options")
    same = TrainingConfig(model=config.name or config.model, **{name: getattr(config, name) for name in names})
    return shlex.join([*same.to_arguments(), *([] if config.name else ["--weights", str(weights)])])


def _outcome(path: Path) -> str:
    """The metric that chose the epoch that was kept, and the time that an epoch took."""
    import pyarrow.parquet as pq

    from xaibench.models.state import read_header
    from xaibench.training.task import LAST

    header, table = read_header(path), path.with_name("metrics.parquet")
    monitor = header.get("monitor", "accuracy")
    names = [monitor, *(name for name in ("accuracy", "f1") if name != monitor and name in header["metrics"])][:2]
    if monitor == LAST:
        names = ["agreement", "agreement_deleted"]
    text = ", ".join(_shown(name, header["metrics"][name]) for name in names)
    if not table.is_file():
        return text
    seconds = pq.read_table(table, columns=["seconds"])["seconds"].to_pylist()
    return f"{text}; {sum(seconds) / len(seconds):.1f} s an epoch"


def _shown(metric: str, value: float) -> str:
    """Such as `validation robust accuracy 95.7%`, `validation F1 0.512`, `accuracy on learnt images 100.0%`."""
    if metric.startswith("agreement"):
        seen = "without a cell" if metric.endswith("_deleted") else "intact"
        return f"the answer stays the same for {value:.1%} of the images {seen}"
    name = metric.removeprefix("learnt_").replace("_", " ").replace("f1", "F1")
    where = f"{name} on learnt images" if metric.startswith("learnt_") else f"validation {name}"
    return f"{where} {f'{value:.1%}' if metric.endswith('accuracy') else f'{value:.3f}'}"


def _evaluated_by(training: Training) -> tuple[str, str]:
    """The protocol that weights are made for, and the options that it needs for them."""
    alignment, task = training.alignment, training.config.task
    if alignment is None:
        plain = task == "classifier" and not training.config.task_options
        return "sds" if plain or "masks" not in training.dataset.tags else PROTOCOLS.get(task, "obey"), ""
    if alignment.kind == "parts":
        return "part-deletion", ""
    if alignment.kind == "pixels":
        return "f-fidelity", f" --baseline {alignment.baseline} --setting beta={alignment.probability:g}"
    return "idsds", f" --grid {alignment.grid} --baseline {alignment.baseline}"
