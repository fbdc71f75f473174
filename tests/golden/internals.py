"""The one place of the golden tests that imports parts of xaibench which may be renamed or moved.

Whoever moves them adapts the imports here, and nothing else in this folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

CELLS = {"grid": 4, "baseline": "zero", "probability": 0.5}
"""The deletions of weights that IDSDS judges by default, as the header of weights has them."""


@contextmanager
def planned_trainings() -> Iterator[list[str]]:
    """Nothing is trained within: the folder of the first training that a command asks for is added to the list, and the
    command is interrupted."""
    from xaibench.training.api import Training

    found: list[str] = []

    def interrupted(self: Training, **how: Any) -> None:
        found.append(self.path.parent.name)
        raise KeyboardInterrupt

    before, Training.run = Training.run, interrupted
    try:
        yield found
    finally:
        Training.run = before


def training_folder(way: str, options: dict[str, Any], weights: str = "plain", **words: Any) -> str:
    """The folder of a training by the name of its way, for those that have no verb of their own; words as of
    `TrainingConfig`."""
    from xaibench.training.api import plan_training
    from xaibench.training.config import TrainingConfig

    config = TrainingConfig(
        model="critters_cnn", dataset="critters", weights=weights, task=way, task_options=options, **words
    )
    return plan_training(config).path.parent.name


def search_folder(options: dict[str, Any], lambdas: tuple[float, ...], weights: str, **search: Any) -> str:
    """The folder of the model that `xaibench train guided` exports, which cards of named trainings point to."""
    from xaibench.training.api import plan_training
    from xaibench.training.config import TrainingConfig
    from xaibench.training.guidance.request import Search
    from xaibench.training.tasks import make_task

    task = make_task("guided", options | {"lambda": lambdas[0]})
    training = plan_training(TrainingConfig(model="critters_cnn", dataset="critters", weights=weights), task)
    return replace(training, task=Search(task, lambdas, **search)).path.parent.name


def network_shapes(model: str) -> dict[str, list[int]]:
    """The shapes of the tensors of a network for ten classes, by name; for `record.py` alone."""
    from xaibench import registry
    from xaibench.models.open import build_model, model_card

    net = build_model(model_card(model), 10, registry.card("dataset", "critters").geometry).net
    return {name: list(tensor.shape) for name, tensor in net.state_dict().items()}


@contextmanager
def own_registry() -> Iterator[None]:
    """What is plugged in within is forgotten afterwards, as `tests/conftest.py` does it; for `record.py` alone."""
    from xaibench import registry

    before = dict(registry._decorated), list(registry._folders)
    try:
        yield
    finally:
        registry._decorated, registry._folders = before


def add_cards(folder: Path) -> None:
    """Adds a folder of cards; for `record.py` alone."""
    from xaibench.plugins import add

    add((), [folder])
