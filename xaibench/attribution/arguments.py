"""What a call is given: a network, inputs and targets, each as it is explained, or refused in one line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from numbers import Integral

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedTensorMixin
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from xaibench.errors import XaibenchError, one_line
from xaibench.exclusive import exclusive
from xaibench.models.base import Model
from xaibench.models.modes import check_modes
from xaibench.models.opened import name_of, opened, original, without_compiled
from xaibench.surroundings import own_surroundings

DTYPES = (torch.float32, torch.float64)
QUANTIZED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")
PYTHON_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip


def call_of_network(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A public function of a network (its parameter `model` or `net`) that leaves everything as it was.

    Runs in `own_surroundings`, with the modules of the network for itself, and with errors of the network in one line.
    """
    signature = inspect.signature(function)
    name = "model" if "model" in signature.parameters else "net"

    @wraps(function)
    @own_surroundings()
    def call(*positional: object, **named: object) -> Tensor:
        given = signature.bind(*positional, **named)
        given.apply_defaults()
        whole = given.arguments[name]
        net = whole.net if isinstance(whole, Model) else whole
        with exclusive(net.modules() if isinstance(net, nn.Module) else ()), opened(net) as plain:
            plain = check_network(plain)
            given.arguments[name] = replace(whole, net=plain) if isinstance(whole, Model) else plain
            for layer in {"layer", "cam_layer"} & given.arguments.keys():
                at = given.arguments[layer]
                given.arguments[layer] = without_compiled(at) if isinstance(at, str) else original(at)
            _check_options(given.arguments)
            what = given.arguments.get("method", given.arguments.get("protocol", name_of(plain)))
            with in_one_line(f"{function.__name__} {what}"):
                return function(*given.args, **given.kwargs).detach()

    return call


@contextmanager
def in_one_line(what: str) -> Iterator[None]:
    """An error of Python or torch in this block, such as that of a network which is given other images than it takes,
    becomes an XaibenchError that begins with `what`; exceptions of the user's own pass."""
    try:
        yield
    except PYTHON_ERRORS as error:
        if type(error).__module__ not in ("builtins", "torch", "torch.cuda"):
            raise
        raise XaibenchError(f"{what}: {type(error).__name__}: {one_line(error, 300)}") from error


def check_network(net: object) -> nn.Module:
    """The network that is explained: float32 or float64, with values, in evaluation mode, of one input.

    A network in a DataParallel or a DistributedDataParallel is the one inside. Raises XaibenchError for anything else.
    """
    if not isinstance(net, nn.Module):
        called = getattr(net, "__name__", type(net).__name__)
        hint = f"; make one: {called}()" if isinstance(net, type) and issubclass(net, nn.Module) else ""
        kind = f"the class {called}" if isinstance(net, type) else f"a {type(net).__name__}"
        raise XaibenchError(f"the model is a torch.nn.Module, not {kind}{hint}")
    net = unwrapped(net)
    check_parts(net, "the model")
    for path, parameter in net.named_parameters():
        if parameter.is_floating_point() and parameter.dtype not in DTYPES:
            raise XaibenchError(
                f"the model: {path} is {_name(parameter.dtype)}, in which maps lose their digits; give the network and "
                "the inputs in float32: model.float()"
            )
    check_modes(net)
    _check_signature(net)
    return net


def unwrapped(net: nn.Module) -> nn.Module:
    """The network in a DataParallel or a DistributedDataParallel, which runs it in pieces; others are returned."""
    while isinstance(net, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        net = net.module
    return net


def check_parts(net: nn.Module, name: str) -> None:
    """Raises XaibenchError, which begins with a name, for modules that are quantised, and for parameters and buffers
    that are not plain tensors with values."""
    for path, module in net.named_modules():
        if type(module).__module__.startswith(QUANTIZED):
            raise XaibenchError(
                f"{name}: module {path or 'itself'} ({type(module).__name__}) is quantised and has no gradients; give "
                "the network as it was before, in float32"
            )
    for path, tensor in [*net.named_parameters(), *net.named_buffers()]:
        if reason := _without_values(tensor):
            raise XaibenchError(f"{name}: {path} {reason}")


def _without_values(tensor: Tensor) -> str:
    """Why a parameter or a buffer cannot be used, "" where it can."""
    if isinstance(tensor, UninitializedTensorMixin):
        return "has no shape yet; pass a batch through the network first"
    if tensor.is_meta:
        return "is on the device meta and has no values; load its weights first"
    if tensor.is_quantized or is_traceable_wrapper_subclass(tensor):
        return f"is a {_kind(tensor)}, not a plain tensor; give the network in float32"
    if tensor.is_inference():
        return "was made in inference mode and takes no gradients; give a copy, made outside: copy.deepcopy(model)"
    return ""


def _check_signature(net: nn.Module) -> None:
    """Raises XaibenchError for a network that does not take one image alone."""
    try:
        signature = inspect.signature(net.forward)
    except (TypeError, ValueError):  # compiled code may have none
        return
    try:
        signature.bind(None)
    except TypeError:
        taken = signature.replace(return_annotation=signature.empty)
        raise XaibenchError(
            f"the model is called with one input (B, C, H, W), and {type(net).__name__} takes {taken}; wrap it in a "
            "module that gives the others"
        ) from None


def check_inputs(inputs: object, net: nn.Module) -> Tensor:
    """Inputs (B, C, H, W) as a plain tensor without a graph; raises XaibenchError for those that are none, or that are
    not of the network's dtype and device."""
    if not isinstance(inputs, Tensor):
        raise XaibenchError(
            f"inputs are a tensor (B, C, H, W), normalised as the model expects, not {type(inputs).__name__}"
        )
    if inputs.is_nested or inputs.layout != torch.strided or is_traceable_wrapper_subclass(inputs):
        layout = _name(inputs.layout) if inputs.layout != torch.strided else _kind(inputs)
        raise XaibenchError(f"inputs are a dense tensor (B, C, H, W), not {layout}")
    if inputs.is_meta or type(inputs).__name__ == "FakeTensor":
        raise XaibenchError("inputs have no values: they are on the device meta")
    if inputs.is_quantized or not inputs.is_floating_point() or inputs.ndim != 4:
        hint = "; add the dimension of the batch: inputs[None]" if inputs.ndim == 3 else ""
        raise XaibenchError(
            f"inputs are floating point (B, C, H, W), normalised as the model expects, not {inputs.dtype} "
            f"{tuple(inputs.shape)}{hint}"
        )
    own = {p.dtype for p in net.parameters() if p.is_floating_point()} or set(DTYPES)
    if not inputs.numel():
        raise XaibenchError(f"inputs {tuple(inputs.shape)} are empty; give at least one")
    if inputs.dtype not in own:
        types = " or ".join(sorted(map(str, own)))
        raise XaibenchError(f"inputs are {inputs.dtype} and the network is {types}; give inputs of its type")
    devices = {tensor.device for tensor in (*net.parameters(), *net.buffers())}
    if len(devices) == 1 and inputs.device not in devices:
        raise XaibenchError(f"inputs are on {inputs.device} and the model is on {devices.pop()}; move one to the other")
    plain = inputs.detach().as_subclass(Tensor)
    plain = plain.resolve_neg().clone() if plain.is_inference() else plain.resolve_neg()
    if not plain.isfinite().all():
        wrong = [image for image in range(len(plain)) if not plain[image].isfinite().all()]
        raise XaibenchError(f"input {wrong[0]} has values that are not finite (NaN or infinity)")
    return plain


def check_targets(targets: object, inputs: Tensor) -> Tensor:
    """Targets (B,) int64, one class for each input; one input may have a whole number.

    Raises XaibenchError for anything else, also for truth values. `Evidence.check_range` says whether there are such
    classes.
    """
    try:
        given = torch.as_tensor(targets)
        whole = not (given.is_floating_point() or given.is_complex() or given.dtype == torch.bool)
        whole = whole and not given.is_meta and given.layout == torch.strided and not given.is_quantized
    except (TypeError, ValueError, RuntimeError, OverflowError):
        given, whole = None, False
    if given is None:
        raise XaibenchError(f"targets are {len(inputs)} class indices, not {_shown(targets)}")
    if whole and given.ndim == 0 and len(inputs) == 1:
        given = given[None]
    if not whole or given.shape != inputs.shape[:1]:
        hint = f"; one for each input: [{_shown(targets)}] * {len(inputs)}" if whole and given.ndim == 0 else ""
        raise XaibenchError(f"targets are {len(inputs)} class indices, not {given.dtype} {tuple(given.shape)}{hint}")
    given = given.detach().as_subclass(Tensor).to(inputs.device, torch.int64)
    return given.clone() if given.is_inference() else given


def _check_options(given: Mapping[str, object]) -> None:
    """Raises XaibenchError for a chunk or a seed that is no whole number, for an output that is no function, and for
    something else than the name of a method or a protocol."""
    for name in ("chunk", "seed"):
        value = given.get(name, 0)
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise XaibenchError(f"{name} is a whole number, not {_shown(value)}")
    for name in {"method", "protocol"} & given.keys():
        if not isinstance(given[name], str):
            raise XaibenchError(f"{name} is a name, see `xaibench ls {name}s`, not {_shown(given[name])}")
    if given["output"] is not None and not callable(given["output"]):
        raise XaibenchError(f"output is a function that selects the logits, not {_shown(given['output'])}")


def check_ids(image_ids: Sequence[str] | None, count: int) -> list[str]:
    """The ids of images, "0", "1", ... by default; raises XaibenchError unless there is one for each."""
    if image_ids is None:
        return [str(index) for index in range(count)]
    if isinstance(image_ids, (str, bytes)):
        raise XaibenchError(f"image_ids are a list, one for each image, not {_shown(image_ids)}")
    return list(image_ids)


def _kind(tensor: Tensor) -> str:
    return "quantised tensor" if tensor.is_quantized else "nested tensor" if tensor.is_nested else type(tensor).__name__


def _name(dtype: object) -> str:
    return str(dtype).removeprefix("torch.")


def _shown(value: object) -> str:
    """A value as it is printed, shortened."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
