"""Does a map change when the model loses what it has learnt? The method explains models with randomised layers."""

from xaibench.protocols.moved import forwarding

__getattr__ = forwarding(__name__, "randomization.randomization")
