"""LeGrad: how sensitive each layer's own score is to its attention, averaged over the layers.

Bousselham et al., ICCV 2025 (LeGrad: An Explainability Method for Vision Transformers via Feature Formation
Sensitivity).
"""

from __future__ import annotations

import torch
from torch import Tensor

from xaibench.attribution.attention import maps_of, recorded, transformer_of
from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError

POOLS = ("head", "mean")


def legrad(e: Evidence, layers: int = 0, pool: str = "head") -> Tensor:
    """(P, 1, h, w): per layer the mean, over heads and queries, of the positive part of the gradient of the layer's
    score on its attention map, for the keys that are patches; the mean over the last `layers` layers, 0 for all.

    A layer's score is what the network's head makes of that layer's tokens, of which pool `head` takes those that the
    head reads, and pool `mean` the mean of all tokens. One forward pass; each layer's score goes back through its own
    block only, all together about one backward pass. Raises XaibenchError for other pools and numbers of layers.
    """
    vit, inputs = transformer_of(e), e.inputs
    if not isinstance(layers, int) or isinstance(layers, bool) or not 0 <= layers <= len(vit.blocks):
        raise XaibenchError(
            f"layers is how many of the last layers count, from 0 (all) to {len(vit.blocks)}, not {layers}"
        )
    if pool not in POOLS:
        raise XaibenchError(f"pool is {' or '.join(POOLS)}, not {pool!r}")
    first = len(vit.blocks) - layers if layers else 0

    def step(index: Tensor) -> Tensor:
        with torch.enable_grad(), recorded(vit, [*vit.attention, *vit.blocks]) as kept:
            logits = e.runner.call(inputs[index].detach().requires_grad_())
            maps = maps_of(vit, kept, len(index))
            vit.check_head(vit.of_own(kept[vit.blocks[-1]][1]), logits)
            found = []
            for block, attention in list(zip(vit.blocks, maps, strict=True))[first:]:
                scores = e.objective(vit.head(vit.of_own(kept[block][1]), pool == "head"), index)
                (gradient,) = torch.autograd.grad(scores.sum(), attention, retain_graph=True)
                found.append(vit.of_own(gradient).clamp(min=0).mean((1, 2)))
            e.runner.backwards += len(index)
        patches = torch.stack(found).mean(0)[:, vit.layout.prefix :]
        return patches.unflatten(-1, vit.layout.grid).to(inputs.dtype)

    maps = torch.cat([part for _, part in e.runner.stream(len(inputs), step, inputs.device)])
    return vit.placed(maps[:, None])
