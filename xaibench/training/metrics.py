"""Metrics of classification as pure functions of logits and truth: accuracy, F1 and mean average precision.

F1 and mAP are those of images with several classes, as in Rao et al. 2023; a class is predicted where its logit is not
negative, which is a probability of at least one half.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xaibench.models.outputs import is_right


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share, in [0, 1], of images whose highest logit (N, K) is their label's, (N,) int64.

    Where logits are not finite, none is."""
    return float(is_right(logits, labels).double().mean())


def f1(logits: Tensor, truth: Tensor) -> float:
    """Micro F1, in [0, 1]: 2 TP / (2 TP + FP + FN), counted over all images and classes.

    logits (N, K), truth (N, K) of 0 and 1. 0 where nothing is predicted and nothing is there.
    """
    predicted, there = logits >= 0, truth > 0.5
    hits = int((predicted & there).sum())
    both = int(predicted.sum()) + int(there.sum())
    return 2 * hits / both if both else 0.0


def average_precision(scores: Tensor, truth: Tensor) -> float:
    """The average precision, in [0, 1], of scores (N,) for a truth (N,) of 0 and 1; NaN where nothing is true.

    The sum of precision times the gain in recall over all thresholds, without interpolation: scores that are equal are
    one threshold, so that the order of the images does not matter.
    """
    # NaN would come first
    ranked, order = scores.double().nan_to_num(-torch.inf, torch.inf, -torch.inf).sort(descending=True)
    hits = truth[order].double().cumsum(0)
    last = torch.cat([ranked[1:] != ranked[:-1], torch.ones(1, dtype=torch.bool, device=scores.device)])
    found = hits[last]
    precision = found / (last.nonzero()[:, 0] + 1)
    return float((precision * found.diff(prepend=found.new_zeros(1))).sum() / hits[-1])


def mean_average_precision(logits: Tensor, truth: Tensor) -> tuple[float, int]:
    """The mean of average precision over classes, in [0, 1], and over how many classes it is the mean.

    logits (N, K), truth (N, K) of 0 and 1. Classes that no image has are left out; NaN where that is all of them.
    """
    there = [k for k in range(truth.shape[1]) if truth[:, k].any()]
    values = [average_precision(logits[:, k], truth[:, k]) for k in there]
    return (sum(values) / len(values) if values else float("nan")), len(values)
