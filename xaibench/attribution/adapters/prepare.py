"""A copy of a network on which every ReLU and every max pool of a pass is a module of its own, and none is in place.

Libraries that explain a network through hooks on its modules are silently wrong where a module runs twice (the ReLUs of
torchvision's ResNets), where it works in place, and where the network calls a function instead (DenseNet, GoogLeNet).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xaibench.attribution.evidence import Evidence
from xaibench.attribution.runner import ModelRunner
from xaibench.errors import XaibenchError
from xaibench.models.copies import copied, hooks_of, without_parametrizations
from xaibench.models.layouts import CHANNELS_FIRST, MapLayout, check_output
from xaibench.models.opened import Opaque, unseen
from xaibench.models.outputs import probabilities, usable

ACTIVATIONS = frozenset(
    {
        "hardtanh", "relu6", "silu", "gelu", "hardswish", "elu", "selu", "celu", "leaky_relu", "prelu", "rrelu",
        "mish", "softplus", "tanh", "softsign", "threshold",
    }
)  # fmt: skip
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}  # of the largest logit; reduced precision rounds more


class MaxPool(nn.MaxPool2d):
    """One max pool of a pass. It has its own type, for which the rule of DeepLift is registered."""


class Guard(nn.Module):
    """What a CAM layer does, and its output for hooks: float32 for libraries that use NumPy, and safe from in-place
    operations of the layers that follow. Channels that are last, and tokens, are shown to hooks as a map (N, K, h, w),
    which all libraries accept."""

    def __init__(self, layer: nn.Module, layout: MapLayout | None, learns: Callable[[], bool]):
        super().__init__()
        # the layer's forward, not the module, which stays in its place
        self.layer, self.layout, self.tap, self.ran = layer.forward, layout, Tap(learns), False

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        """The output of the layer."""
        output = self.layer(*args, **kwargs)
        if self.ran:
            raise XaibenchError("the CAM layer must run once in a pass and give a map (N, K, h, w); it runs again")
        self.ran = True
        check_output(output, len(output) if isinstance(output, Tensor) else 1, self.layout)
        maps = self.tap(self.layout.to_map(output)).to(output.dtype)
        with torch.inference_mode(False), torch.set_grad_enabled(maps.requires_grad):
            return self.layout.with_map(output, maps).clone()


class Tap(nn.Module):
    """Returns a map in float32 at least and as a separate tensor; gradients reach it from every input, and where the
    network runs without autograd up to it: `learns` says whether the pass has gradients."""

    def __init__(self, learns: Callable[[], bool]):
        super().__init__()
        self.learns = learns

    def forward(self, inputs: Tensor) -> Tensor:
        """The map."""
        low = inputs.dtype in (torch.bfloat16, torch.float16)
        with torch.inference_mode(False), torch.set_grad_enabled(self.learns()):
            output = inputs.float() if low else inputs.clone()
            return output.requires_grad_() if self.learns() else output


class Prepared(nn.Module):
    """The copy as a module from encoded inputs (N, C, H, W) to logits or probabilities (N, K), whose passes count.

    Weights share the memory of the original's, but do not require gradients; parametrised ones are computed once. The
    k-th ReLU of a pass is relus[k], the k-th max pool is pools[k]; modules of the network, which it may ask for
    anything, stay in their places, but those whose calls go elsewhere are hidden from `apply`. `activations` are names
    of other activation functions that ran. With routed=False the weights are copied and nothing is hidden, for methods
    that use (or change) every module. `opaque` says why no method can do that here, None where it can.
    """

    def __init__(self, runner: ModelRunner, routed: bool = True):
        super().__init__()
        self.runner, self.explains = runner, "logit"
        self.opaque = unseen(runner.net)
        if isinstance(runner.net, Opaque):  # nothing can be hooked there, so there is nothing to copy for
            routed = False
            self.net, self._twins = runner.net, {id(runner.net): runner.net}
        else:
            self.net, self._twins = copied(runner.net, share=routed)
            without_parametrizations(self.net)
            self.net.requires_grad_(False)
            runner.adopt(self.net)
        self.routed, self.growing = routed, True
        self.activations: set[str] = set()
        if routed:
            self.relus, self.pools, self.guards = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self._elsewhere = {id(module) for module in self.net.modules() if routed and _is_routed(module)}
        self._kept = [(hooks, dict(hooks)) for module in self.net.modules() for hooks in hooks_of(module)]
        self._taps: dict[int, Tap] = {}
        self.eval()

    def apply(self, fn: Callable[[nn.Module], None]) -> Prepared:
        """Calls fn with every module that computes something; captum registers its hooks in this way."""
        for module in [module for module in self.modules() if id(module) not in self._elsewhere]:
            fn(module)
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, or probabilities where `explains` says softmax or sigmoid."""
        self.learns = torch.is_grad_enabled()
        for guard in self.guards if self.routed else ():
            guard.ran = False
        if self.routed:
            with _Routes(self) as routes:
                logits = self.runner.call(inputs, self.net)
            if not self.growing and routes.counts != (len(self.relus), len(self.pools)):
                raise XaibenchError("the network runs other activations in one pass than in another")
        else:
            logits = self.runner.call(inputs, self.net)
        if self.explains == "logit":
            return logits
        return probabilities(logits, self.explains)

    def check(self, images: Tensor, logits: Tensor) -> None:
        """Runs the copy for the first time; raises XaibenchError unless it gives the original's logits (B, K)."""
        with torch.no_grad():
            parts = [part for _, part in self.runner.stream(len(images), lambda i: self(images[i]), images.device)]
        self.growing = False
        if self._differ(torch.cat(parts), logits):
            raise XaibenchError(self._why_other_logits(images, logits))

    def _differ(self, found: Tensor, logits: Tensor) -> bool:
        """Whether logits (B, K) are others than by rounding; images without finite logits do not say anything."""
        same = logits.isfinite() & usable(logits)[:, None]
        if not same.any():
            return False
        limit = TOLERANCE.get(self.runner.precision, 1e-2) * logits[same].abs().max()
        return not (found - logits)[same].abs().max() <= limit

    def _why_other_logits(self, images: Tensor, logits: Tensor) -> str:
        """Why the copy gives other logits than the original did, found out by one step of making it after another."""

        def differs(net: nn.Module) -> bool:
            with torch.no_grad():
                parts = [
                    part
                    for _, part in self.runner.stream(
                        len(images), lambda i: self.runner.call(images[i], net), images.device
                    )
                ]
            return self._differ(torch.cat(parts), logits)

        if differs(self.runner.net):
            return (
                "the network gives other logits for the same images in a second pass, as one that draws random numbers "
                "or keeps a state, so a copy of it cannot be explained in its place"
            )
        if differs(self.net):
            return (
                "a copy of the network (copy.deepcopy) gives other logits, so what it computes depends on more "
                "than its modules hold, and methods that need a copy cannot explain it"
            )
        return (
            "a copy of the network without in-place activations gives other logits, so methods that change its "
            "activations cannot explain it"
        )

    @property
    def outdated(self) -> bool:
        """Whether modules were added to the original after the copy was made."""
        return len(self._twins) != sum(1 for _ in self.runner.net.modules())

    def tap(
        self, layer: nn.Module | None, layout: Callable[[], MapLayout | None] = lambda: CHANNELS_FIRST
    ) -> nn.Module:
        """The module of the copy whose output is that of a layer of the original, as a map in a layout; raises
        XaibenchError for none."""
        if layer is None:
            raise XaibenchError("this model has no layer with a spatial map, which this method needs")
        twin = self._twins.get(id(layer))
        if twin is None or twin is self.net:
            raise XaibenchError("the CAM layer is no layer of the network")
        if not self.routed:
            return twin
        if id(layer) not in self._taps:
            guard = Guard(twin, layout(), lambda: self.learns).eval()
            object.__setattr__(twin, "forward", guard)  # a function of the layer, and no part of it
            self.guards.append(guard)
            self._taps[id(layer)] = guard.tap
        return self._taps[id(layer)]

    def clean(self) -> None:
        """Removes every hook that a library left on the copy."""
        for module in self.modules():
            for hooks in hooks_of(module):
                hooks.clear()
        for hooks, kept in self._kept:
            hooks.update(kept)


class _Routes(TorchFunctionMode):
    """While it is active, every call of relu and max_pool2d goes to a separate module."""

    def __init__(self, prepared: Prepared):
        super().__init__()
        self.prepared, self.counts = prepared, (0, 0)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, getattr(func, "__name__", "").strip("_")
        if name == "relu":
            return _alone(self._module("relu", nn.ReLU), args[0] if args else kwargs["input"])
        if name == "max_pool2d":
            return self._pool(*args, **kwargs)
        if self.prepared.growing and name in ACTIVATIONS:
            self.prepared.activations.add(name)
        return func(*args, **kwargs)

    def _pool(
        self, input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
    ) -> Tensor:
        module = self._module(
            "pool", partial(MaxPool, kernel_size, stride or None, padding, dilation, ceil_mode=ceil_mode)
        )
        return _alone(module, input)

    def _module(self, kind: str, make) -> nn.Module:
        relus, pools = self.counts
        index, modules = (relus, self.prepared.relus) if kind == "relu" else (pools, self.prepared.pools)
        if index == len(modules):
            if not self.prepared.growing:
                raise XaibenchError("the network runs other activations in one pass than in another")
            modules.append(make().eval())
        self.counts = (relus + 1, pools) if kind == "relu" else (relus, pools + 1)
        return modules[index]


def _alone(module: nn.Module, inputs: Tensor) -> Tensor:
    """The output of a module, with input and output as tensors that nothing else uses.

    captum hooks the tensors themselves: on one that other branches take too (Inception, pre-activation ResNets) it
    would change their gradients, and on one between a ReLU and a max pool its hooks would run in the wrong order.
    """
    output = module(inputs.view_as(inputs))
    return output.view_as(output)


def prepared(e: Evidence, routed: bool = True) -> Prepared:
    """The prepared copy of the evidence's network, made and checked once per ModelRunner, explaining the evidence's
    output.

    Raises XaibenchError where the network cannot be copied, or the copy does not compute the same.
    """

    def make() -> Prepared:
        made = Prepared(e.runner, routed)
        made.check(e.images, e.logits())
        return made

    memo, key = e.runner.memo, ("prepared", routed)
    if key not in memo or memo[key].outdated:
        with e.runner.preparing():
            memo[key] = make()
    e.check_range()  # libraries take -1 for the last class
    memo[key].explains = "logit" if e.output == "logit" else e.probability
    return memo[key]


def forget(e: Evidence) -> None:
    """Drops the prepared copies: after an error a library may have left changes in them."""
    for routed in (True, False):
        if gone := e.runner.memo.pop(("prepared", routed), None):
            gone.clean()


def _is_routed(module: nn.Module) -> bool:
    """Whether a module does nothing but call relu or max_pool2d, which run elsewhere."""
    function = type(module).forward
    return function is nn.ReLU.forward or (function is nn.MaxPool2d.forward and not module.return_indices)
