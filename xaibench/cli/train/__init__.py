"""`xaibench train`: make weights that the protocols can judge; one file per way of training."""

from xaibench.cli.train import classifier, deletion
from xaibench.cli.train.options import app

__all__ = ["app", "classifier", "deletion"]
