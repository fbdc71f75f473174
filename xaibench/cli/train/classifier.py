"""`xaibench train classifier`: on intact images."""

from __future__ import annotations

from xaibench.cli.train.options import verb

EPILOG = """
\b
Examples:
  xaibench train classifier --model resnet18 --dataset critters
  xaibench train classifier --model resnet18 --dataset imagefolder --data-root photos --recipe start=scratch
"""


@verb("classifier", EPILOG)
def classifier() -> None:
    """Train on intact images: what SDS judges, and where a fine-tuning starts."""
