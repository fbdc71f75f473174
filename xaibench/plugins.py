"""Plug-ins: decorators that register methods, models, data sets, protocols, and losses, schedules and recipes of
trainings; and loading of files with such decorators.

    import xaibench

    @xaibench.method("my-saliency", transform="abs")
    def my_saliency(evidence):
        return evidence.gradient()

A file is loaded by `--plugin my_saliency.py`; a package declares the decorated object as an entry point of the group
`xaibench.methods`, or of another plural of `kinds.py`. The digest of the code is part of every key (`sources.py`), so
an edited plug-in never reuses old results. Arguments of a decorator that are not fields of the card are parameters of
the object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xaibench import registry
from xaibench.errors import XaibenchError
from xaibench.importing import load_file, module_name

if TYPE_CHECKING:
    from xaibench.cards import ModelCard


def method(
    name: str, *, title: str = "", transform: str = "raw", needs: tuple[str, ...] = (),
    families: tuple[str, ...] = (), **parameters: Any,
) -> Callable:  # fmt: skip
    """Registers a function of evidence as an attribution method.

    The function takes an `Evidence` and the keyword parameters given here, and returns attributions (pairs, C, h, w) of
    any spatial size: the channels are summed, `transform` ("raw" or "abs") applied, the map resized. needs: `cam-layer`
    and `gradients`, as in cards; families: of the models that it is defined for (empty: all).

    >>> import torch, xaibench
    >>> @xaibench.method("my-saliency", transform="abs")
    ... def my_saliency(evidence):
    ...     return evidence.gradient()
    """
    card_fields = {"title": title, "transform": transform, "needs": needs, "families": families}
    return _registering("method", name, card_fields, parameters)


def model(
    name: str, *, title: str = "", mean: tuple[float, ...] = (0.485, 0.456, 0.406),
    std: tuple[float, ...] = (0.229, 0.224, 0.225), cam_layer: str = "", family: str = "cnn",
    probability: str = "softmax", stages: dict[str, str] | None = None, **parameters: Any,
) -> Callable:  # fmt: skip
    """Registers a function, or a class, that builds a network as a model.

    `build(num_classes, **parameters)` returns a torch network without weights, which xaibench trains or loads;
    `build(**parameters)`, without num_classes, returns one with its weights. mean and std encode pixels in [0, 1];
    cam_layer is the path of the module whose maps class activation methods use ("": the last one with a spatial
    output); probability is `softmax` or `sigmoid`. stages are paths of modules by the names that `--layer` takes: Mid1,
    Mid2, Mid3 and Final.
    """
    card_fields = {
        "title": title, "mean": mean, "std": std, "cam_layer": cam_layer, "family": family, "probability": probability,
        "stages": stages or {},
    }  # fmt: skip
    return _registering("model", name, card_fields, parameters)


def dataset(
    name: str, *, geometry: dict[str, int], title: str = "", needs_root: bool = True, min_cam_grid: int = 0,
    train_parameters: dict[str, Any] | None = None, validation_parameters: dict[str, Any] | None = None,
    recipe: dict[str, Any] | None = None, **parameters: Any,
) -> Callable:  # fmt: skip
    """Registers a subclass of `xaibench.Dataset` as a data set.

    geometry is {"resize": pixels, "crop": pixels}. Its constructor gets root (the folder of --data-root) and geometry,
    or, with needs_root False, size (the crop); and the parameters given here, which --dataset-option overrides.
    train_parameters and validation_parameters are those of the training and of the validation images. With a recipe
    (see `xaibench show dataset critters`) models are trained on first use.
    """
    card_fields = {
        "title": title, "geometry": geometry, "needs_root": needs_root, "min_cam_grid": min_cam_grid,
        "train_parameters": train_parameters or {}, "validation_parameters": validation_parameters or {},
        "recipe": recipe or {},
    }  # fmt: skip
    return _registering("dataset", name, card_fields, parameters)


def protocol(
    name: str, *, metric: str, range: tuple[float, float], higher_is_better: bool, undefined_cost: float,
    title: str = "", weights: str = "plain", comparable_across_models: bool = False,
    further: dict[str, dict[str, Any]] | None = None, **parameters: Any,
) -> Callable:  # fmt: skip
    """Registers a dataclass that inherits `xaibench.Protocol` as a protocol.

    Its fields are the settings (`--setting KEY=VALUE`), with their defaults unless given here. metric names the score,
    range bounds it, undefined_cost is the score of a map that cannot be scored: the chance level. weights are those
    that the protocol evaluates by default, `plain` or `aligned`. further gives for each score in `Scores.also` its
    range, higher_is_better (None: it has no direction and nothing is ranked by it) and undefined_cost.
    """
    card_fields = {
        "title": title, "metric": metric, "range": range, "higher_is_better": higher_is_better,
        "undefined_cost": undefined_cost, "weights": weights, "comparable_across_models": comparable_across_models,
        "further": further or {},
    }  # fmt: skip
    return _registering("protocol", name, card_fields, parameters)


def guidance_loss(name: str, *, title: str = "", **parameters: Any) -> Callable:
    """Registers a function of maps and masks as a localisation loss of model guidance (`--loss NAME`).

    `loss(maps, masks, **parameters)` gets the attributions of N images, (N, H, W) signed, each of one class and summed
    over channels, and the masks of that class, (N, H, W) bool. It returns the loss of each image, (N,), by torch
    operations that a gradient passes through: no in-place changes, finite where a map or a mask is all zeros. The mean
    over the images is taken, and weighted by --lambda, outside. parameters are defaults that `--loss-option KEY=VALUE`
    overrides; they are part of the training's key, with the source of the code.

    >>> import xaibench
    >>> @xaibench.guidance_loss("my-outside", power=2)
    ... def outside(maps, masks, power):
    ...     return (maps.relu() * ~masks).pow(power).mean((1, 2))
    """
    return _registering("loss", name, {"title": title}, parameters)


def schedule(name: str, *, title: str = "", **parameters: Any) -> Callable:
    """Registers a function of progress as a schedule of the learning rate (`--recipe schedule=NAME`).

    `schedule(progress, **parameters)` returns the factor of the recipe's learning rate at a step, a float from 0.
    progress has `step` (from 0), `steps` and `fraction` (step / steps, in [0, 1)) of the whole training, `epoch` (from
    0), `epochs`, and `head_epochs`, the number of first epochs that train the head alone. parameters are defaults that
    `--recipe "schedule_options={KEY=VALUE}"` overrides; they are part of the training's key, with the source.

    >>> import xaibench
    >>> @xaibench.schedule("my-decay", power=2)
    ... def decay(progress, power):
    ...     return (1 - progress.fraction) ** power
    """
    return _registering("schedule", name, {"title": title}, parameters)


def recipe(name: str, *, title: str = "") -> Callable:
    """Registers fields of a training's recipe under one name (`--recipe base=NAME`).

    The decorated function takes nothing and returns the fields as a dict, once, when it is decorated. Fields that are
    given besides `base` replace those of the named recipe; the key of a training holds the fields, not the name.

    >>> import xaibench
    >>> @xaibench.recipe("my-recipe")
    ... def my_recipe():
    ...     return {"optimizer": "adamw", "learning_rate": 3e-4, "schedule": "cosine"}
    """
    return _registering("recipe", name, {"title": title}, {})


def _registering(kind: str, name: str, card_fields: dict[str, Any], parameters: dict[str, Any]) -> Callable:
    """The decorator that makes a card of these fields for what it decorates, and registers both."""

    def decorate(thing: Any) -> Any:
        from pydantic import ValidationError

        from xaibench.cards import CARD_TYPES
        from xaibench.sources import source_of

        settings = {f.name: f.default for f in fields(thing) if f.default is not MISSING} if is_dataclass(thing) else {}
        title = card_fields["title"] or (thing.__doc__ or name).strip().splitlines()[0]
        target = f"{thing.__module__}:{thing.__qualname__}"
        fields_of_card = card_fields | {
            "name": name, "title": title, "parameters": settings | parameters, "target": target,
            "source": source_of(thing) or target,
        } | ({"fields": thing()} if kind == "recipe" else {})  # fmt: skip
        try:
            card = CARD_TYPES[kind].model_validate(fields_of_card)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise XaibenchError(f"{kind} {name!r}: {place}: {first['msg']}") from None
        registry.register(card, thing)
        thing.xaibench_card = card
        return thing

    return decorate


def add(plugins: Iterable[str | Path], folders: Iterable[str | Path]) -> None:
    """Loads plug-in files and adds folders of cards for this process: those of `--plugin` and `--cards`."""
    for folder in folders:
        registry.add_folder(Path(folder))
    for plugin in plugins:
        load_plugin(Path(plugin))


def load_plugin(path: Path) -> None:
    """Runs a Python file whose decorators register what it defines; raises XaibenchError when it is missing or fails.

    A file that is loaded again in this process replaces what it registered before.
    """
    registry.forget(module_name(path))
    try:
        load_file(path, again=True)
    except BaseException:
        registry.forget(module_name(path))
        raise


def model_in_file(name: str) -> ModelCard:
    """The card of `--model path/to/file.py:make`: a builder, decorated or plain, a class, or a finished network.

    Raises XaibenchError where the file does not define that name (with the nearest ones) or where it is none of these.
    """
    import difflib

    from xaibench.cards import ModelCard
    from xaibench.sources import file_source

    path, _, attribute = name.rpartition(":")
    module = load_file(Path(path))
    thing = getattr(module, attribute, None)
    if thing is None:
        near = difflib.get_close_matches(attribute, [n for n in vars(module) if not n.startswith("_")], n=3, cutoff=0.4)
        raise XaibenchError(f"{path} has no {attribute!r}" + (f"; did you mean {' or '.join(near)}?" if near else ""))
    if isinstance(card := getattr(thing, "xaibench_card", None), ModelCard):
        return card
    if not callable(thing):
        raise XaibenchError(f"{name} is {type(thing).__name__}, not a function, class or network that makes a model")
    file = Path(path)
    return ModelCard(
        name=f"{file.name}:{attribute}", title=(getattr(thing, "__doc__", None) or attribute).strip().splitlines()[0],
        target=f"{file.resolve()}:{attribute}", source=f"{attribute} {file_source(file)}",
    )  # fmt: skip
