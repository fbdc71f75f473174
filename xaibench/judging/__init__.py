"""Judges protocols on networks whose function is known: a map's worth is known there, so a protocol can be wrong."""

from xaibench.judging.knowledge import Known
from xaibench.judging.known import known_networks, make
from xaibench.judging.truths import TRUTHS, Truth, truth

__all__ = ["TRUTHS", "Known", "Truth", "known_networks", "make", "truth"]
