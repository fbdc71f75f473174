"""What a plug-in imports from its own folder; its bytes are part of pinned keys."""


def weight(gradient, power):
    """The gradient times its absolute value to a power."""
    return gradient * gradient.abs() ** (power - 1)
