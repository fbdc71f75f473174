"""Claims of papers: each statistic says shows, does not show and cannot be told on numbers where that is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr, permutation_test, ttest_ind, ttest_rel, wilcoxon

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
    networks = measured({"a": board({"(none)": base}, "vgg16"), "b": board({"(none)": base + 0.1}, "vgg19")})
    verdict = decide(claim("better", run="a", pairs=[("(none)@b", "(none)@a")]), networks)
    assert verdict.state == SHOWS and verdict.why.startswith(f"b {base.mean() + 0.1:.3f}, a {base.mean():.3f}, p = ")


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

    def state(*group, direction="up"):
        return decide(claim("accuracy", comparison="c", group=group, direction=direction), given).state

    assert (state("rare"), state("rare", direction="down"), state("common")) == (SHOWS, NOT, UNTOLD)
    assert state("absent", "rare", "common") == SHOWS  # the first that there is
    unknown = decide(claim("accuracy", comparison="c", group=("absent", "gone")), given)
    assert (unknown.state, unknown.why) == (UNTOLD, "the accuracy on absent or gone is not known")


def test_a_verdict_on_a_design_says_of_which_methods_the_change_is(study):
    def why(*methods):
        arms = [
            replace(one, methods=methods, kinds=("method",) * len(methods), scores=one.scores[..., : len(methods)])
            for one in (arm("x", FIVE), arm("y", FIVE, seed=1))
        ]
        return decide(claim("change", comparison="c"), measured(studies={"c": [study(*arms)]})).why

    assert why("a", "b").startswith("x to y, mean of 2 methods: ")
    assert why("a").startswith("x to y, a: ") and why("(none)").startswith("x to y: ")


def test_confounded_arms_tell_nothing(study):
    given = measured(studies={"c": [study(arm("x", FIVE), arm("y", [0.9] * 5), confounded=("width", "depth"))]})
    assert decide(claim("change", comparison="c"), given).state == UNTOLD


@pytest.mark.slow
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
    nothing = Measured({}, {}, {}, {})
    assert decide(claim("better", run="gone", pairs=[("a", "b")]), nothing).why == "gone is not part of this scale"
    design = "this scale does not compare c: claims about designs take 5 trainings of each arm"
    assert decide(claim("change", comparison="c"), nothing).why == design
    assert decide(claim("change", comparison="c", why="too dear"), nothing).why == "too dear"


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


def timed(name, seconds):
    """An arm whose trainings took these seconds an epoch."""
    return replace(arm(name, [0.5 + 0.01 * number for number in range(len(seconds))]), seconds=tuple(seconds))


@pytest.mark.parametrize(
    ("before", "after", "state"),
    [([10, 11, 9, 10, 10.5], [30, 31, 33, 29, 30], SHOWS), ([10, 11, 9, 10, 10.5], [11, 12, 10, 11, 11], NOT),
     ([10, 11, 9, 10, 10.5], [19, 24, 22, 18, 20], UNTOLD), ([10, 11, 9, 10], [30, 31, 33, 29, 30], UNTOLD),
     ([float("nan")] * 5, [30, 31, 33, 29, 30], UNTOLD)],
)  # fmt: skip
def test_seconds_are_compared_as_ratios(study, before, after, state):
    given = measured(studies={"c": [study(timed("x", before), timed("y", after))]})
    found = decide(claim("seconds", comparison="c", low=2, high=5), given)
    assert found.state == state
    if len(before) == 5 and before[0] > 0:  # the interval is SciPy's of the logarithms
        one, other = np.log(before), np.log(after)
        ends = np.exp(ttest_ind(other, one, equal_var=False).confidence_interval(0.95))
        assert f"{np.exp(other.mean() - one.mean()):+.3f} [{ends[0]:+.3f}, {ends[1]:+.3f}]" in found.why
    else:
        assert "4 of the 5 trainings" in found.why or "those of x are not recorded" in found.why


def test_hardly_changes_is_a_claim_that_can_show(study):
    given = measured(studies={"c": [study(arm("x", FIVE), arm("y", [x + 0.01 for x in FIVE], seed=1))]})

    def state(low, high):
        return decide(claim("change", comparison="c", low=low, high=high), given).state

    assert state(-0.1, 0.1) == SHOWS and state(-0.02, 0.02) == UNTOLD and state(0.2, 0.3) == NOT
    assert state(-0.05, None) == SHOWS  # not worse by more than .05
    few = measured(studies={"c": [study(arm("x", FIVE[:4]), arm("y", FIVE[:4], seed=1))]})
    assert decide(claim("change", comparison="c", low=-1, high=1), few).state == UNTOLD


@pytest.mark.slow
def test_margins_hold_for_as_many_changes_as_they_say(study):
    """Of designs whose change is just at the margin, at most one in forty shows that it is inside (simulated)."""
    rng, shown = np.random.default_rng(3), 0
    for seed in range(200):
        first, second = (rng.normal(mean, 0.02, 5) for mean in (0.5, 0.55))
        given = measured(studies={"c": [study(arm("x", first, seed=seed), arm("y", second, seed=seed + 1000))]})
        shown += decide(claim("change", comparison="c", low=-0.05, high=0.05), given).state == SHOWS
    assert shown <= 12  # 5 are expected; 13 or more have a chance below .002


@pytest.mark.parametrize(("size", "state"), [(0.3, SHOWS), (0.01, NOT), (0.12, UNTOLD)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_which_of_two_scores_changes_less(study, size, state, sign):
    def studies(change, label, means):
        arms = arm("x", means), arm("y", [x + change for x in means[::-1]], seed=1)
        return replace(study(*arms), protocol_label=label)

    given = measured(
        studies={"c": [studies(sign * size, "one", FIVE), studies(-0.13, "other", [0.55, 0.46, 0.5, 0.53, 0.48])]}
    )
    asked = claim("changes-less", comparison="c", protocol="one", other_protocol="other")
    assert decide(asked, given).state == state
    absent = claim("changes-less", comparison="c", protocol="one", other_protocol="third")
    assert decide(absent, given).why == "not run under third"
    assert decide(claim("change", comparison="c", protocol="third"), given).why == "not run under third"


def test_every_model_of_a_comparison_counts(study):
    card = ComparisonCard(name="c", title="t", question="q?", pairs=[("x", "y")])
    named = [arm("m: x", FIVE), arm("m: y", [x + 0.1 for x in FIVE], seed=1)]
    one = replace(study(*named), card=card)
    asked = claim("change", comparison="c", pairs=[("x", "y")])
    several = replace(measured(studies={"c": [one]}), models={"c": ("m", "n")})
    found = decide(asked, several)
    assert found.state == UNTOLD and "n: x to n: y: not run" in found.why
    assert decide(claim("change", comparison="c", pairs=[("m: x", "m: y")]), several).state == SHOWS


def test_groups_of_images_are_compared_by_welchs_interval(grouped):
    rng = np.random.default_rng(1)
    first, second = rng.normal(0.4, 0.1, 30), rng.normal(0.6, 0.2, 12)
    given = measured({"b": grouped(first, second)})
    for by, groups in (("correctness", ("incorrect", "correct")), ("class", ("others", "crane"))):
        fields = {"run": "b", "methods": ["ixg"], "by": by}
        found = decide(claim("between-groups", groups=groups, **fields), given)
        ends = ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
        assert found.state == SHOWS
        assert f"{second.mean() - first.mean():+.3f} [{ends[0]:+.3f}, {ends[1]:+.3f}]" in found.why
        assert decide(claim("between-groups", groups=groups[::-1], **fields), given).state == NOT
    few = measured({"b": grouped(first, second[:4], "vgg16")})
    fields = {"run": "b", "methods": ["ixg"], "by": "correctness"}
    found = decide(claim("between-groups", groups=("incorrect", "correct"), **fields), few)
    assert found.state == UNTOLD and "4 of correct; 5 of each are the least" in found.why


@pytest.fixture
def grouped(store, kit):
    """grouped(first, second): a board of ixg with images that are wrong and of class dog, and right and crane."""

    def make(first, second, model="resnet50"):
        ids, cell = kit.ids(len(first) + len(second)), kit.cell("ixg", context=kit.context(model))
        values = dict(zip(ids, map(float, [*first, *second]), strict=True))
        kit.record(store, [cell], [values], ids)
        made = open_board(store, boards(store, model=model)[0], held=True)
        right = [image in ids[len(first) :] for image in made.source.rows["image_id"]]
        rows = made.source.rows.assign(correct=right, label=[int(each) for each in right])
        rows["target"] = rows["label"]
        source = replace(made.source, read=lambda: rows, classes=("dog", "crane"))
        return replace(made, source=source)

    return make


def test_correlations_with_sizes_are_decided_by_their_intervals(sized):
    rng = np.random.default_rng(2)
    pixels = rng.uniform(100, 2000, 60)
    grows = 0.0003 * pixels + rng.normal(0, 0.05, 60)
    given = measured({"b": sized(grows, pixels)})
    fields = {"run": "b", "methods": ["ixg"], "metric": "box-pixels"}
    found = decide(claim("correlation", **fields), given)
    assert found.state == SHOWS and f"{pearsonr(grows, pixels).statistic:+.3f}" in found.why
    assert decide(claim("correlation", direction="down", **fields), given).state == NOT
    assert decide(claim("correlation", low=-0.3, high=0.3, **fields), given).state == NOT
    root = np.sqrt(pixels) * (0.5 + rng.normal(0, 0.05, 60))
    given = measured({"b": sized(root, pixels, "vgg16")})
    found = decide(claim("correlation", low=-0.5, high=0.5, per_root=True, **fields), given)
    assert found.state == SHOWS and f"{pearsonr(root / np.sqrt(pixels), pixels).statistic:+.3f}" in found.why
    assert decide(claim("correlation", run="b", methods=["ixg"], metric="absent"), given).state == UNTOLD


@pytest.fixture
def sized(board):
    """sized(scores, pixels): a board of ixg whose rows have the further metric box-pixels."""

    def make(scores, pixels, model="resnet50"):
        made = board({"ixg": scores}, model)
        rows = made.source.rows
        more = rows.assign(metric="box-pixels", score=list(pixels))
        context = dict(made.context)
        context["protocol"] = {**context["protocol"], "further": {"box-pixels": {}}}
        both = pd.concat([rows, more], ignore_index=True)
        return replace(made, context=context, source=replace(made.source, read=lambda: both))

    return make


def test_two_boards_are_paired_by_their_images(board):
    rng = np.random.default_rng(4)
    base = rng.uniform(0.4, 0.6, 24)
    scores = {"one": base, "near": base * 1.03 + rng.normal(0, 0.005, 24), "far": base * 1.5}
    given = measured({name: board({"ixg": values}, name) for name, values in scores.items()})

    def state(name):
        return decide(claim("ratio", pairs=[(f"ixg@{name}", "ixg@one")], low=0.9, high=1.1), given).state

    assert state("near") == SHOWS and state("far") == NOT and state("gone") == UNTOLD
    wide = decide(claim("ratio", pairs=[("ixg@near", "ixg@one")], low=1.029, high=1.1), given)
    assert wide.state == UNTOLD  # the ratio is at an end
    better = claim("better", run="one", pairs=[("ixg@far", "ixg@one")])
    assert decide(better, given).state == SHOWS
    assert decide(claim("better", run="one", pairs=[("ixg@one", "ixg@near")]), given).state == NOT
    assert decide(claim("better", run="one", pairs=[("ixg@gone", "ixg")]), given).why == "not run"
