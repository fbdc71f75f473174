"""`xaibench train`: make weights of models; one verb per task."""

from xaibench.cli.train import verbs
from xaibench.cli.train.options import app

__all__ = ["app", "verbs"]
