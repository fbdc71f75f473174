"""Does a map say what the model's output depends on? Pixels, cells or parts are removed or changed, and the change of
the output is compared with the map."""

from xaibench.protocols.moved import forwarding

__getattr__ = forwarding(__name__, "faithfulness.infidelity", "faithfulness.sensitivity_n", "statistics")
