"""The list of networks whose function is known, each with the scenes that it is for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import numpy as np
import torch
from torch import nn

from xaibench.datasets.critters.dice import Dice
from xaibench.errors import unknown
from xaibench.judging.badges import GROUND, Badge, Badged
from xaibench.judging.knowledge import Known
from xaibench.judging.law import Law, State, independent, suppressor, with_shortcut
from xaibench.judging.networks import compiled, hidden, linear_in_pixels, patch_sum, two_logits

COLOURS: Mapping[str, Badge] = {
    "red": Badge("disc", (255, 0, 0)),
    "blue": Badge("cross", (0, 0, 255)),
    "magenta": Badge("bars", (255, 0, 255)),
    "black": Badge("beam", (0, 0, 0)),
}
SHAPED: Mapping[str, Badge] = {shape: Badge(shape, (0, 0, 0)) for shape in ("disc", "cross", "bars", "beam")}
FIXED: Mapping[str, Badge] = {
    name: Badge(badge.shape, badge.colour, place)
    for (name, badge), place in zip(COLOURS.items(), ((10, 10), (10, 40), (42, 14), (38, 44)), strict=True)
}
MARK = "mark"
LOOKS: Mapping[str, Badge] = {**COLOURS, MARK: Badge("slab", (255, 255, 0), (1, 1))}
THREE = ("first", "second", "third")
YES_NO = ("rule does not hold", "rule holds")


Maker = Callable[[int, str, int], Known]
_MAKERS: dict[str, Maker] = {}


def known_networks() -> list[str]:
    """The names of all networks whose function is known."""
    return list(_MAKERS)


def make(name: str, seed: int = 0, *, split: str = "test", count: int = 5000) -> Known:
    """A network by its name; the seed draws its scenes and, where it has any, its random weights.

    split and count are those of `Critters`. Raises XaibenchError for an unknown name.
    """
    if name not in _MAKERS:
        raise unknown("network whose function is known", name, _MAKERS)
    return _MAKERS[name](seed, split, count)


def _maker(function: Maker) -> Maker:
    _MAKERS[function.__name__.removeprefix("_").removesuffix("_").replace("_", "-")] = function
    return function


def _join(
    name: str, seed: int, split: str, count: int, rule: Callable[[State], int], logic: Sequence[nn.Module], fits: str,
    law: Law | None = None, classes: Sequence[str] = YES_NO,
) -> Known:  # fmt: skip
    """A network over detectors of all features of a law; by default four independent badges labelled by the rule."""
    law = law or independent(tuple(COLOURS), rule)
    badges = {feature: LOOKS[feature] for feature in law.features if feature != GROUND}
    dataset = Badged(name, law, badges, classes, split=split, count=count, seed=seed)
    network = compiled(law.features, dataset.badges, *logic)
    return Known(name, network, dataset, rule, "detectors.gather", fits)


_LOGIC_FITS = {
    "and": "Gradients, CAMs and removal see both features where both are there. Where one is missing, the gradient of "
    "the other is 0, as is the effect of removing it.",
    "or": "With both features there, gradients and every single removal are 0, and only methods that average over "
    "many removals or along a path (Shapley values, RISE, integrated gradients) can be right.",
    "xor": "The logit rises with the first feature and falls with the second: signs are needed, and gradients with "
    "both features there see a slope of 0 for either, at a bend of the function.",
}


@_maker
def _and_(seed: int, split: str, count: int) -> Known:
    """red AND blue: f = relu(2 (r + b) - 3)."""
    logic = hidden([[2, 2, 0, 0]], [-3]), nn.ReLU(), two_logits([1], 0)
    law = independent(tuple(COLOURS), lambda s: s[0] & s[1], Fraction(7, 10))  # so that half of all images hold
    return _join("and", seed, split, count, law.label, logic, _LOGIC_FITS["and"], law)


@_maker
def _or_(seed: int, split: str, count: int) -> Known:
    """red OR blue: f = relu(r + b) - relu(r + b - 1)."""
    logic = hidden([[1, 1, 0, 0]] * 2, [0, -1]), nn.ReLU(), two_logits([1, -1], 0)
    return _join("or", seed, split, count, lambda s: s[0] | s[1], logic, _LOGIC_FITS["or"])


@_maker
def _xor(seed: int, split: str, count: int) -> Known:
    """red XOR blue: f = relu(r + b) - 2 relu(r + b - 1)."""
    logic = hidden([[1, 1, 0, 0]] * 2, [0, -1]), nn.ReLU(), two_logits([1, -2], 0)
    return _join("xor", seed, split, count, lambda s: s[0] ^ s[1], logic, _LOGIC_FITS["xor"])


@_maker
def _sum(seed: int, split: str, count: int) -> Known:
    """Three classes whose logits are weighted sums of four features, with weights drawn by the seed."""
    weights, bias = class_weights(Dice(seed, "judging", "weights of sum"), len(COLOURS))
    fits = "Linear above its detectors: gradients, input times gradient, CAMs, removal and Shapley values agree."
    logic = (hidden(weights.tolist(), bias.tolist()),)
    return _join("sum", seed, split, count, _highest(weights, bias), logic, fits, classes=THREE)


@_maker
def _linear(seed: int, split: str, count: int) -> Known:
    """Linear in pixels: badges at fixed places, grey sockets where none is shown, weights drawn by the seed."""
    weights, bias = class_weights(Dice(seed, "judging", "weights of linear"), len(FIXED))
    law = independent(tuple(FIXED), _highest(weights, bias))
    dataset = Badged("linear", law, FIXED, THREE, split=split, count=count, seed=seed, sockets=True)
    masks = dataset.masks(dataset.ids[0], FIXED)  # the same in every image
    places = {name: (badge, torch.from_numpy(masks[name])) for name, badge in FIXED.items()}
    network = linear_in_pixels(places, torch.from_numpy(weights).float(), torch.from_numpy(bias).float())
    fits = (
        "The gradient is the same for every image, with large values where sockets are empty; input times gradient, "
        "integrated gradients and removal are right. There is no map, so no CAM."
    )
    return Known("linear", network, dataset, law.label, "", fits)


@_maker
def _bagnet(seed: int, split: str, count: int) -> Known:
    """The sum of scores of local patches: four shapes in one colour, with weights drawn by the seed."""
    weights, bias = class_weights(Dice(seed, "judging", "weights of bagnet"), len(SHAPED))
    law = independent(tuple(SHAPED), _highest(weights, bias))
    dataset = Badged("bagnet", law, SHAPED, THREE, split=split, count=count, seed=seed)
    network = patch_sum(SHAPED, torch.from_numpy(weights).float(), torch.from_numpy(bias).float())
    fits = (
        "Gradients and removal see the shapes. A class activation map has each score at the middle of its patch, so it "
        "is right to within half of a patch. Removing half of a shape takes away all of its score."
    )
    return Known("bagnet", network, dataset, law.label, "score", fits)


def _highest(weights: np.ndarray, bias: np.ndarray) -> Callable[[State], int]:
    return lambda state: int(np.argmax(weights @ np.array(state) + bias))


def class_weights(dice: Dice, features: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Weights (K, P) and biases (K,), multiples of 1/2, under which no two classes tie in any of the 2**P states.

    The best class leads by at least 1/2 in each, and each class is the best in some state.
    """
    states = (np.arange(2**features)[:, None] >> np.arange(features)) & 1
    while True:
        weights = np.array([[dice.below(17) - 8 for _ in range(features)] for _ in range(classes)]) / 2
        bias = np.array([dice.below(5) - 2 for _ in range(classes)]) / 2
        ordered = np.sort(states @ weights.T + bias, axis=1)
        winners = np.unique((states @ weights.T + bias).argmax(1))
        if (ordered[:, -1] - ordered[:, -2] >= 0.5).all() and len(winners) == classes:
            return weights, bias


@_maker
def _background(seed: int, split: str, count: int) -> Known:
    """Only the background: f grows with the number of dyed pixels, and badges count nothing."""
    features = ("red", "blue", "black", GROUND)
    law = independent(features, lambda s: s[3])
    fits = "Linear in the dyed pixels: gradients and removal are right; masks of the badges are all wrong."
    logic = (two_logits([0, 0, 0, 2], 0.25),)
    return _join("background", seed, split, count, lambda s: s[3], logic, fits, law)


@_maker
def _shortcut(seed: int, split: str, count: int) -> Known:
    """Labels are red AND blue; the network follows a mark in the corner that 95 % of labels agree with.

    f = 0.75 mark + 0.25 relu(2 (r + b) - 3), so the mark decides the class and the rule counts a little.
    """
    features = ("red", "blue", "magenta", MARK)
    law = with_shortcut(features, lambda s: s[0] & s[1], Fraction(7, 10), Fraction(19, 20))
    logic = hidden([[2, 2, 0, 0], [0, 0, 0, 1]], [-3, 0]), nn.ReLU(), two_logits([0.25, 0.75], 0)
    fits = "Gradients, CAMs and removal see the mark; what is associated with the label is not what the network uses."
    return _join("shortcut", seed, split, count, lambda s: s[3], logic, fits, law)


@_maker
def _suppressor(seed: int, split: str, count: int) -> Known:
    """red + blue - magenta, where magenta alone says nothing about the label (Haufe et al. 2014, XAI-TRIS)."""
    law = suppressor(tuple(COLOURS))
    fits = "Linear: gradients and removal give magenta its weight of -1, its association with the label is 0."
    logic = (two_logits([1, 1, -1, 0], 0),)
    return _join("suppressor", seed, split, count, law.label, logic, fits, law)
