"""Maps as the bytes of a safetensors file, the same for the same maps."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

from safetensors.torch import save
from torch import Tensor

ALIGNED = 8  # bytes; so long is the header in steps


def map_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Tensors and their digests as safetensors. The library writes entries of metadata in a random order; here the
    header is sorted.

    tensors: contiguous, on the CPU.
    """
    data = save(dict(sorted(tensors.items())), dict(metadata) or None)
    (length,) = struct.unpack("<Q", data[:8])
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % ALIGNED)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]
