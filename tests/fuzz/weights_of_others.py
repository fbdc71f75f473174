"""Weights as nobody should save them: tensors of other kinds and values, names that are none, headers of any JSON."""

from __future__ import annotations

import io
import warnings
from typing import Any

import torch
from damage import EVIL, EVIL_TEXTS, Content, as_json, broken_value
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor, nn

from xaibench.parsing import is_text

HEADER = {
    "model": "tiny", "dataset": "mini", "classes": ["ape", "bee"], "seed": 0, "metrics": {"accuracy": 0.5},
    "alignment": {"grid": 4, "baseline": "zero", "probability": 0.5}, "recipe": {"loss": "cross-entropy"},
    "task": {"name": "classifier"}, "geometry": {"resize": 32, "crop": 32}, "train": {"split": "train"},
}  # fmt: skip
CHANGES = {
    "NaN": lambda t: t.float() * float("nan"), "infinite": lambda t: t.float() + float("inf"),
    "complex": lambda t: t.to(torch.complex64), "boolean": lambda t: t > 0, "half": lambda t: t.half(),
    "double": lambda t: t.double() * 1e300, "integers": lambda t: t.to(torch.int8), "sparse": lambda t: t.to_sparse(),
    "meta": lambda t: t.to("meta"), "eight bits": lambda t: t.float().to(torch.float8_e4m3fn),
    "quantised": lambda t: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8),
    "nested": lambda t: torch.nested.nested_tensor([t.float(), t.float()]), "flat": lambda t: t.flatten(),
    "scalar": lambda t: torch.tensor(1.0), "empty": lambda t: torch.zeros(0),
    "parameter": lambda t: nn.Parameter(t.float()),
    "without end": lambda t: torch.zeros(1).expand(2**40), "transposed": lambda t: t.transpose(0, -1) if t.ndim else t,
    "a text": lambda t: "x", "nothing": lambda t: None, "a list": lambda t: [t],
}  # fmt: skip
NAMES = (*EVIL_TEXTS, 5, None, ("a", 1), 2.5, True)


def network() -> nn.Module:
    """A network of two layers and statistics, of eleven tensors."""
    with torch.random.fork_rng():
        torch.manual_seed(0)  # inputs are the same in every process
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


@st.composite
def broken_tensors(draw) -> dict[Any, Any]:
    """A state dict in which one to three tensors are others, or have other names."""
    state: dict[Any, Any] = dict(network().state_dict())
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from([name for name, value in state.items() if isinstance(value, Tensor)]))
        kind = draw(st.sampled_from(["change", "change", "rename", "beside", "gone"]))
        if kind == "change":
            change = draw(st.sampled_from(sorted(CHANGES)))
            if state[name].layout == torch.strided and not state[name].is_meta and not state[name].is_quantized:
                state[name] = CHANGES[change](network().state_dict().get(name, torch.ones(2)))
        elif kind == "rename":
            state[draw(st.sampled_from(NAMES))] = state.pop(name)
        elif kind == "beside":
            state[draw(st.sampled_from(NAMES))] = draw(st.sampled_from([state[name], {"x": state[name]}, *EVIL[:20]]))
        elif len(state) > 1:
            del state[name]
        if not any(isinstance(value, Tensor) for value in state.values()):
            break
    return state


@st.composite
def saved_by_torch(draw) -> Content:
    """A file of torch.save of such tensors, alone or in a checkpoint."""
    state = draw(broken_tensors())
    thing = draw(
        st.sampled_from([state, {"state_dict": state}, {"model": state, 5: state}, [state], {"a": {"b": state}}])
    )
    buffer = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        torch.save(thing, buffer)
    return Content(buffer.getvalue())


@st.composite
def safetensors_with_headers(draw) -> Content:
    """Sound tensors under a header of any JSON."""
    header = draw(st.one_of(broken_value(HEADER), st.sampled_from([*EVIL])).map(as_json)).decode()
    metadata = {"xaibench": header}
    if draw(st.integers(0, 3)) == 0:
        metadata[draw(st.sampled_from([text for text in EVIL_TEXTS if is_text(text)]))] = "x"
    return Content(save(network().state_dict(), metadata))
