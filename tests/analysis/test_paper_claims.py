"""Claims of papers: each statistic says shows, does not show and cannot be told on numbers where that is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import permutation_test, ttest_ind, ttest_rel, wilcoxon

from xaibench.analysis.arm import Arm
from xaibench.analysis.boards import boards
from xaibench.analysis.leaderboard import open_board
from xaibench.analysis.paper_claims import decide
from xaibench.analysis.printed import beside
from xaibench.analysis.study import make_study
from xaibench.analysis.verdicts import Measured
from xaibench.cards import Claim, ComparisonCard
from xaibench.errors import XaibenchError

SHOWS, NOT, UNTOLD = "shows", "does not show", "cannot be told"


@pytest.fixture
def board(store, kit):
    """board(scores): a leaderboard of {method: values over images}."""

    def make(scores: dict[str, np.ndarray], model: str = "resnet50"):
        cells = [kit.cell(name, context=kit.context(model)) for name in scores]
        ids = kit.ids(len(next(iter(scores.values()))))
        kit.record(store, cells, [dict(zip(ids, map(float, values), strict=True)) for values in scores.values()], ids)
        return open_board(store, boards(store, model=model)[0], held=True)

    return make


def _ids(count):
    return [f"{index:03d}.png" for index in range(count)]


def measured(boards=None, studies=None, accuracies=None):
    return Measured(boards or {}, accuracies or {}, studies or {}, {"gone": "not run"})


def claim(statistic, **fields):
    return Claim(name="T1", text="it is so", statistic=statistic, **fields)


def test_pairs_of_methods_are_decided_by_paired_tests_over_images(board):
    rng = np.random.default_rng(0)
    base = rng.normal(0.3, 0.2, 16)
    scores = {"good": base + 0.1 + rng.normal(0, 0.02, 16), "bad": base, "alike": base + np.tile([0.05, -0.05], 8)}
    given = measured({"b": board(scores)})

    def state(*pairs):
        return decide(claim("better", run="b", pairs=pairs), given).state

    assert state(("good", "bad")) == SHOWS and state(("bad", "good")) == NOT
    assert ttest_rel(scores["good"], scores["bad"]).pvalue < 0.001  # an independent test says the same
    assert wilcoxon(scores["alike"], scores["bad"]).pvalue > 0.05 and state(("alike", "bad")) == UNTOLD
    assert state(("good", "bad"), ("alike", "bad")) == UNTOLD
    assert state(("good", "bad"), ("bad", "good")) == NOT
    verdict = decide(claim("better", run="b", pairs=[("good", "absent")]), given)
    assert verdict.state == UNTOLD and verdict.why == "not on the board: absent"


def test_the_opposite_of_one_of_many_pairs_is_judged_after_holms_step(board):
    """One of six pairs has p = .03 the other way round: alone it contradicts, among six it does not."""
    rng = np.random.default_rng(4)
    noise = {f"m{number}": rng.normal(0.5, 0.1, 16) for number in range(7)}
    difference = rng.normal(0, 0.1, 16)
    difference += 0.062 - difference.mean()  # p is between .05 / 6 and .05, as asserted below
    noise["m1"] = noise["m0"] + difference
    p = permutation_test(
        (difference,), lambda x: x.mean(), permutation_type="samples", n_resamples=np.inf, vectorized=False
    ).pvalue
    assert 0.05 / 6 < p < 0.05
    given = measured({"b": board(noise)})
    alone = decide(claim("better", run="b", pairs=[("m0", "m1")]), given)
    assert alone.state == NOT and f"p = {p:.2g}" in alone.why
    others = [(f"m{number}", f"m{number + 1}") for number in range(2, 6)] + [("m2", "m4")]
    assert decide(claim("better", run="b", pairs=[("m0", "m1"), *others]), given).state == UNTOLD


def test_a_mean_is_at_most_a_bound_by_its_interval(board):
    values = np.random.default_rng(1).normal(0.5, 0.1, 32)
    given = measured({"b": board({"one": values, "two": values[::-1]})})

    def state(bound):
        return decide(claim("at-most", run="b", methods=["one"], bound=bound), given).state

    assert (state(0.7), state(0.3), state(float(values.mean()))) == (SHOWS, NOT, UNTOLD)


def test_orders_are_alike_by_the_interval_of_their_rank_correlation(board):
    rng = np.random.default_rng(2)
    means = np.linspace(0, 1, 10)
    first = {f"m{m}": mean + rng.normal(0, 0.05, 24) for m, mean in enumerate(means)}
    same = {f"m{m}": mean + rng.normal(0, 0.05, 24) for m, mean in enumerate(means)}
    reverse = {f"m{m}": -mean + rng.normal(0, 0.05, 24) for m, mean in enumerate(means)}
    noise = {f"m{m}": rng.normal(0, 1, 24) for m in range(10)}
    given = measured({name: board(scores, name) for name, scores in
                      {"first": first, "same": same, "reverse": reverse, "noise": noise}.items()})  # fmt: skip
    states = [decide(claim("order", run="first", other=name, bound=0.8), given).state for name in ("same", "reverse")]
    assert states == [SHOWS, NOT]
    assert decide(claim("order", run="first", other="noise", bound=0.1), given).state == UNTOLD


def arm(name, means, images=20, noise=0.02, seed=0):
    """An arm with a training per mean, the methods a (at the mean) and b (a tenth lower)."""
    rng = np.random.default_rng(seed)
    common = np.random.default_rng(9).normal(0, 0.1, (1, images, 1))
    scores = np.array(means)[:, None, None] + np.array([0, -0.1]) + common
    scores = scores + rng.normal(0, noise, (len(means), images, 2))
    return Arm(name, scores, ("a", "b"), ("method", "method"), tuple(_ids(images)), (0.9,) * len(means))


@pytest.fixture
def study(board):
    """study(before, after): of two arms."""
    first = board({"a": np.arange(4) / 4, "b": np.arange(4) / 5})

    def make(before, after, **fields):
        card = ComparisonCard(name="c", title="t", question="q?", pairs=[(before.name, after.name)], **fields)
        arms = {before.name: before, after.name: after}
        return make_study(card, {name: [first] for name in arms}, arms, card.pairs, comparable=True)

    return make


FIVE = [0.50, 0.52, 0.49, 0.51, 0.5]


@pytest.mark.parametrize(
    ("before", "after", "state"),
    [(FIVE, [x + 0.1 for x in FIVE], SHOWS), ([x + 0.1 for x in FIVE], FIVE, NOT), (FIVE, FIVE, UNTOLD),
     (FIVE[:4], [x + 0.1 for x in FIVE], UNTOLD)],
)  # fmt: skip
def test_designs_are_decided_over_five_trainings(study, before, after, state):
    arms = arm("x", before), arm("y", after, seed=1)
    given = measured(studies={"c": [study(*arms)]})
    found = decide(claim("change", comparison="c"), given)
    assert found.state == state
    assert decide(claim("change", comparison="c", methods=["b"]), given).state == state
    across = decide(claim("across", comparison="c", pairs=[("x", "y")], methods=["a", "a"]), given)
    assert across.state == state
    opposite = {SHOWS: NOT, NOT: SHOWS, UNTOLD: UNTOLD}[state]
    assert decide(claim("change", comparison="c", direction="down"), given).state == opposite
    if len(before) == 5:  # Welch over the means of trainings alone says the same here
        p = ttest_ind(*(one.scores.mean(axis=(1, 2)) for one in arms), equal_var=False).pvalue
        assert (p < 0.05) == (state != UNTOLD)
    else:
        assert "4 of the 5 trainings" in found.why


def test_the_best_method_is_chosen_on_other_images_than_it_is_compared_on(study):
    """Methods that are all noise: the best of many beats another one on the images that it was chosen on."""
    rng = np.random.default_rng(3)
    names = tuple(f"m{number:02d}" for number in range(40))
    noise = Arm("x", rng.normal(0, 1, (5, 20, 40)).mean(axis=0, keepdims=True).repeat(5, axis=0), names,
                ("method",) * 40, tuple(_ids(20)))  # fmt: skip
    flat = Arm("y", rng.normal(0, 0.01, (5, 20, 1)), ("own",), ("method",), tuple(_ids(20)))
    noisy = Arm("x", noise.scores + rng.normal(0, 0.05, noise.scores.shape), *list(vars(noise).values())[2:])
    card = ComparisonCard(name="c", title="t", question="q?", pairs=[("x", "y")])
    whole = study(arm("x", FIVE), arm("y", FIVE))
    given = measured(studies={"c": [type(whole)(**vars(whole) | {"card": card, "arms": {"x": noisy, "y": flat}})]})
    chosen = decide(claim("across", comparison="c", pairs=[("x", "y")], methods=["best", "own"]), given)
    best = noisy.scores[:, ::2].mean(axis=(0, 1)).argmax()
    assert names[best] in chosen.why
    held_out = noisy.scores[:, 1::2, best].mean()
    assert f"{flat.scores[:, 1::2].mean() - held_out:+.3f}" in chosen.why and chosen.state == UNTOLD


def test_accuracies_are_decided_by_group(study):
    """A group on which every training of the second arm is right, and one on which nothing changes."""
    images, groups = 20, ("rare",) * 10 + ("common",) * 10
    right = np.zeros((5, images), bool)
    right[:, 10:] = right[:, :2] = True
    better = right.copy()
    better[:, 2:9] = True
    made = (("x", arm("x", FIVE), right), ("y", arm("y", FIVE, seed=1), better))
    arms = [Arm(name, one.scores, one.methods, one.kinds, one.images, correct=correct, groups=groups)
            for name, one, correct in made]  # fmt: skip
    given = measured(studies={"c": [study(*arms)]})

    def state(group, direction="up"):
        return decide(claim("accuracy", comparison="c", group=group, direction=direction), given).state

    assert (state("rare"), state("rare", "down"), state("common")) == (SHOWS, NOT, UNTOLD)
    unknown = decide(claim("accuracy", comparison="c", group="absent"), given)
    assert (unknown.state, unknown.why) == (UNTOLD, "the accuracy on absent is not known")


def test_confounded_arms_tell_nothing(study):
    given = measured(studies={"c": [study(arm("x", FIVE), arm("y", [0.9] * 5), confounded=("width", "depth"))]})
    assert decide(claim("change", comparison="c"), given).state == UNTOLD


def test_a_trade_off_is_a_rank_correlation_over_models(board):
    rng = np.random.default_rng(5)
    made = {f"net{n}": board({"a": n / 10 + rng.normal(0, 0.01, 6), "b": rng.normal(0, 0.01, 6)}, f"net{n}")
            for n in range(6)}  # fmt: skip
    falling = {name: 1 - n / 10 for n, name in enumerate(made)}
    wanted = claim("trade-off", direction="down")
    assert decide(wanted, measured(made, accuracies=falling)).state == SHOWS
    assert decide(wanted, measured(made, accuracies={k: 1 - v for k, v in falling.items()})).state == NOT
    level = dict.fromkeys(made, 0.9) | {"net2": 0.8}
    assert decide(wanted, measured(made, accuracies=level)).state == UNTOLD
    few = {name: made[name] for name in list(made)[:4]}
    assert "4 models" in decide(wanted, measured(few, accuracies=falling)).why


def test_what_is_not_there_cannot_be_told():
    missing = decide(claim("better", run="gone", pairs=[("a", "b")]), measured())
    assert (missing.state, missing.why) == (UNTOLD, "not run")
    assert decide(claim("none", why="no raw answers"), measured()).why == "no raw answers"


def test_a_claim_says_what_its_statistic_needs():
    for statistic in ("better", "at-most", "change", "across", "accuracy", "order", "none"):
        with pytest.raises(ValueError, match=f"statistic '{statistic}' needs"):
            claim(statistic)
    assert issubclass(XaibenchError, Exception)


def test_printed_numbers_and_ours():
    found = beside({"x": 0.5, "y": 0.9, "z": 0.6, "w": 9.0}, {"x": 0.2, "y": 0.4, "z": 0.7}, "score")
    assert found.count == 3 and found.rho == 0.5 and found.farthest == "y" and found.largest == pytest.approx(-0.5)
    assert found.table["name"].tolist() == ["x", "y", "z", "w"] and np.isnan(found.table["ours"].iloc[3])
    assert np.isnan(beside({"x": 1.0, "y": 2.0}, {"x": 1.0, "y": 2.0}, "q").rho)
    nothing = beside({"x": 1.0}, {}, "q")
    assert nothing.farthest == "" and np.isnan(nothing.largest) and nothing.count == 0
