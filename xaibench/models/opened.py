"""Networks as they were before torch.compile, and what torch.jit and torch.export made of networks as one module.

Dynamo cannot compile the hooks and modes that xaibench uses, and numbers of a compiled network are those of the
original up to rounding, so the original is explained. TorchScript and exported programs have no original, take no
hooks, and can only be called: `Opaque`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from xaibench.errors import XaibenchError, one_line

COMPILED = "_orig_mod"  # where torch.compile keeps the module
TRAINING = {"aten::batch_norm": 5, "aten::dropout": 2, "aten::feature_dropout": 2}  # at which place the flag is given


class Opaque(nn.Module):
    """A network, or a part of one, that torch.jit or torch.export made into a function: a module without parts.

    Its parameters and buffers are those of `whole`, by the same names. Raises XaibenchError where training mode is
    fixed in the function.
    """

    def __init__(self, whole: nn.Module, kind: str):
        super().__init__()
        if _fixed_in_training(whole):
            raise XaibenchError(
                f"the {kind} module {name_of(whole)} was made in training mode, in which it stays; make it again after "
                "model.eval()"
            )
        object.__setattr__(self, "whole", whole)  # no part of it, so that nobody registers hooks there
        self.kind = kind
        self.training = kind == "torch.jit" and any(getattr(module, "training", False) for module in whole.modules())
        self._bind()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the function returns; raises XaibenchError for a batch that an exported program was not made for."""
        try:
            return self.whole(*args, **kwargs)
        except AssertionError as error:
            if self.kind != "torch.export":
                raise
            raise XaibenchError(
                f"the exported program does not take a batch of {len(args[0])} images ({one_line(error, 100)}); "
                "export it with dynamic_shapes=({0: torch.export.Dim.AUTO},)"
            ) from error

    def train(self, mode: bool = True) -> Opaque:
        """As for every module; an exported program has no modes."""
        self.training = mode and self.kind == "torch.jit"
        if self.kind == "torch.jit":
            self.whole.train(mode)
        return self

    def code(self) -> list[Any]:
        """What it computes, in words, with the tensors among its constants."""
        if self.kind == "torch.export":
            return [str(self.whole.graph)]
        found: list[Any] = []
        for path, module in self.whole.named_modules():
            try:
                code, constants = module.code_with_constants
            except (AttributeError, RuntimeError):  # a part without code of its own
                continue
            found += [path, code, dict(constants.const_mapping)]
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> Opaque:
        with torch.no_grad():  # else parameters of a copy by torch.jit depend on the original's
            memo[id(self)] = copy = Opaque(deepcopy(self.whole), self.kind)
        for name, parameter in copy.named_parameters():
            parameter.requires_grad_(dict(self.named_parameters())[name].requires_grad)
        return copy

    def _apply(self, fn: Any, recurse: bool = True) -> Opaque:
        self.whole._apply(fn)
        self._bind()
        return self

    def _bind(self) -> None:
        """Takes the parameters and buffers of the whole, which moving it to a device may have replaced."""
        self._parameters = dict(self.whole.named_parameters())
        self._buffers = dict(self.whole.named_buffers())
        self._non_persistent_buffers_set = set(self._buffers) - set(self.whole.state_dict())


def name_of(net: nn.Module) -> str:
    """The name of a network's class, that of the original for one of torch.jit."""
    whole = net.whole if isinstance(net, Opaque) else net
    return getattr(whole, "original_name", None) or type(whole).__name__


def opaque_part(net: nn.Module) -> tuple[str, Opaque] | None:
    """The path of a network's first part that cannot be looked into, and the part; None where there is none."""
    return next(((path, module) for path, module in net.named_modules() if isinstance(module, Opaque)), None)


def unseen(net: nn.Module, needs: Collection[str] = ("relu",)) -> str | None:
    """Why a method with some needs cannot explain a network of which a part cannot be looked into; None where it can,
    or where there is no such part."""
    found = opaque_part(net)
    parts = {"cam-layer", "attention", "biases", "completeness", "relu"}
    parts = parts if found and not found[0] else parts - {"cam-layer", "attention"}
    if found is None or not parts & set(needs):
        return None
    path, part = found
    what = f"its part {path}" if path else "this one"
    return (
        f"needs the modules of the network, and {what} is a function of {part.kind}, which has none; give the network "
        "that it was made from"
    )


def original(thing: Any) -> Any:
    """What torch.compile was given, and `Opaque` for a module of torch.jit or torch.export; other things themselves."""
    while (inner := _compiled_from(thing)) is not None:
        thing = inner
    if isinstance(thing, torch.export.ExportedProgram):
        thing = thing.module()
    if isinstance(thing, torch.jit.ScriptModule):
        return Opaque(thing, "torch.jit")
    return Opaque(thing, "torch.export") if _is_exported(thing) else thing


def _compiled_from(thing: Any) -> nn.Module | None:
    """The module that torch.compile was given, or whose call or forward it was given; None for other things."""
    if isinstance(thing, nn.Module):
        return thing._modules[COMPILED] if COMPILED in thing._modules else None  # noqa: SIM401  (torch.jit has no get)
    given = _given(thing)
    owner = given if isinstance(given, nn.Module) else getattr(given, "__self__", None)
    called = given is owner or getattr(given, "__name__", "") in ("forward", "__call__", "_wrapped_call_impl")
    return owner if isinstance(owner, nn.Module) and called else None


def _given(compiled: Any) -> Any:
    """What torch.compile was given for a function: of the functions that it wraps one into another, the method of a
    module, or else the outermost; None where nothing is compiled."""
    outermost = step = getattr(compiled, "_torchdynamo_orig_callable", None)
    while step is not None:
        if isinstance(getattr(step, "__self__", None), nn.Module):
            return step
        step = getattr(step, "__wrapped__", None)
    return outermost


def without_compiled(path: str) -> str:
    """The path of a module in the original of a compiled network."""
    return ".".join(part for part in path.split(".") if part != COMPILED)


@contextmanager
def opened(net: Any) -> Iterator[Any]:
    """A network without compiled parts while the block runs; afterwards everything is as it was.

    Compiled modules, functions and methods are the originals, those of torch.jit and torch.export `Opaque`; what is no
    network is given back.
    """
    undo: list[tuple[dict, str, Any]] = []
    try:
        yield _open(net, undo)
    finally:
        for place, name, value in reversed(undo):
            place[name] = value


def uncompiled(net: Any) -> Any:
    """A network without compiled parts, as `opened` has it, for good."""
    return _open(net, [])


def _open(net: Any, undo: list[tuple[dict, str, Any]]) -> Any:
    """The original of a network, whose compiled parts are replaced; undo notes what was where."""
    found = original(net)
    left, seen = [found] if isinstance(found, nn.Module) else [], set()
    while left:
        module = left.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        for name, value in list(vars(module).items()):
            if name == "_compiled_call_impl" or hasattr(value, "_torchdynamo_orig_callable"):
                undo.append((vars(module), name, value))
                _replace(module, name, None if name == "_compiled_call_impl" else _given(value))
        for name, child in module._modules.items():
            if child is not None and (plain := original(child)) is not child:
                undo.append((module._modules, name, child))
                module._modules[name] = plain
        left += [child for child in module._modules.values() if child is not None]
    return found


def _replace(module: nn.Module, name: str, plain: Any) -> None:
    """Puts a function in place of the compiled one; a method that the class has anyway is left to the class."""
    own = getattr(type(module), name, None)
    if plain is None or (getattr(plain, "__self__", None) is module and getattr(plain, "__func__", None) is own):
        del vars(module)[name]
    else:
        vars(module)[name] = plain


def _is_exported(thing: Any) -> bool:
    """Whether a module is what `ExportedProgram.module()` gives."""
    return isinstance(thing, torch.fx.GraphModule) and any(
        base.__name__ == "_StatefulGraphModule" for base in type(thing).__mro__
    )


def _fixed_in_training(whole: nn.Module) -> bool:
    """Whether batch normalisation or dropout of a compiled graph is in training mode, whatever its flag says."""
    if isinstance(whole, torch.jit.ScriptModule):
        try:
            graph = whole.inlined_graph
        except (AttributeError, RuntimeError):
            return False
        nodes = [(node, at) for kind, at in TRAINING.items() for node in graph.findAllNodes(kind)]
        return any(list(node.inputs())[at].toIValue() is True for node, at in nodes)
    for node in whole.graph.nodes:
        name = str(node.target)  # aten.batch_norm.default
        at = next((at for kind, at in TRAINING.items() if name.startswith(kind.replace("::", ".") + ".")), None)
        if at is not None and any(flag is True for flag in node.args[-1:] if "dropout" in name):
            return True
        if at is not None and "batch_norm" in name and True in node.args[:-1]:
            return True
    return False
