"""Critters: procedurally drawn creatures in textured scenes, with exact ground truth and nothing to download."""

from xaibench.datasets.critters.dataset import Critters

__all__ = ["Critters"]
