"""What a protocol is about: which truth it may be held against, in the words of the table."""

from __future__ import annotations

from typing import NamedTuple

from xaibench.cards import ProtocolCard


class Subject(NamedTuple):
    """truth: the truth that a protocol claims to measure, "" for none of them. words: what it asks."""

    truth: str
    words: str


ANY = Subject("", "not said")
OBJECT = Subject("", "where the object is")
SHAPE = Subject("", "the shape of the map alone")
SUBJECTS = {
    "sds": Subject("intervention", "single deletions of cells"),
    "idsds": Subject("intervention", "single deletions of cells"),
    "part-deletion": Subject("intervention", "single removals of parts"),
    "sensitivity-n": Subject("shapley", "deletions of many cells at once"),
    "infidelity": Subject("shapley", "noise on all pixels at once"),
    "saco": Subject("intervention", "deletions of groups of pixels, one at a time"),
    "insertion": Subject("shapley", "pixels added one after another"),
    "insertion-gaussian": Subject("shapley", "pixels added one after another"),
    "deletion": Subject("shapley", "pixels removed one after another"),
    "combined": Subject("shapley", "pixels added, and pixels removed"),
    "ids": Subject("shapley", "the least important pixels removed"),
    "srg": Subject("shapley", "least against most important pixels removed"),
    "road": Subject("shapley", "least against most important pixels imputed"),
    "f-fidelity": Subject("shapley", "random parts of what the map marks removed"),
    "average-drop": Subject("shapley", "what the map hides"),
    "average-gain": Subject("shapley", "what the map hides"),
}
"""By the protocol's name. Deletions one after another are about effects of many sets, of which Shapley values are the
fair mean; none of these protocols computes Shapley values."""
BY_CATEGORY = {"localization": OBJECT, "complexity": SHAPE}


def subject_of(card: ProtocolCard) -> Subject:
    """What a protocol is about; `not said` for one of other people."""
    return SUBJECTS.get(card.name, BY_CATEGORY.get(card.category, ANY))
