"""zennit's composites, layer-wise relevance propagation for CNNs, as functions of evidence.

zennit's rules belong to modules. A network is accepted where all that a pass computes, besides reshaping, is done by
modules that zennit has rules for: what runs elsewhere (a sum of two branches, a mean) would multiply or lose relevance.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from zennit import types
from zennit.attribution import Gradient
from zennit.core import Composite
from zennit.layer import Sum
from zennit.torchvision import ResNetCanonizer

from xaibench.attribution.adapters.library import pair_by_pair
from xaibench.attribution.adapters.prepare import Prepared, forget, prepared
from xaibench.attribution.evidence import Evidence
from xaibench.attribution.reach import uncounted
from xaibench.errors import XaibenchError, one_line

RULED = (types.Linear, types.Activation, types.AvgPool, types.MaxPool, types.BatchNorm, Sum)
STORED = (types.Linear, types.AvgPool, Sum)  # whose rules look at what the module took
NEUTRAL = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten)
RESHAPING = frozenset(
    {"relu", "relu_", "cat", "stack", "flatten", "reshape", "view", "contiguous", "dropout", "clone", "size", "float"}
)
GIVEN = frozenset({"self", "canonizers", "layer_map", "first_map", "zero_params"})


class ZennitMethod:
    """A function of evidence (P, C, H, W) that runs a composite of zennit; parameters: those of its constructor.

    Relevance starts as 1 at the class that is explained. BatchNorm is merged into the layer before it, and sums in the
    blocks of torchvision's ResNets become modules, by zennit's own canonizers, on a copy of the network.
    """

    def __init__(self, kind: type[Composite]):
        self.kind, self.name = kind, kind.__name__
        names = [name for name in inspect.signature(kind.__init__).parameters if name not in GIVEN]
        self.__signature__ = inspect.Signature(
            [inspect.Parameter("e", inspect.Parameter.POSITIONAL_ONLY)]
            + [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
        )

    def __call__(self, e: Evidence, **parameters: Any) -> Tensor:
        """Relevance of the inputs; every error of zennit becomes an XaibenchError in one line."""
        if e.output != "logit":
            raise XaibenchError(f"zennit's {self.name} explains logits only")
        net = prepared(e, routed=False)
        if net.opaque:
            raise XaibenchError(net.opaque)
        for module in net.modules():
            if getattr(module, "inplace", False):  # zennit's hooks cannot see what is overwritten
                module.inplace = False

        self._check(e, net)

        def call(pairs: Tensor, chunk: int) -> Tensor:
            inputs = e.inputs[pairs].detach().requires_grad_()
            start = nn.functional.one_hot(e.targets[pairs], e.logits().shape[1]).to(inputs)
            composite = self.kind(**parameters, canonizers=[ResNetCanonizer()])
            with torch.enable_grad(), Gradient(net, composite) as attributor:
                return attributor(inputs, start)[1]

        return pair_by_pair(e, f"zennit's {self.name}", net, call, width=1, draws=False)

    def _check(self, e: Evidence, net: Prepared) -> None:
        """Raises XaibenchError for a network whose relevance would be wrong; looked at once."""
        if "zennit fits" not in e.runner.memo:
            with uncounted(e.runner):
                e.runner.memo["zennit fits"] = self._problem(net, e.images[:1], e.logits()[:1])
            net.clean()
        if problem := e.runner.memo["zennit fits"]:
            forget(e)  # canonizers that fail leave changes
            raise XaibenchError(f"the network {problem}")

    def _problem(self, net: Prepared, image: Tensor, logits: Tensor) -> str:
        """What zennit has no rule for, "" for nothing."""
        bare = Composite(lambda context, name, module: None, canonizers=[ResNetCanonizer()])
        try:
            with torch.no_grad(), bare.context(net), Watch(net) as watch:
                found = net(image)
        except Exception as error:
            return f"cannot be prepared for zennit: {type(error).__name__}: {one_line(error, 200)}"
        problem = watch.close()
        if not problem and (found - logits).abs().max() > 1e-3 * logits.abs().max():
            return "runs its BatchNorms in another order than it lists them, so zennit merges them wrongly"
        return problem


def _is_changed(module: nn.Module) -> bool:
    """Whether a module computes otherwise than torch's, or zennit's, of its kind, as convolutions do that standardise
    their weights in each pass: rules change the weights."""
    written = type(module).forward.__module__.partition(".")[0]
    return written not in ("torch", "zennit") or "forward" in vars(module)


class Watch(TorchFunctionMode):
    """While it is active, a pass of the copy tells what it computes outside of modules that zennit has rules for."""

    def __init__(self, net: Prepared):
        super().__init__()
        self.running, self.inside, self.outside, self.handles = 0, 0, "", []
        self.called: set[nn.Module] = set()
        self._counting(net.net, "running")
        for module in net.net.modules():
            if any(True for _ in module.children()):
                continue
            if not isinstance(module, (*RULED, *NEUTRAL)) or _is_changed(module):
                self.outside = self.outside or f"runs {type(module).__name__}, for which zennit has no rule"
            if isinstance(module, STORED):
                self.handles.append(module.register_forward_pre_hook(self._once))
            self._counting(module, "inside")
        norms = [module for module in net.net.modules() if isinstance(module, types.BatchNorm)]
        if any(norm.running_mean.any() or norm.bias.any() or (norm.weight != 1).any() for norm in norms):
            self.outside = self.outside or "has a BatchNorm that does not follow a linear layer"

    def _once(self, module: nn.Module, args: tuple) -> None:
        """Notes a second call of a module, since rules keep what the last call took."""
        if module in self.called:
            name = type(module).__name__
            self.outside = self.outside or f"runs one {name} more than once in a pass, for which zennit has no rule"
        self.called.add(module)

    def _counting(self, module: nn.Module, what: str) -> None:
        """Counts how many calls of a module are being computed."""

        def add(step: int, *args: Any) -> None:
            setattr(self, what, getattr(self, what) + step)

        self.handles.append(module.register_forward_pre_hook(partial(add, 1)))
        self.handles.append(module.register_forward_hook(partial(add, -1), always_call=True))

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        found, name = func(*args, **(kwargs or {})), getattr(func, "__name__", str(func))
        if self.running and not self.inside and isinstance(found, Tensor) and found.ndim >= 2 and name not in RESHAPING:
            self.outside = self.outside or f"computes {name} outside of modules, for which zennit has no rule"
        return found

    def close(self) -> str:
        """What zennit has no rule for, "" for nothing; removes what counted."""
        for handle in self.handles:
            handle.remove()
        return self.outside
