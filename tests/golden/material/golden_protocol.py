"""A plug-in protocol. The bytes of this file are part of pinned keys: do not change them."""

from dataclasses import dataclass

import torch

import xaibench


@xaibench.protocol("golden-mass", metric="mass", range=(0, 9), higher_is_better=True, undefined_cost=0, wide=False)
@dataclass(frozen=True)
class Mass(xaibench.Protocol):
    """The mean of the map."""

    target: str = "prediction"
    wide: bool = True

    def prepare(self, e):
        """Nothing is prepared."""

    def score(self, prepared, maps):
        """The mean of each map."""
        fine = torch.zeros(len(maps), dtype=torch.bool)
        return xaibench.status_of(maps.abs().mean((1, 2, 3)).double(), fine, fine)
