"""Does a map point at few pixels or at many? Only the map counts, not the model."""

from xaibench.protocols.moved import forwarding

__getattr__ = forwarding(__name__, "complexity.sparseness")
