"""Does a map change as much as the image does, and no more? The method explains images that were moved or perturbed."""

from xaibench.protocols.moved import forwarding

__getattr__ = forwarding(__name__, "robustness.max_sensitivity")
