"""Three truths: against redrawing by hand, sums over all orders, axioms, and tables worked out on paper."""

import math
from collections import Counter
from fractions import Fraction
from itertools import permutations, product

import numpy as np
import pytest
import torch
from torch import nn

from xaibench.errors import XaibenchError
from xaibench.judging import TRUTHS, known_networks, make, truth
from xaibench.judging.law import Law, independent, suppressor, with_shortcut
from xaibench.judging.obedience import obeys
from xaibench.judging.truths import PLAYERS, coalitions, shapley_values, spread


def image_with(known, state):
    """The first image whose first features have the given values."""
    return next(i for i in known.dataset.ids if known.dataset.state(i)[: len(state)] == state)


def random_game(players, seed):
    worths = dict(zip(coalitions(players), np.random.default_rng(seed).normal(size=2 ** len(players)), strict=True))
    return worths.__getitem__


def over_all_orders(players, worth):
    """Shapley values as their definition says: the mean gain over all orders in which players join."""
    gains = dict.fromkeys(players, 0.0)
    for order in permutations(players):
        for i, player in enumerate(order):
            gains[player] += worth(frozenset(order[: i + 1])) - worth(frozenset(order[:i]))
    return {player: gain / math.factorial(len(players)) for player, gain in gains.items()}


def as_kernel_shap(players, worth):
    """The solution of KernelSHAP's weighted least squares over all coalitions (Lundberg and Lee 2017, theorem 2)."""
    n, sets = len(players), [s for s in coalitions(players) if 0 < len(s) < len(players)]
    weights = np.diag([(n - 1) / (math.comb(n, len(s)) * len(s) * (n - len(s))) for s in sets])
    rows = np.array([[float(p in s) for p in players] for s in sets])
    empty, full = worth(frozenset()), worth(frozenset(players))
    design = rows[:, :-1] - rows[:, -1:]
    goal = np.array([worth(s) - empty for s in sets]) - rows[:, -1] * (full - empty)
    first = np.linalg.solve(design.T @ weights @ design, design.T @ weights @ goal)
    return dict(zip(players, [*first, full - empty - first.sum()], strict=True))


@pytest.mark.parametrize("count", [2, 3, 4, 6])
def test_shapley_values_against_all_orders_and_kernel_shap(count):
    players = "abcdef"[:count]
    worth = random_game(players, count)
    found = shapley_values(players, worth)
    assert found == pytest.approx(over_all_orders(players, worth), abs=1e-12)
    assert found == pytest.approx(as_kernel_shap(players, worth), abs=1e-9)
    assert math.fsum(found.values()) == pytest.approx(worth(frozenset(players)) - worth(frozenset()), abs=1e-12)


def test_shapley_values_of_no_player_and_of_one():
    assert shapley_values("", lambda s: 3.0) == {}
    assert shapley_values("a", lambda s: 5.0 * len(s)) == {"a": 5.0}


def test_shapley_values_are_symmetric_linear_and_zero_for_a_dummy():
    first, second = random_game("abc", 1), random_game("abc", 2)

    def with_dummy(s):
        return first(s - {"d"})

    def symmetric(s):
        return len(s & {"a", "b"}) ** 2 + ("c" in s)

    assert shapley_values("abcd", with_dummy)["d"] == 0
    assert shapley_values("abc", symmetric) == {"a": 2.0, "b": 2.0, "c": 1.0}
    both = shapley_values("abc", lambda s: 2 * first(s) - 3 * second(s))
    one, other = shapley_values("abc", first), shapley_values("abc", second)
    assert both == pytest.approx({p: 2 * one[p] - 3 * other[p] for p in "abc"})


# Explained class, values with red and blue both there: worked out by hand from logits +-4 (f - 1/2).
BOTH = {
    "and": {"intervention": (4, 4), "shapley": (2, 2)},
    "or": {"intervention": (0, 0), "shapley": (2, 2)},
    "xor": {"intervention": (4, 4), "shapley": (0, 0)},
}
ONE = {"and": (0, 0), "or": (4, 4), "xor": (4, 4)}  # red alone: intervention and Shapley value


@pytest.mark.parametrize("name", ["and", "or", "xor"])
def test_interventions_and_shapley_values_of_logic_by_hand(name):
    known = make(name)
    for others in product((0, 1), repeat=2):
        both = image_with(known, (1, 1, *others))
        for kind, (red, blue) in BOTH[name].items():
            found = truth(known, both, kind)
            assert (found.values["red"], found.values["blue"]) == (red, blue)
            assert all(found.values[other] == 0 for other in found.values if other not in ("red", "blue"))
            assert found.status == ("ok" if red else "zero")
            assert bool(found.map.any()) == (red != 0)
    alone = image_with(known, (1, 0))
    # Without either, AND and red alone have the same class 0, whose logit does not change.
    values = truth(known, alone, "intervention").values["red"], truth(known, alone, "shapley").values["red"]
    assert values == ONE[name]


def test_example_of_the_documentation():
    known = make("or")
    image_id = known.dataset.ids[1]
    assert known.dataset.shown(image_id) == ("red", "blue")
    changed = known.dataset.draw(image_id, without=["red"]) != known.dataset.load(image_id).image
    assert np.array_equal(changed.any(-1), known.masks(image_id)["red"])
    assert truth(known, image_id, "shapley").values == {"red": 2.0, "blue": 2.0}


def test_class_that_is_explained_is_the_one_predicted():
    """Red and blue in XOR: class 0 is explained, and either feature speaks for it only beside the other."""
    known = make("xor")
    image_id = image_with(known, (1, 1))
    assert known.target(image_id) == 0 and known.network(known.inputs([image_id])).argmax() == 0


@pytest.mark.parametrize("name", known_networks())
def test_interventions_against_images_drawn_by_hand(name):
    known = make(name)
    for image_id in known.dataset.ids[:4]:
        target, found = known.target(image_id), truth(known, image_id, "intervention")
        whole = known.network(known.encode([known.dataset.load(image_id).image]))[0, target].double()
        for feature, mask in known.masks(image_id).items():
            image = known.dataset.load(image_id).image.copy()
            image[mask] = known.dataset.draw(image_id, [feature])[mask]
            changed = known.network(known.encode([image]))[0, target].double()
            value = found.values[feature]
            if not math.isnan(value):
                assert value == pytest.approx(float(whole - changed), abs=1e-5)
            if found.status == "ok":
                assert float(found.map[torch.from_numpy(mask)].sum()) == pytest.approx(value, abs=1e-9)
                assert len(found.map[torch.from_numpy(mask)].unique()) == 1
        outside = ~np.logical_or.reduce([*known.masks(image_id).values(), np.zeros((64, 64), dtype=bool)])
        assert found.map.dtype == torch.float64 and not found.map[torch.from_numpy(outside)].any()


@pytest.mark.parametrize("name", known_networks())
def test_shapley_values_add_up_to_what_all_features_do(name):
    known = make(name)
    for image_id in known.dataset.ids[:4]:
        values, shown = truth(known, image_id, "shapley").values, known.dataset.shown(image_id)
        empty, full = known.logits_of(image_id, [[], shown])[:, known.target(image_id)].tolist()
        assert math.fsum(values.values()) == pytest.approx(full - empty, abs=1e-5)


def test_in_a_sum_interventions_and_shapley_values_are_the_weights():
    known = make("sum")
    weights = known.network.logic[0].weight.double()
    for image_id in known.dataset.ids[:5]:
        row = dict(zip(known.features, weights[known.target(image_id)].tolist(), strict=True))
        for kind in ("intervention", "shapley"):
            assert truth(known, image_id, kind).values == {f: row[f] for f in known.dataset.shown(image_id)}


def test_association_against_tables_by_hand():
    """AND of two fair bits: P(1 | a) = 1/2, P(1 | not a) = 0. XOR: 1/2 in either case, and certain given the other."""
    both = independent("ab", lambda s: s[0] & s[1])
    assert both.association("a", 1) == 0.5 and both.association("a", 0) == -0.5
    assert both.association("a", 1, {"b": 1}) == 1 and both.association("a", 1, {"b": 0}) == 0
    parity = independent("ab", lambda s: s[0] ^ s[1])
    assert parity.association("a", 1) == 0 and parity.association("a", 1, {"b": 1}) == -1
    # I(a; a AND b) = H(1/4) - H(1/2) / 2; I(a; a XOR b) = 0 and 1 given b.
    entropy = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert both.information("a") == pytest.approx(entropy - 0.5, abs=1e-15)
    assert parity.information("a") == 0 and parity.information("a", ["b"]) == 1


def test_a_suppressor_says_nothing_alone_and_something_beside_the_others():
    law = suppressor("abnx")
    assert law.association("n", 1) == 0 and law.information("n") == 0
    assert law.association("n", 1, {"a": 1, "b": 0, "x": 0}) == -1
    # Given a alone: H(z | a) is 3/4 bit for P(z=1 | a) = 2/3; given n too, z is known where a = 1, n = 0 alone.
    unsure = 0.75 * -(2 / 3 * math.log2(2 / 3) + 1 / 3 * math.log2(1 / 3)) - 0.5
    assert law.information("n", ["a"]) == pytest.approx(unsure, abs=1e-15)
    assert law.association("a", 1) == pytest.approx(2 / 3) and law.association("x", 1) == 0
    assert law.association("n", 1, {"a": 0, "b": 0, "x": 0}) is None  # noise without a is never seen


def test_probabilities_of_a_shortcut_by_hand():
    law = with_shortcut("abm", lambda s: s[0] & s[1], Fraction(1, 2), Fraction(3, 4))
    assert sum(law.chances.values()) == 1
    assert law.probability((1, 1, 1)) == Fraction(3, 16) and law.probability((1, 1, 1), ["m"]) == Fraction(1, 4)
    # P(label | mark) = (1/4 * 3/4) / (1/4 * 3/4 + 3/4 * 1/4); P(label | no mark) = (1/16) / (1/16 + 9/16)
    assert law.association("m", 1) == pytest.approx(1 / 2 - 1 / 10)
    with pytest.raises(XaibenchError, match="together 1"):
        Law(("a",), {(1,): Fraction(1, 2)}, lambda s: s[0])


def test_associations_do_not_depend_on_the_network():
    """The shortcut's network follows the mark; the data also associate red and blue with the label."""
    known = make("shortcut")
    image_id = image_with(known, (1, 1, 1, 1))
    found, used = truth(known, image_id, "association"), truth(known, image_id, "intervention")
    law = known.dataset.law
    assert found.values == {name: law.association(name, 1) for name in known.features}
    assert found.values["red"] == pytest.approx(0.7) and found.values["magenta"] == 0
    assert used.values == {"red": 1.0, "blue": 1.0, "magenta": 0.0, "mark": 3.0}


def test_what_is_undefined_is_said_and_not_placed():
    known = make("suppressor")
    image_id = image_with(known, (1, 1, 1))  # without the second feature, or the third, the data never show it
    found = truth(known, image_id, "intervention")
    assert found.status == "undefined" and math.isnan(found.values["red"]) and not found.map.any()
    assert truth(known, image_id, "shapley").status == "ok"
    counts = Counter(truth(known, i, "intervention").status for i in known.dataset.ids[:24])
    assert set(counts) == {"ok", "zero", "undefined"} and counts.total() == 24


def test_association_of_a_suppressor_differs_from_its_effect():
    known = make("suppressor")
    image_id = image_with(known, (1, 0, 1, 0))  # z = 0: class 0 is explained, and magenta speaks for it
    assert truth(known, image_id, "intervention").values["magenta"] == 4
    assert truth(known, image_id, "association").values["magenta"] == 0
    assert truth(known, image_id, "association-given-rest").values["magenta"] == 1


def test_spread_gives_each_pixel_its_share_and_refuses_empty_masks():
    mask = np.zeros((64, 64), dtype=bool)
    mask[2, 3:7] = True
    placed = spread({"a": -2.0}, {"a": mask})
    assert placed[2, 3:7].tolist() == [-0.5] * 4 and placed.sum() == -2
    with pytest.raises(XaibenchError, match="no pixel"):
        spread({"a": 1.0}, {"a": ~mask & mask})


def test_unknown_truths_are_refused():
    known = make("and", count=4)
    with pytest.raises(XaibenchError, match="shapley"):
        truth(known, known.dataset.ids[0], "shaply")
    assert len(known.features) <= PLAYERS and len(TRUTHS) == 4


def test_obedience_of_a_network_that_follows_and_of_two_that_do_not():
    known = make("xor")
    images = known.dataset.ids[:20]
    found = obeys(known.network, known.dataset, images)
    assert (found.share, found.pairs, found.high) == (1.0, 20, 1.0) and found.known
    assert found.low == pytest.approx(0.025 ** (1 / 20))

    class Always(nn.Module):
        def forward(self, x):
            return torch.tensor([[0.0, 1.0]]).repeat(len(x), 1)

    # Of XOR a switch of red or blue changes the class, so a constant obeys only where another feature is switched.
    constant = obeys(Always(), known.dataset, images)
    assert 0 < constant.share < 0.6 and not constant.known

    class Unmoved(nn.Module):
        def forward(self, x):
            return known.network(x[:1]).repeat(len(x), 1)

    # Right on every image, but the switched scene gets the same class.
    assert 0.2 < obeys(Unmoved(), known.dataset, images).share < 0.8
    other = make("or")
    assert obeys(other.network, known.dataset, images).share < 1
    with pytest.raises(XaibenchError, match="counterfactual pair"):
        obeys(known.network, known.dataset, [])
