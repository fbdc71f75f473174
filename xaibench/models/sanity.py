"""What a network's outputs tell of it before it is explained: weights that are not finite, other logits for the same
image, logits that depend on the other images of a batch, and outputs that are probabilities already.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from weakref import WeakSet

import torch
from torch import Tensor, nn

from xaibench.errors import XaibenchError
from xaibench.models.outputs import usable

ROUNDING = {torch.float16: 3e-2, torch.bfloat16: 1e-1}
"""How far logits may differ by rounding, as where a larger batch has another kernel, relative to their spread; 1e-3 in
other types."""
REPEATS = 3  # passes of one image after the first
SCALE = 1e8  # of inputs, at which logits leave [0, 1] and probabilities do not
ONES = {"softmax": "sum to 1", "log-softmax": "are logarithms that sum to 1", "sigmoid": "lie in [0, 1]"}

_SEEN: WeakSet[nn.Module] = WeakSet()


def check_weights(net: nn.Module, name: str) -> None:
    """Raises XaibenchError that names a network's first parameter or buffer with NaN or infinite values."""
    for path, tensor in (*net.named_parameters(), *net.named_buffers()):
        if tensor.is_floating_point() and not tensor.is_meta:
            count = int((~tensor.isfinite()).sum())
            if count:
                raise XaibenchError(
                    f"{name} gives logits that are not finite: {count} of {tensor.numel()} values of its weight {path} "
                    "are NaN or infinite; load weights of a training that did not diverge"
                )


@torch.no_grad()
def output_warnings(net: nn.Module, call: Callable[[Tensor], Tensor], images: Tensor, name: str) -> list[str]:
    """A warning of one line about a network that is random, or depends on the batch, or gives probabilities; or none.

    call gives its logits (N, K) of encoded inputs (N, C, H, W), for one output those of `models.outputs.two_sided`;
    images (B, C, H, W) are one or more, of which the first two are passed, seven inputs in all. The state of torch's
    random numbers is left as it was. Raises XaibenchError where logits are not finite because weights are not; where
    they are not for other reasons, nothing is known of the network.
    """
    pair = images[:2] if len(images) > 1 else torch.cat([images, images.flip(3)])
    devices = [images.device] if images.is_cuda else []
    with torch.random.fork_rng(devices):
        alone = torch.cat([call(pair[:1]), call(pair[1:])])
        if not usable(alone).all():
            check_weights(net, name)
            return []
        if found := _difference(call, pair, alone, name):
            return [found]
        function = _function(alone, lambda: call(SCALE * torch.cat([pair, -pair])))
    return [_already_probabilities(function, name)] if function else []


def warn_once(net: nn.Module, call: Callable[[Tensor], Tensor], images: Tensor) -> None:
    """Issues the `output_warnings` of a network of the user's own as Python warnings, once for each network."""
    if net not in _SEEN:
        for line in output_warnings(net, call, images, f"model {type(net).__name__}"):
            warnings.warn(line, stacklevel=_outside())
        _SEEN.add(net)


def _outside() -> int:
    """The level of the first caller outside of this package, as `warnings.warn` counts it from the function above."""
    frame, level = sys._getframe(1), 1
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in ("xaibench", "contextlib"):
        frame, level = frame.f_back, level + 1
    return level


def _difference(call: Callable[[Tensor], Tensor], pair: Tensor, alone: Tensor, name: str) -> str | None:
    """The warning about other logits than those, `alone` (2, K), of two images (2, C, H, W) one by one: those of the
    first one again, or those of both in one batch. Differences are relative to the spread of all logits."""
    again = torch.cat([call(pair[:1]) for _ in range(REPEATS)])
    together = call(pair)
    every = torch.cat([alone, again, together])
    spread = float(every.max() - every.min())
    limit = ROUNDING.get(alone.dtype, 1e-3) * spread

    def warning(change: Tensor, what: str, meaning: str) -> str:
        largest = float(change.abs().max())
        share = f"{largest / spread:.1%} of their spread"
        return f"{name} gives other logits for the same image {what}, by up to {largest:.3g} ({share}): {meaning}"

    drawn = "in two passes", "scores are those of one draw (is dropout on in evaluation?)"
    if not (again - alone[:1]).abs().max() <= limit:
        return warning(again - alone[:1], *drawn)
    if (together - alone).abs().max() <= limit:
        return None
    if not ((change := call(pair) - together).abs().max() <= limit):
        return warning(change, *drawn)
    return warning(together - alone, "alone and beside another", "images of a batch influence each other in it")


def _function(logits: Tensor, scaled: Callable[[], Tensor]) -> str | None:
    """The function, `softmax`, `log-softmax` or `sigmoid`, whose values logits (N, K) seem to be; None where they are
    logits. scaled gives those of inputs that are many times larger."""
    both_sides = logits.shape[1] == 2 and bool((logits[:, 0] == -logits[:, 1]).all())  # of one output
    values, slack = (logits[:, 1:] if both_sides else logits), ROUNDING.get(logits.dtype, 1e-4)
    if not both_sides and ((values.exp().sum(1) - 1).abs() < slack).all():
        return "log-softmax"
    if (values < 0).any() or (values > 1).any():
        return None
    if not both_sides and ((values.sum(1) - 1).abs() < slack).all():
        return "softmax"
    further = scaled()[:, 1:] if both_sides else scaled()
    return "sigmoid" if ((further >= 0) & (further <= 1)).all() and values.any() else None


def _already_probabilities(function: str, name: str) -> str:
    """The warning about outputs that a function gave."""
    effect = "logarithms of probabilities are explained" if function == "log-softmax" else "they are squashed twice"
    return (
        f"the outputs of {name} {ONES[function]}, as after a {function}, but are taken for logits, so {effect}: leave "
        f"out its last {function}"
    )
