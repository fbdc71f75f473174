"""What the models of a run do with two of its images, before anything is computed or stored."""

from __future__ import annotations

import numpy as np
import torch

from xaibench.attribution.runner import ModelRunner
from xaibench.datasets.base import validate_sample
from xaibench.datasets.loading import load_sample
from xaibench.evaluation.resolve import ResolvedRun
from xaibench.evaluation.weights import OpenedModels
from xaibench.models.sanity import output_warnings


def opening_warnings(run: ResolvedRun, models: OpenedModels) -> list[str]:
    """Warnings of one line about the models of a run (`models.sanity.output_warnings`), by passes on the CPU in float32
    of the first two images of the data set's list.

    Raises XaibenchError for a model whose weights are not finite.
    """
    data, side = run.dataset, run.data.geometry.crop
    samples = [load_sample(data, image_id) for image_id in data.image_list(2)]
    for sample in samples:
        validate_sample(sample, side, len(data.classes), data.name)
    images = np.stack([sample.image for sample in samples])
    found = []
    for model in filter(None, (models.model, models.reference)):
        encoded = model.encoding(images).to(next(model.net.parameters(), torch.zeros(1)))
        with ModelRunner(model.net) as runner:
            found += output_warnings(model.net, runner.call, encoded, f"model {model.name}")
    return found
