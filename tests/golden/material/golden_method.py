"""A plug-in method with a file beside it. The bytes of both files are part of pinned keys: do not change them."""

import golden_helper

import xaibench


@xaibench.method("golden-method", transform="abs", power=2)
def golden_method(evidence, power):
    """The gradient, weighted by what the helper says."""
    return golden_helper.weight(evidence.gradient(), power)
