"""Differences of all pairs of methods by matrix products of the methods' scores, for many images and many methods.

With centred scores z_i the mean of (z_i - z_j)^2 is that of z_i^2 - 2 z_i z_j + z_j^2, and the fourth power likewise,
so no difference is formed. Only pairs whose differences spread over many values and are not small beside the scores are
described so: for others rounding would count, or the values themselves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xaibench.analysis.bootstrap import BLOCK, TIE

SAMPLE = 512  # images on which it is seen that a difference takes many values
SPREAD = 64  # images at least that have another difference than the most frequent one
SMALLEST = 1e-3  # variance of differences beside those of the scores; above it rounding is below 1e-12
SURE = 60  # a resample has a smaller mean of squares than `least` with a probability below exp(-60)


class Moments(NamedTuple):
    """Pairs of methods, (pairs,) each: of the differences the mean, the standard deviation (n), and below which value
    the mean of squared residuals falls in no resample (0 where there is no such value); whether all this holds."""

    mean: np.ndarray
    deviation: np.ndarray
    least: np.ndarray
    valid: np.ndarray


def moments(scores: np.ndarray, first: np.ndarray, second: np.ndarray) -> Moments:
    """Of the differences of the methods first and second, (pairs,) each, of scores (images, methods), finite.

    least: a mean of n non-negative values drawn with replacement is below (1 - e) times their mean with a probability
    of at most exp(-n e^2 mean^2 / (2 mean of squares)) (Maurer, Journal of Inequalities in Pure and Applied Mathematics
    4(1), 2003, theorem 2.1, which is Bernstein's inequality from below).
    """
    images, mean = len(scores), scores.mean(axis=0)
    products = [np.zeros((scores.shape[1],) * 2) for _ in range(3)]
    size = max(1, BLOCK // scores.shape[1])
    for start in range(0, images, size):
        z = scores[start : start + size] - mean
        squares = z**2
        for total, (left, right) in zip(products, ((z, z), (squares * z, z), (squares, squares)), strict=True):
            total += left.T @ right / images
    of_two, of_cubes, of_squares = products
    own, fourth = of_two.diagonal(), of_squares.diagonal()
    variance = own[first] + own[second] - 2 * of_two[first, second]
    fourth = (
        fourth[first] + fourth[second] + 6 * of_squares[first, second]
        - 4 * (of_cubes[first, second] + of_cubes[second, first])
    )  # fmt: skip
    rounding = (1e6 * TIE * max(1.0, np.abs(scores).max())) ** 2
    valid = variance > np.maximum(SMALLEST * (own[first] + own[second]), rounding)
    usable = np.where(valid, variance, 1.0)
    slack = np.sqrt(2 * SURE / images * np.where(valid, fourth, 1.0)) / usable
    return Moments(
        mean[first] - mean[second], np.sqrt(usable), np.where(valid, np.maximum(1 - slack, 0) * usable, 0.0), valid
    )
