"""Trainings with a name: a card under XAIBENCH_HOME makes of one file of weights a model like any other."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from xaibench import registry
from xaibench.cards import ModelCard, PublishedWeights
from xaibench.errors import XaibenchError
from xaibench.files import is_reserved, make_folder, write_atomic
from xaibench.home import home
from xaibench.models.state import read_header
from xaibench.training.api import Training, plan_training
from xaibench.training.config import TrainingConfig
from xaibench.training.resources import TrainingResources


def check_name(name: str, path: Path) -> None:
    """Raises XaibenchError for a name that no model may have, and for the name of a model that is not in this file."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise XaibenchError(f"--name {name!r}: a name is made of letters, digits, _ and -")
    if is_reserved(name):
        raise XaibenchError(f"--name {name}: Windows keeps this name for a device; choose another")
    known = registry.names("model")
    if name not in known:
        alike = [other for other in known if other.lower() == name.lower()]
        if alike:  # the files of their cards are one where names of files ignore case
            raise XaibenchError(f"--name {name}: there is a model {alike[0]} already; choose another")
        return
    plain = registry.card("model", name).plain
    if plain is None or not plain.is_local or (home() / plain.file).resolve() != path.resolve():
        raise XaibenchError(f"--name {name}: there is a model of that name already; choose another")


def train_named(config: TrainingConfig, resources: TrainingResources) -> Path:
    """Trains what a request with a name asks for, unless that is done already, and writes the card of that name.

    Returns the path of the card. Raises XaibenchError as `plan_training`, `Training.run` and `name_training` do; for a
    name that another model has before anything is trained.
    """
    training = plan_training(config)
    check_name(str(config.name), training.path)
    training.run(resources=resources)
    return name_training(str(config.name), training)


def name_training(name: str, training: Training) -> Path:
    """Writes the card `cards/models/NAME.toml` of a training that is done, and returns its path.

    It is the card of the model that was trained, with the file of the weights in the place of published ones. Raises
    XaibenchError as `check_name` does, and where nothing can be written.
    """
    path = training.path
    check_name(name, path)
    base, key_fields = training.model, read_header(path)
    plain = PublishedWeights(dataset=training.dataset.name, file=path.relative_to(home()).as_posix())
    aligned = plain.model_copy(update={"alignment": training.alignment}) if training.alignment else None
    sigmoid = training.recipe.loss == "binary-cross-entropy"
    card = base.model_copy(
        update={
            "plain": plain,
            "aligned": aligned,
            "target": _importable(base),
            "title": training.title,
            "tags": ("trained",),
            "notes": training_notes(key_fields),
            "probability": "sigmoid" if sigmoid else "softmax",
        }
    )
    fields = card.model_dump(mode="json", exclude_defaults=True, exclude={"name", "source"})
    written = home() / "cards" / "models" / f"{name}.toml"
    make_folder(written.parent)
    write_atomic(written, "".join(f"{key} = {toml_value(value)}\n" for key, value in fields.items()).encode())
    return written


def training_notes(key_fields: dict[str, Any]) -> str:
    """The header of a file of weights as a text: what was trained how, on what data, and its metrics."""
    task = key_fields.get("task") or {}
    parts = [
        f"{key_fields['model']} on {key_fields['dataset']} ({_listed(key_fields['train'])})",
        f"task: {_listed(task)}" if task else "",
        f"deletions: {_listed(key_fields['alignment'])}" if key_fields["alignment"] else "",
        "unlabelled images: from {from}, digest {digest}".format(**key_fields["unlabelled"])
        if "unlabelled" in key_fields
        else "",
        f"recipe: {_listed(key_fields['recipe'])}",
        f"seed: {key_fields['seed']}",
        f"metrics: {_listed(key_fields['metrics'])}",
    ]
    return "Trained here. " + "; ".join(part for part in parts if part) + "."


def toml_value(value: Any) -> str:
    """A value of a card (texts, numbers, booleans, lists and dicts of these) in TOML, on one line."""
    if isinstance(value, dict):
        inside = (f"{toml_value(str(key))} = {toml_value(item)}" for key, item in value.items() if item is not None)
        return f"{{ {', '.join(inside)} }}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False)  # texts, booleans and finite numbers are the same in both


def _importable(card: ModelCard) -> str:
    """The target of a card so that another process finds it: what a plug-in registered is found by its file."""
    module, _, attribute = card.target.rpartition(":")
    file = getattr(sys.modules.get(module), "__file__", None)
    return f"{Path(file).resolve()}:{attribute}" if file and module.startswith("xaibench_plugin_") else card.target


def _listed(key_fields: dict[str, Any]) -> str:
    return ", ".join(f"{k} {f'{v:.4g}' if isinstance(v, float) else v}" for k, v in key_fields.items() if v is not None)
