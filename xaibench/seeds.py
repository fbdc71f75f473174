"""All randomness is derived from (seed, purpose, image id), so that no number depends on how images are batched."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive(seed: int, *purpose: object) -> int:
    """A 63-bit integer drawn from a seed and a purpose (any printable parts, such as a name and an image id).

    The parts are joined by an unprintable character, so ("a", "bc") and ("ab", "c") differ.
    """
    text = "\x1f".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *purpose: object) -> torch.Generator:
    """A CPU generator of torch seeded by `derive`; draws are moved to the device afterwards, so devices agree.

    torch uses the low 32 bits of the seed, so among many thousand images two may share their noise.
    """
    import torch

    return torch.Generator().manual_seed(derive(seed, *purpose))
