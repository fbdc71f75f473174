"""Runs all passes through a network: chunks, precision, out-of-memory, counting."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn
from torch.autograd.graph import register_multi_grad_hook
from torch.utils.hooks import RemovableHandle

from xaibench.attribution.arithmetic import arithmetic, check_arithmetic
from xaibench.attribution.costs import CostLedger, MethodCost, clock_of
from xaibench.attribution.reach import gradient_of
from xaibench.errors import XaibenchError
from xaibench.models.outputs import advice, as_matrix, described, two_sided
from xaibench.surroundings import without_modes

PRECISIONS = {
    "float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16,
    "float64": torch.float64,
}  # fmt: skip


class ModelRunner:
    """Runs a network over many inputs, `chunk` at a time, and counts the passes.

    chunk: inputs per pass; it is halved, here and nowhere else, when memory runs out, and nothing already computed is
    lost. precision: float32 and float64 directly, tf32 as float32 whose products and convolutions a GPU computes in
    TF32, bfloat16 and float16 by autocast. output: selects the logits (N, K)
    from the output of networks that return a tuple or a dict. `forwards` and `backwards` count inputs through the
    network by hooks on the module, so those of adapters that call it themselves are counted too; use the runner as a
    context manager so that the hooks are removed. Until then `memo` keeps objects that are made once for the network,
    such as the copies that adapters use.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        chunk: int = 32,
        precision: str = "float32",
        output: Callable[[object], Tensor] | None = None,
    ):
        if precision not in PRECISIONS:
            raise XaibenchError(f"unknown precision {precision!r}; it is one of {', '.join(PRECISIONS)}")
        if chunk < 1:
            raise XaibenchError(f"chunk is {chunk}; a pass has at least one input")
        self.net, self.chunk, self.precision, self.output = net, chunk, precision, output
        self.outputs: int | None = None  # of the network for an input; known after the first pass
        self.forwards = self.backwards = 0
        self.ledger: CostLedger | None = None  # of the batch, where the costs of methods are counted
        self.memo: dict[tuple, object] = {}
        self._handles: list[RemovableHandle] = []
        self.adopt(net)

    def __enter__(self) -> ModelRunner:
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()
        self.memo.clear()

    def adopt(self, net: nn.Module) -> None:
        """Counts the passes through another module too: a copy of the network that an adapter explains instead.

        The module gets a copy of each input, so that a network that writes into its input changes nothing that is used
        again.
        """
        self._handles += [net.register_forward_pre_hook(_with_a_copy), net.register_forward_hook(self._count)]

    @property
    def forward_equivalents(self) -> int:
        """Forward passes of one input, a backward pass counted as two."""
        return self.forwards + 2 * self.backwards

    @contextmanager
    def counting_costs(self, costs: dict[str, MethodCost], device: str) -> Iterator[None]:
        """Adds what methods cost in this block, which is about one batch, to `costs` by their names."""
        self.ledger = CostLedger(lambda: self.forward_equivalents, clock_of(device))
        try:
            yield
            self.ledger.add_to(costs)
        finally:
            self.ledger = None

    def preparing(self) -> AbstractContextManager[None]:
        """In this block the network is prepared for all that follows, which is the cost of no method."""
        return self.ledger.preparing() if self.ledger is not None else contextlib.nullcontext()

    def _count(self, module: nn.Module, inputs: tuple, output: object) -> None:
        size = len(inputs[0]) if inputs and isinstance(inputs[0], Tensor) else 1
        self.forwards += size
        outputs = [tensor for tensor in _tensors(output) if tensor.requires_grad]
        if outputs:  # once for each backward pass, whichever of the outputs it starts from
            register_multi_grad_hook(outputs, lambda gradient: self._count_backward(size), mode="any")

    def _count_backward(self, size: int) -> None:
        self.backwards += size

    @property
    def one_logit(self) -> bool | None:
        """Whether the network has one output; None before the first pass."""
        return None if self.outputs is None else self.outputs == 1

    def arithmetic(self) -> AbstractContextManager[None]:
        """While this block runs, float32 is computed as the precision says, whatever the process has allowed before."""
        return arithmetic("tf32" if self.precision == "tf32" else "ieee")

    def call(self, inputs: Tensor, net: nn.Module | None = None) -> Tensor:
        """Logits (N, K) of encoded inputs (N, C, H, W) in one pass, in float32 or float64; net may be a copy.

        K is 2 for a network with one output (`models.outputs`). Raises XaibenchError where the device of the inputs
        does not compute in the precision.
        """
        check_arithmetic(self.precision, inputs.device)
        kind = PRECISIONS[self.precision]
        low = kind in (torch.bfloat16, torch.float16)
        autocast = torch.autocast(inputs.device.type, dtype=kind) if low else contextlib.nullcontext()
        with self.arithmetic(), without_modes(), autocast:
            raw = (self.net if net is None else net)(inputs)
        given = self.output(raw) if self.output else raw
        outputs = as_matrix(given, len(inputs))
        if outputs is None:
            raise XaibenchError(f"the model returns {described(given)}, not logits (N, K); {advice(given)}")
        self.outputs = outputs.shape[1]
        return two_sided(outputs.float() if low else outputs)

    def stream(
        self, count: int, step: Callable[[Tensor], object], device: torch.device | str = "cpu"
    ) -> Iterator[tuple[slice, object]]:
        """Runs `step` on the indices 0..count-1, a chunk at a time; yields (slice of indices, what step returned).

        step gets an int64 tensor of indices and must not change anything outside itself: it is run again with half of
        them when memory runs out. device is where the indices are: a GPU waits whenever an index on the CPU selects
        from a tensor on it. Raises XaibenchError when a single input does not fit.
        """
        start, every = 0, torch.arange(count, device=device)
        while start < count:
            stop = min(start + self.chunk, count)
            try:
                with self.arithmetic():
                    result = step(every[start:stop])
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                result = None
            if result is None:  # outside of the handler, whose traceback would keep the failed tensors alive
                self._halve(stop - start)
                continue
            yield slice(start, stop), result
            start = stop

    def attempt(self, step: Callable[[int], object]) -> object:
        """The result of `step` for a largest number of inputs per pass; run again with half when memory runs out.

        For code that divides its work into passes itself, as libraries do. Raises XaibenchError when a single input
        does not fit.
        """
        while True:
            try:
                with self.arithmetic():
                    return step(self.chunk)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
            self._halve(self.chunk)  # outside of the handler, as above

    def _halve(self, used: int) -> None:
        """Halves the chunk after a pass of `used` inputs ran out of memory."""
        if used == 1:
            raise XaibenchError("out of memory with one input per pass; use smaller images or another device")
        self.chunk = (used + 1) // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def logits(self, count: int, inputs: Callable[[Tensor], Tensor], device: torch.device | str = "cpu") -> Tensor:
        """Logits (count, K), without gradients; `inputs` returns the encoded inputs of some indices on a device."""

        def step(index: Tensor) -> Tensor:
            with torch.no_grad():  # not inference_mode: cached tensors may be used with autograd later
                return self.call(inputs(index))

        return torch.cat([part for _, part in self.stream(count, step, device)])

    def gradients(
        self,
        count: int,
        inputs: Callable[[Tensor], Tensor],
        objective: Callable[[Tensor, Tensor], Tensor],
        device: torch.device | str = "cpu",
    ) -> Iterator[tuple[slice, Tensor]]:
        """Gradients (n, C, H, W) of a scalar per input, a chunk at a time, with the indices on a device.

        objective(logits (n, K), indices (n,)) returns the scalar (n,) of each input. Raises XaibenchError where the
        inputs have no gradient.
        """

        def step(index: Tensor) -> Tensor:
            with torch.enable_grad():
                at = inputs(index).detach().requires_grad_()
                return gradient_of(self, objective(self.call(at), index).sum(), at, at, None)

        return self.stream(count, step, device)


def _with_a_copy(module: nn.Module, inputs: tuple) -> tuple:
    """The inputs of a pass, the first of them as a copy with the same layout in memory."""
    return (inputs[0].clone(), *inputs[1:]) if inputs and isinstance(inputs[0], Tensor) else inputs


def _tensors(output: object) -> list[Tensor]:
    """The tensors in what a network returned: one, or those of a tuple or a dict."""
    if isinstance(output, Tensor):
        return [output]
    values = output.values() if isinstance(output, dict) else output if isinstance(output, (tuple, list)) else ()
    return [value for value in values if isinstance(value, Tensor)]


def out_of_memory(error: Exception) -> bool:
    """Whether an error was raised because memory ran out."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
