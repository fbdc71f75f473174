"""The distribution of features in a data set, exact: which features a scene shows, and which label it then has."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

from xaibench.datasets.critters.dice import Dice
from xaibench.errors import XaibenchError

State = tuple[int, ...]


@dataclass(frozen=True)
class Law:
    """Features that are shown (1) or not (0), the probability of each combination, and the label that it has.

    chances: state to probability, states of probability 0 left out; fractions that add up to 1, so that what is 0 is
    found to be 0. label: from a state to the class that the data set gives such a scene, which need not be the class
    that a network predicts. Raises XaibenchError where the probabilities do not add up to 1.
    """

    features: tuple[str, ...]
    chances: Mapping[State, Fraction]
    label: Callable[[State], int]

    def __post_init__(self) -> None:
        total = sum(self.chances.values())
        if total != 1 or min(self.chances.values()) <= 0:
            raise XaibenchError(f"law of features: probabilities add up to {total}; they must be positive, together 1")

    def draw(self, dice: Dice) -> State:
        """One state; a single draw of the dice, whatever the number of states."""
        level, below = Fraction(dice.unit()), Fraction(0)
        for state in sorted(self.chances):
            below += self.chances[state]
            if level < below:
                break
        return state

    def probability(self, state: State, but: Sequence[str] = ()) -> Fraction:
        """The probability of a state, of which the features in `but` may have any value."""
        free = {self.features.index(name) for name in but}
        fits = (
            chance
            for other, chance in self.chances.items()
            if all(i in free or a == b for i, (a, b) in enumerate(zip(state, other, strict=True)))
        )
        return sum(fits, Fraction(0))

    def of_class(self, label: int, fixed: Mapping[str, int]) -> Fraction | None:
        """P(label | features have the values `fixed`); None where the data never show such values."""
        places = {self.features.index(name): value for name, value in fixed.items()}
        fitting = [(s, c) for s, c in self.chances.items() if all(s[i] == v for i, v in places.items())]
        total = sum(c for _, c in fitting)
        return sum((c for s, c in fitting if self.label(s) == label), Fraction(0)) / total if total else None

    def association(self, feature: str, label: int, given: Mapping[str, int] | None = None) -> float | None:
        """P(label | feature shown) - P(label | feature not shown), in [-1, 1], exact from the law.

        given: values of other features that are held fixed; without any, it is the marginal association, in which a
        suppressor variable counts nothing (XAI-TRIS, Clark et al. 2024; Haufe et al. 2014). None where the data show
        the feature always or never, so that there is nothing to compare.
        """
        fixed = {name: value for name, value in (given or {}).items() if name != feature}
        shown, hidden = (self.of_class(label, fixed | {feature: value}) for value in (1, 0))
        return None if shown is None or hidden is None else float(shown - hidden)

    def information(self, feature: str, given: Sequence[str] = ()) -> float:
        """The mutual information of a feature and the label in bits, given other features: I(X; Y | given) >= 0."""
        at = self.features.index(feature)
        places = [self.features.index(name) for name in given]
        joint: dict[tuple, Fraction] = {}
        for state, chance in self.chances.items():
            key = tuple(state[i] for i in places), state[at], self.label(state)
            joint[key] = joint.get(key, 0) + chance
        context, with_x, with_y = {}, {}, {}
        for (z, x, y), chance in joint.items():
            context[z] = context.get(z, 0) + chance
            with_x[z, x] = with_x.get((z, x), 0) + chance
            with_y[z, y] = with_y.get((z, y), 0) + chance
        return math.fsum(
            c * math.log2(c * context[z] / (with_x[z, x] * with_y[z, y])) for (z, x, y), c in joint.items()
        )


def independent(features: Sequence[str], label: Callable[[State], int], shown: Fraction = Fraction(1, 2)) -> Law:
    """Each feature is shown with the same probability, independently of the others."""
    chances = {s: math.prod(shown if v else 1 - shown for v in s) for s in product((0, 1), repeat=len(features))}
    return Law(tuple(features), chances, label)


def with_shortcut(features: Sequence[str], label: Callable[[State], int], shown: Fraction, agreement: Fraction) -> Law:
    """As `independent`, but the last feature is shown where the label is 1, and not where it is 0, with a probability.

    label gets a state of all features and must not depend on the last one.
    """
    chances = {}
    for state in product((0, 1), repeat=len(features)):
        rest = math.prod(shown if v else 1 - shown for v in state[:-1])
        agrees = state[-1] == label(state)
        chances[state] = rest * (agreement if agrees else 1 - agreement)
    return Law(tuple(features), {s: c for s, c in chances.items() if c > 0}, label)


def suppressor(features: Sequence[str]) -> Law:
    """Four features: signal + noise in the first two, the noise alone in the third, nothing in the fourth.

    Signal z and noise n are fair bits; the first feature is shown for z or n, the second for z and n, so that their
    number is z + n, and the third for n. The label z = first + second - third; the third feature alone says nothing
    about z (a suppressor variable). The fourth is a fair bit of its own.
    """
    chances = {(z | n, z & n, n, other): Fraction(1, 8) for z, n, other in product((0, 1), repeat=3)}
    return Law(tuple(features), chances, lambda state: state[0] + state[1] - state[2])
