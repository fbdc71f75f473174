"""From a request to an evaluator: names are looked up, weights are found or trained, and jobs are planned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xaibench.evaluation.config import RunConfig
from xaibench.printing import say

if TYPE_CHECKING:
    from xaibench.evaluation.evaluator import Evaluator
    from xaibench.evaluation.weights import Train
    from xaibench.results.store import Store


def check_request(config: RunConfig) -> None:
    """Looks up plug-ins and names, before torch is imported."""
    from xaibench.plugins import add

    add(config.plugins, config.cards)
    check_names(config)


def evaluator_of(
    config: RunConfig,
    quiet: bool,
    command: str | None = None,
    objects: Sequence[str] = (),
    folder: Callable[[Path], Store] | None = None,
    train: Train | None = None,
) -> Evaluator:
    """The evaluator of a request, whose weights are there. folder makes its store, train gives weights of trainings."""
    from xaibench.evaluation.evaluator import Evaluator
    from xaibench.evaluation.opening import opening_warnings
    from xaibench.evaluation.plan import make_plan
    from xaibench.evaluation.resolve import resolve
    from xaibench.evaluation.resources import Resources
    from xaibench.evaluation.until_stable import UntilStable
    from xaibench.evaluation.weights import open_models
    from xaibench.masks.dataset import WithMasks
    from xaibench.results.store import Store

    resolved = resolve(config)
    if isinstance(resolved.dataset, WithMasks):
        resolved.dataset.check(resolved.dataset.image_list(resolved.images))
    resources = Resources.of(config)
    store = (folder or Store.create)(config.out)  # before hours are spent on what could not be stored
    models = open_models(resolved, resources, quiet, say, train)
    warnings = opening_warnings(resolved, models)
    for line in warnings:
        say(f"warning: {line}")
    plan = make_plan(resolved, models)
    command = command or config.to_command("run")
    stop = UntilStable.of(config, plan, store, (lambda text: None) if quiet else say)
    return Evaluator(config, plan, store, resources, command, say, quiet, objects, warnings=warnings, stop=stop)


def check_names(config: RunConfig) -> None:
    """Raises XaibenchError for a name or a card with a mistake, before the seconds that importing torch takes."""
    from xaibench import registry

    models = [name for name in (config.model, config.reference_model) if name and ":" not in name]
    methods = [name for name in config.methods or () if name != "all"]
    for kind, names in (
        ("protocol", config.protocols), ("dataset", [config.dataset]), ("model", models), ("method", methods)
    ):  # fmt: skip
        for name in names:
            registry.card(kind, name)
