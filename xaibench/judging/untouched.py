"""What a protocol may not change while it scores: the network, the images, and how the process computes."""

from __future__ import annotations

import torch
from torch import nn

from xaibench.attribution.evidence import Evidence
from xaibench.errors import XaibenchError

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


class Untouched:
    """A copy of what a protocol's scores depend on besides the map, to see whether the protocol changed it.

    Another protocol, and the next map of the same one, would otherwise be scored on another network or other images.
    """

    def __init__(self, e: Evidence):
        self._e, self._images, self._dtype = e, e.images.clone(), torch.get_default_dtype()
        self._weights, self._parts = _weights(e.runner.net), _parts(e.runner.net)

    def check(self, protocol: str) -> None:
        """Raises XaibenchError for what is not as it was when this was made."""
        net = self._e.runner.net
        if not torch.equal(self._e.images, self._images):
            raise XaibenchError(f"protocol {protocol} changes the images in place; change a copy: .clone()")
        now = _weights(net)
        if now.keys() != self._weights.keys() or not all(_same(now[name], self._weights[name]) for name in now):
            raise XaibenchError(f"protocol {protocol} changes the network's weights; change a copy: copy.deepcopy")
        if _parts(net) != self._parts:
            raise XaibenchError(f"protocol {protocol} leaves hooks on the network, or another mode; take them back")
        if torch.get_default_dtype() != self._dtype:
            torch.set_default_dtype(self._dtype)
            raise XaibenchError(f"protocol {protocol} changes torch's default type of numbers; put it back")


def _weights(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a, b)


def _parts(net: nn.Module) -> list[tuple[bool, tuple[int, ...]]]:
    """The mode of each module and how many hooks of each kind it has."""
    return [(each.training, tuple(len(getattr(each, name)) for name in _HOOKS)) for each in net.modules()]
