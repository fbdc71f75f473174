"""Agreement of boards: by hand, by SciPy, against simulations with a known truth, and from a results folder."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.cluster.hierarchy import cophenet
from scipy.stats import kendalltau, spearmanr

from xaibench.analysis.agreement import agreement, disattenuated, halves_of
from xaibench.analysis.alike import agreement_of_boards
from xaibench.errors import XaibenchError


def frame(scores: np.ndarray, images=None) -> pd.DataFrame:
    names = [f"m{number}" for number in range(scores.shape[1])]
    return pd.DataFrame(scores, columns=names, index=images or [f"{number:03d}.png" for number in range(len(scores))])


def drawn(rng, means, images=24, noise=0.15, of=None, share=0.0) -> np.ndarray:
    """Scores with these true means: an image's difficulty, and noise that goes along with that of another board."""
    own = rng.normal(size=(images, len(means)))
    mixed = own if of is None else share * of + np.sqrt(1 - share**2) * own
    return means + noise * mixed + 0.3 * rng.normal(size=(images, 1))


def row(found, first="a", second="b") -> pd.Series:
    table = found.table
    return table[(table["first"] == first) & (table["second"] == second)].iloc[0]


def test_numbers_are_scipys_and_lower_is_better_turns_the_order():
    rng = np.random.default_rng(0)
    a, b = (drawn(rng, rng.normal(size=6)) for _ in range(2))
    found = agreement({"a": frame(a), "b": frame(b)}, {"a": True, "b": False})
    tau, rho = (each(a.mean(0), -b.mean(0)).statistic for each in (kendalltau, spearmanr))
    assert row(found)["tau"] == pytest.approx(tau) and row(found)["rho"] == pytest.approx(rho)
    assert row(found)["tau_low"] <= tau <= row(found)["tau_high"]
    assert row(agreement({"a": frame(a), "b": frame(a)}, {"a": True, "b": False}))["tau"] == -1


def test_only_methods_and_images_that_both_have_count_and_images_are_drawn_together():
    rng = np.random.default_rng(1)
    a = frame(drawn(rng, np.linspace(0, 0.05, 7)))
    b = a.iloc[::-1].rename(columns={"m6": "other"}).copy()
    b.loc["not on a.png"] = 99.0
    found = row(agreement({"a": a, "b": b}, {"a": True, "b": True}))
    assert (found["n_methods"], found["n_images"]) == (6, 24)
    # the same scores in another order of the rows: other images each would give an interval below 1
    assert found[["tau", "tau_low", "tau_high", "rho_low"]].tolist() == [1, 1, 1, 1]


def test_what_is_undefined_says_why():
    rng = np.random.default_rng(2)
    a = drawn(rng, np.arange(4.0))
    other = [f"other {number}.png" for number in range(len(a))]
    cases = {
        "undefined: 2 methods in common": (frame(a[:, :2]), frame(a)),
        "undefined: no image in common": (frame(a), frame(a, other)),
        "undefined: all methods tie": (frame(a), frame(np.zeros_like(a))),
    }
    for status, (first, second) in cases.items():
        found = agreement({"a": first, "b": second}, {"a": True, "b": True})
        assert row(found)["status"] == status and np.isnan(row(found)["tau"]) and np.isnan(row(found)["corrected"])
        assert any("1 of 1 pairs" in note for note in found.notes)
        assert found.to_text() and found.to_html() and json.loads(found.to_json())["rows"][0]["tau"] is None
    few = agreement({"a": frame(a[:3]), "b": frame(a[:3])}, {"a": True, "b": True})
    assert row(few)["status"] == "undefined: 3 images have no halves" and row(few)["tau"] == 1
    with pytest.raises(XaibenchError, match="two boards or more"):
        agreement({"a": frame(a)}, {"a": True})


def test_without_reliability_nothing_is_corrected_and_nothing_is_above_one_silently():
    half = np.tile([0.0, 1.0, 2.0], (4, 1))
    turned = np.concatenate([half, -half])  # whichever half is larger in one half of the images, is smaller elsewhere
    value, status = disattenuated(halves_of(turned), halves_of(np.concatenate([half, half])), ("here", "there"))
    assert np.isnan(value) and status.startswith("undefined: here has no reliability")
    rng = np.random.default_rng(5)
    means = rng.normal(size=8) * 0.05
    for _ in range(20):
        a = drawn(rng, means)
        value, status = disattenuated(halves_of(a), halves_of(drawn(rng, means)))
        assert np.isnan(value) or abs(value) <= 1
        if status.startswith("cut"):
            assert value == 1 and float(status.split()[-1]) > 1  # by more than rounding
            break
    else:
        raise AssertionError("nothing was cut, which proves nothing")


def test_a_value_above_one_by_rounding_is_one_without_a_status(monkeypatch):
    for crossed, status in ((1.0 + 2e-3, ""), (1.0 + 2e-2, "cut from 1.02")):
        values = [crossed, crossed, 1.0, 1.0]  # from the end: rho between halves, then of each with the other
        monkeypatch.setattr(
            f"{disattenuated.__module__}.rank_correlation",
            lambda *_, rho=values: SimpleNamespace(rho=np.array([rho.pop()])),
        )
        assert disattenuated((0, 0), (0, 0), ("here", "there")) == (1.0, status)


def test_clusters_are_those_of_scipy_in_the_order_of_the_boards():
    rng = np.random.default_rng(3)
    kinds = rng.normal(size=(2, 9))
    scores = {f"{name}{n}": frame(drawn(rng, kinds[n % 2], noise=0.3)) for n, name in enumerate("abcdef")}
    found = agreement(scores, dict.fromkeys(scores, True))
    names = found.boards["name"].tolist()
    assert [int(name[1]) % 2 for name in names] in ([0] * 3 + [1] * 3, [1] * 3 + [0] * 3), "kinds lie side by side"
    assert found.matrix.index.tolist() == names and np.allclose(found.matrix, found.matrix.T)
    outer = cophenet(found.tree).max()
    across = 1 - found.matrix.to_numpy()[:3, 3:]
    assert outer == pytest.approx(across.mean()), "average linkage of 1 - tau"


def test_a_boards_number_does_not_depend_on_other_boards():
    rng = np.random.default_rng(4)
    scores = {name: frame(drawn(rng, rng.normal(size=5))) for name in "abc"}
    two = {name: scores[name] for name in "ab"}
    assert row(agreement(scores, dict.fromkeys(scores, True))).equals(row(agreement(two, dict.fromkeys(two, True))))


@pytest.mark.slow
@pytest.mark.parametrize(("agree", "share"), [(0.5, 0.5), (0.95, 0.9), (1.0, 0.0), (1.0, 0.95)])
def test_the_corrected_rho_is_near_the_truth_where_errors_go_together(agree, share):
    """Known true means; the reliabilities of whole boards would correct rho to far above 1 where images are shared."""
    rng = np.random.default_rng(6)
    found, truth, naive = [], [], []
    for _ in range(60):
        means = rng.normal(size=12) * 0.1
        second = agree * means + np.sqrt(1 - agree**2) * 0.1 * rng.normal(size=12)
        noise = rng.normal(size=(16, 12))
        a = means + 0.15 * noise + 0.3 * rng.normal(size=(16, 1))
        b = drawn(rng, second, 16, of=noise, share=share)
        boards = agreement({"a": frame(a), "b": frame(b)}, {"a": True, "b": True})
        value = row(boards)["corrected"]
        if np.isfinite(value):
            found.append(value)
            truth.append(spearmanr(means, second).statistic)
            naive.append(row(boards)["rho"] / np.sqrt(boards.boards["reliability"].prod()))
    assert len(found) > 50
    assert abs(np.median(found) - np.median(truth)) < 0.1
    if share > 0.8:
        assert np.median(naive) > 1.05


@pytest.mark.slow
@pytest.mark.parametrize("images", [8, 16, 64])
def test_the_interval_holds_the_agreement_that_so_many_images_give(images):
    """Its estimand: the mean tau of orders of as many other images, not that of the true means."""
    rng = np.random.default_rng(7)
    inside = []
    for agree, share in ((0.0, 0.9), (0.5, 0.5), (1.0, 0.0)):
        for _ in range(4):
            means = rng.normal(size=12) * 0.1
            second = agree * means + np.sqrt(1 - agree**2) * 0.1 * rng.normal(size=12)

            def sample(means=means, second=second, share=share):
                noise = rng.normal(size=(images, 12))
                a = means + 0.15 * noise + 0.3 * rng.normal(size=(images, 1))
                return a, drawn(rng, second, images, of=noise, share=share)

            pairs = [sample() for _ in range(200)]
            truth = np.mean([kendalltau(a.mean(0), b.mean(0)).statistic for a, b in pairs])
            for a, b in pairs[:12]:
                found = row(agreement({"a": frame(a), "b": frame(b)}, {"a": True, "b": True}))
                inside.append(found["tau_low"] - 1e-9 <= truth <= found["tau_high"] + 1e-9)
    assert np.mean(inside) > 0.88, np.mean(inside)


# From a results folder ----------------------------------------------------------------------------------------------


def fill(kit, store, contexts: dict[str, dict], higher=True) -> None:
    rng = np.random.default_rng(0)
    ids = kit.ids(8)
    for number, context in enumerate(contexts.values()):
        cells = [kit.cell(f"m{n}", context=context) for n in range(5)] + [
            kit.cell("random", "control", context=context)
        ]
        scores = [dict(zip(ids, rng.normal(n, 0.5, 8).tolist(), strict=True)) for n in range(6)]
        kit.record(store, cells, scores, ids, started=f"2026-01-0{number + 1}T00:00:00+00:00")


def test_boards_that_differ_in_one_thing_alone_are_compared(kit, store):
    grid = {"grid": 8}
    contexts = {
        "idsds": kit.context(label="idsds (grid 4, zero baseline)"),
        "other protocol": kit.context(name="sds", label="sds (grid 4)", higher_is_better=False),
        "setting": kit.context(label="idsds (grid 8, zero baseline)", settings=grid),
        "seed": kit.context() | {"seed": 1},
        "model": kit.context("vgg16"),
        "describes": kit.context(name="size", label="size", higher_is_better=None),
    }
    fill(kit, store, contexts)
    protocols = agreement_of_boards(store, model="resnet50")
    assert sorted(protocols.boards["name"]) == [
        "idsds: grid 4", "idsds: grid 8", "sds"
    ]  # fmt: skip
    assert "size is left out: idsds describes and has no better end" in protocols.notes
    assert set(protocols.boards["n_methods"]) == {5}, "controls are not ranked"
    assert row(protocols, "idsds: grid 4", "sds")["tau"] < 0, "sds is a cost here"
    assert sorted(agreement_of_boards(store, "setting", "idsds").boards["name"]) == ["grid 4", "grid 8"]
    assert agreement_of_boards(store, "seed").boards["name"].tolist() in (["seed 0", "seed 1"], ["seed 1", "seed 0"])
    assert sorted(agreement_of_boards(store, "model").boards["name"]) == ["resnet50", "vgg16"]
    with pytest.raises(XaibenchError, match=r"no two boards that differ in the seed alone.*and fit sds"):
        agreement_of_boards(store, "seed", "sds")


def test_boards_that_a_newer_version_replaced_are_left_out(kit, store):
    contexts = {
        "old": kit.context(version=1), "new": kit.context(version=2), "other": kit.context(name="sds", label="sds"),
    }  # fmt: skip
    fill(kit, store, contexts)
    found = agreement_of_boards(store)
    assert sorted(found.boards["name"]) == ["idsds", "sds"] and not any("also" in note for note in found.notes)


@pytest.mark.slow
@pytest.mark.process  # many pages and figures
def test_the_command_prints_and_draws_it(kit, store, command, tmp_path):
    fill(kit, store, {"a": kit.context(), "b": kit.context(name="sds", label="sds"), "c": kit.context() | {"seed": 1}})
    for format_ in ("table", "md", "csv", "json", "html"):
        status, text, _ = command("leaderboard", "--agree", "--out", store.root, "--format", format_)
        assert status == 0 and "idsds" in text and "sds" in text
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    for path in (first, second):
        status, text, error = command("leaderboard", "*", "--agree", "--out", store.root, "--figure", path)
        assert status == 0 and "figure:" in text, error
    assert first.read_bytes() == second.read_bytes() and "reliability</text>" in first.read_text()
    assert command("leaderboard", "--agree", "--across", "seed", "--out", store.root)[0] == 0
    for words, message in (
        ((), "name a protocol"), (("idsds", "--agree", "--pairs"), "make different tables"),
        (("idsds", "--across", "seed"), "needs --agree"), (("--agree", "--board", "ab"), "leave out --board"),
        (("idsds", "--cost", "seconds"), "--cost is the x-axis"),
    ):  # fmt: skip
        status, _, error = command("leaderboard", *words, "--out", store.root)
        assert status and message in error and error.count("\n") == 1
