"""A function that a method card names by its file. The bytes of this file are part of pinned keys."""


def negative(evidence):
    """The inputs with their sign turned."""
    return -evidence.inputs
