"""A plug-in method beside results of version 0.1. The bytes of this file are part of their keys: do not change them."""

import xaibench


@xaibench.method("old-method", transform="abs")
def old_method(evidence):
    """The gradient, squared."""
    return evidence.gradient() ** 2
