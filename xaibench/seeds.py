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

    `uniform` and `normal` draw from it. torch uses the low 32 bits of the seed, so among many thousand images two may
    share their noise.
    """
    import torch

    return torch.Generator().manual_seed(derive(seed, *purpose))


def uniform(dice: torch.Generator, *shape: int) -> torch.Tensor:
    """U(0, 1) of a shape, float32 on the CPU, whatever the default type and device of the process are.

    Cast it afterwards: a draw in another type gives other numbers.
    """
    import torch

    return torch.rand(shape, generator=dice, dtype=torch.float32, device="cpu")


def normal(dice: torch.Generator, *shape: int) -> torch.Tensor:
    """N(0, 1) of a shape, float32 on the CPU, as `uniform`."""
    import torch

    return torch.randn(shape, generator=dice, dtype=torch.float32, device="cpu")
