"""What the models of a run do with two images, before anything is computed or stored."""

from __future__ import annotations

import torch

from xaibench.attribution.runner import ModelRunner
from xaibench.evaluation.resolve import ResolvedRun
from xaibench.evaluation.weights import OpenedModels
from xaibench.models.sanity import output_warnings
from xaibench.seeds import generator
from xaibench.training.unlabelled import lost_answers


def opening_warnings(run: ResolvedRun, models: OpenedModels) -> list[str]:
    """Warnings of one line about the models of a run: what their outputs tell (`models.sanity.output_warnings`), by
    passes on the CPU in float32 of two images of random pixels, the same in each run, and whether an alignment without
    labels changed the model's answers.

    Raises XaibenchError for a model whose weights are not finite.
    """
    side = run.data.geometry.crop
    images = torch.randint(
        0, 256, (2, side, side, 3), generator=generator(0, "first images"), dtype=torch.uint8
    ).numpy()
    found = []
    for model in filter(None, (models.model, models.reference)):
        encoded = model.encoding(images).to(next(model.net.parameters(), torch.zeros(1)))
        with ModelRunner(model.net) as runner:
            found += output_warnings(model.net, runner.call, encoded, f"model {model.name}")
    lost = lost_answers(models.training or {})
    return [*found, f"model {models.model.name}: {lost}"] if lost else found
