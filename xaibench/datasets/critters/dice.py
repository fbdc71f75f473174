"""A stream of random integers that is the same on every machine and with every version of every library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from xaibench.seeds import derive

T = TypeVar("T")
_MASK = (1 << 64) - 1


class Dice:
    """Splitmix64, seeded by a seed and a purpose; every draw advances the stream by exactly one step."""

    def __init__(self, seed: int, *purpose: object) -> None:
        self._state = derive(seed, *purpose)

    def bits(self) -> int:
        """The next integer in [0, 2**64)."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def below(self, n: int) -> int:
        """An integer in [0, n); the bias of the multiplication, n / 2**64, is nothing for small n."""
        return (self.bits() * n) >> 64

    def unit(self) -> float:
        """A float in [0, 1), an exact multiple of 2**-53."""
        return (self.bits() >> 11) / (1 << 53)

    def between(self, low: float, high: float) -> float:
        """A float drawn evenly between two bounds."""
        return low + (high - low) * self.unit()

    def chance(self, probability: float) -> bool:
        """True with the given probability: never for 0, always for 1."""
        return self.unit() < probability

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, each equally likely."""
        return items[self.below(len(items))]
