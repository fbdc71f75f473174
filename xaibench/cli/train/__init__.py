"""`xaibench train`: make weights that the protocols can judge; one file per way of training."""

from xaibench.cli.train import adversarial, cgc, classifier, deletion, guided, lico
from xaibench.cli.train.options import app

__all__ = ["adversarial", "app", "cgc", "classifier", "deletion", "guided", "lico"]
