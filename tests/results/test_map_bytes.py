"""Maps as bytes: what the library writes and reads, in an order that does not change."""

from __future__ import annotations

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, save

from xaibench.results.map_bytes import map_bytes


@pytest.mark.parametrize("count", [1, 7])
def test_the_library_reads_it_and_the_bytes_are_the_same(count, tmp_path):
    tensors = {f"é {n}#1": torch.randn(3, n + 1, dtype=torch.float64 if n % 2 else torch.float32) for n in range(count)}
    metadata = {name: f"digest of {name}" for name in tensors}
    data = map_bytes(tensors, metadata)
    read, library = load(data), load(save(tensors, metadata))
    assert read.keys() == library.keys() == tensors.keys()
    assert all(read[name].equal(tensors[name]) and read[name].dtype == tensors[name].dtype for name in tensors)
    (tmp_path / "a.safetensors").write_bytes(data)
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert (file.metadata() or {}) == metadata
    backwards = dict(reversed(tensors.items())), dict(reversed(metadata.items()))
    assert all(map_bytes(*backwards) == data for _ in range(5))
