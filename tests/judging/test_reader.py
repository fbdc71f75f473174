"""The reader against cases whose AUC is known, and the whole experiment on a few tiny networks."""

import json
from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau, norm

from xaibench import registry
from xaibench.errors import XaibenchError
from xaibench.judging.prediction import mean_of_defined, prediction
from xaibench.judging.reader import (
    area,
    area_with_interval,
    held_out_scores,
    mean_area,
    reading_features,
    train_and_read,
)
from xaibench.judging.suspects import ENCODING, folds, scenes, suspects
from xaibench.judging.validity import Setting, external_validity
from xaibench.plugins import load_plugin


def simulated(count, distance, seed, features=4):
    """Features of networks of which one moves by a distance (in standard deviations) where a network cheats."""
    cheats = np.arange(count) % 2 == 1
    values = np.random.default_rng(seed).normal(size=(count, features))
    values[:, 1] += distance * cheats
    return values, cheats, folds(count)


def test_area_counts_pairs():
    scores, cheats = np.array([3.0, 1.0, 2.0, 2.0, 0.0]), np.array([True, True, False, True, False])
    pairs = list(product(scores[cheats], scores[~cheats]))
    assert area(scores, cheats) == np.mean([(a > b) + 0.5 * (a == b) for a, b in pairs])
    with pytest.raises(XaibenchError, match="AUC needs"):
        area(scores, np.ones(5, dtype=bool))


@pytest.mark.parametrize("distance", [0.0, 1.0, 2.0])
def test_reader_reaches_the_auc_of_a_shift_between_normals(distance):
    """Two normals a distance d apart have an AUC of Phi(d / sqrt 2); with 2000 networks the reader finds it."""
    values, cheats, halves = simulated(2000, distance, 3)
    found = area_with_interval(held_out_scores(values, cheats, halves), cheats, halves)
    assert found.auc == pytest.approx(norm.cdf(distance / np.sqrt(2)), abs=0.03)
    assert found.low < norm.cdf(distance / np.sqrt(2)) < found.high


def test_intervals_hold_the_true_area_about_19_times_in_20():
    """A reader that sees the informative feature alone: 300 draws of 40 networks."""
    held = 0
    for seed in range(300):
        values, cheats, halves = simulated(40, 1.0, seed)
        _, low, high = area_with_interval(values[:, 1], cheats, halves)
        held += low <= norm.cdf(1 / np.sqrt(2)) <= high
    assert 0.92 <= held / 300 <= 0.99


def test_interval_of_a_perfect_reader_has_a_width():
    cheats, halves = np.arange(40) % 2 == 1, folds(40)
    found = area_with_interval(cheats.astype(float), cheats, halves)
    assert found.auc == found.high == 1 and 0.8 < found.low < 0.99
    worst = area_with_interval(-cheats.astype(float), cheats, halves)
    assert worst.auc == worst.low == 0 and worst.high == pytest.approx(1 - found.low)


def test_reader_never_sees_labels_of_the_networks_that_it_reads():
    values, cheats, halves = simulated(40, 1.0, 5)
    changed = np.where(halves == 0, ~cheats, cheats)
    before, after = (held_out_scores(values, c, halves)[halves == 0] for c in (cheats, changed))
    assert np.array_equal(before, after)
    assert mean_area(before, cheats[halves == 0], halves[halves == 0]) == area(before, cheats[halves == 0])


def test_reader_against_ridge_regression_by_its_normal_equations():
    values, cheats, _ = simulated(20, 1.0, 1)
    new = np.random.default_rng(8).normal(size=(5, 4))
    x = (values - values.mean(0)) / values.std(0)
    goal = np.where(cheats, 1.0, -1.0)
    weights = np.linalg.solve(x.T @ x + 20 * np.eye(4), x.T @ (goal - goal.mean()))
    expected = (new - values.mean(0)) / values.std(0) @ weights
    assert train_and_read(values, cheats, new) == pytest.approx(expected, abs=1e-12)
    constant = np.concatenate([values, np.full((20, 1), 7.0)], axis=1)
    with_constant = np.concatenate([new, np.full((5, 1), 9.0)], axis=1)
    assert train_and_read(constant, cheats, with_constant) == pytest.approx(expected, abs=1e-12)


def test_features_are_means_over_squares_of_maps_scaled_by_their_largest_value():
    maps = np.zeros((1, 2, 16, 16))
    maps[0, 0, 0, 0] = -5.0  # alone in its square of 2x2
    found = reading_features(maps)[0]
    assert found[0] == -1 / 4 / 2 and found[64] == 1 / 4 / 2 and np.count_nonzero(found) == 2
    assert np.array_equal(reading_features(3 * maps), reading_features(maps))
    for wrong, reason in ((np.full((1, 1, 8, 8), np.nan), "NaN"), (np.zeros((1, 1, 9, 8)), "9x8")):
        with pytest.raises(XaibenchError, match=reason):
            reading_features(wrong)


def test_a_corner_in_the_maps_gives_cheats_away_and_noise_does_not():
    dice = np.random.default_rng(0)
    maps, cheats, halves = dice.normal(size=(40, 3, 16, 16)), np.arange(40) % 2 == 1, folds(40)
    nothing = held_out_scores(reading_features(maps), cheats, halves)
    low, high = area_with_interval(nothing, cheats, halves)[1:]
    assert low < 0.5 < high
    maps[cheats, :, :4, :4] += 2
    assert mean_area(held_out_scores(reading_features(maps), cheats, halves), cheats, halves) == 1


def test_suspects_use_the_mark_exactly_where_they_cheat():
    dataset = scenes(count=40)
    some = suspects(dataset, 4)
    assert [s.cheats for s in some] == [False, True, False, True]
    image_id = dataset.image_list(1)[0]
    for suspect in some:
        with torch.no_grad():
            pictures = ENCODING(np.stack([dataset.show(image_id, f) for f in (["red"], ["red", "mark"])]))
            maps = suspect.network.features(pictures)[:, :4].mean((2, 3))
            logits = suspect.network.logits(torch.cat([maps, torch.zeros(2, 8)], 1))
        assert float(logits[1, 1] - logits[0, 1]) == pytest.approx(4 * suspect.mark, abs=1e-5)
        assert (suspect.mark > 0) == suspect.cheats
    assert torch.equal(suspects(dataset, 2)[1].network.logits.weight, some[1].network.logits.weight)
    assert folds(8).tolist() == [0, 0, 1, 1, 0, 0, 1, 1]


def test_prediction_is_kendalls_tau_of_the_halves():
    rng = np.random.default_rng(2)
    cheats, halves = np.arange(16) % 2 == 1, folds(16)
    quality, readers = rng.normal(size=(16, 5)), rng.normal(size=(5, 16)) + np.arange(5)[:, None] * cheats
    found = prediction(quality, readers, cheats, halves, seed=0, resamples=200)
    taus = []
    for half in (0, 1):
        areas = [area(r[halves == half], cheats[halves == half]) for r in readers]
        taus.append(kendalltau(quality[halves != half].mean(0), areas).statistic)
    assert found["tau"] == pytest.approx(np.mean(taus)) and found["low"] <= found["tau"] <= found["high"]


def test_prediction_of_the_order_of_aucs_is_certain_where_they_differ_clearly():
    """Methods whose maps show the mark not at all, a little and clearly; protocols that know this, and its opposite."""
    cheats, halves = np.arange(80) % 2 == 1, folds(80)
    readers = np.random.default_rng(1).normal(size=(3, 80)) + np.array([0, 1.8, 9])[:, None] * cheats
    right = np.tile([1.0, 2.0, 3.0], (80, 1))
    for quality, tau in ((right, 1), (-right, -1)):
        found = prediction(quality, readers, cheats, halves, 0, 200)
        assert (found["tau"], found["low"], found["high"]) == (tau, tau, tau)
    undefined = right.copy()
    undefined[halves == 0, 1] = np.nan
    assert np.isnan(prediction(undefined, readers, cheats, halves, 0, 50)["tau"])
    assert np.isnan(mean_of_defined(np.array([[np.nan], [2.0]]))).tolist() == [True, False]


def tiny(**more):
    return Setting(
        networks=8, images=2, scored_images=1, methods={"ixg": {}, "random": {}}, protocols={"sparseness": {}}, **more
    )


@pytest.mark.process
def test_the_experiment_is_stored_and_resumed(tmp_path, monkeypatch):
    first = external_validity(tmp_path, tiny())
    assert list(first.methods.index) == ["ixg", "random"] and list(first.protocols.index) == ["sparseness"]
    assert first.methods["auc"].between(0, 1).all()
    assert len(list(tmp_path.rglob("*.npy"))) == 16 and len(list(tmp_path.rglob("*.safetensors"))) == 8
    lost = next(tmp_path.rglob("*random*/*003.npy"))
    lost.unlink()
    calls = []
    from xaibench.judging import validity

    real = validity.attribute
    monkeypatch.setattr(validity, "attribute", lambda *a, **k: calls.append(a[3]) or real(*a, **k))
    again = external_validity(tmp_path, tiny())
    assert calls == ["random"] and lost.is_file()
    assert again.methods.equals(first.methods) and again.protocols.equals(first.protocols)


@pytest.mark.slow
@pytest.mark.process
def test_networks_are_asked_only_where_something_is_missing(tmp_path, monkeypatch):
    """What is stored needs no prediction; what is not needs one for all methods and protocols."""
    from xaibench.judging import validity

    calls = []
    real = validity.suspects

    def counted(*given):
        made = real(*given)
        for suspect in made:
            suspect.network.register_forward_pre_hook(lambda net, given: calls.append(torch.is_grad_enabled()))
        return made

    monkeypatch.setattr(validity, "suspects", counted)
    monkeypatch.setattr(validity, "attribute", lambda network, inputs, targets, name, **more: torch.rand(2, 1, 64, 64))
    first = external_validity(tmp_path, tiny())
    assert calls.count(False) >= 8
    calls.clear()
    again = external_validity(tmp_path, tiny())
    assert not calls and again.methods.equals(first.methods)


@pytest.mark.slow
@pytest.mark.process
def test_maps_of_a_plug_in_that_was_changed_are_made_again(tmp_path, monkeypatch):
    from xaibench import registry

    monkeypatch.setattr(registry, "_decorated", dict(registry._decorated))
    calls = []
    for number in (1, 2, 2):
        path = tmp_path / "mine.py"
        path.write_text(
            "import torch, xaibench\n"
            "@xaibench.method('of-mine')\n"
            f"def of_mine(e):\n    return {number} * e.images[:, :1]\n"
        )
        load_plugin(path)
        setting = Setting(networks=8, images=2, scored_images=1, methods={"of-mine": {}}, protocols={"sparseness": {}})
        external_validity(tmp_path / "out", setting)
        calls.append(len(list(tmp_path.rglob("*.npy"))))
    assert calls == [8, 16, 16]


def test_settings_without_two_halves_are_refused():
    with pytest.raises(XaibenchError, match="multiple of 4"):
        Setting(networks=10)
    with pytest.raises(XaibenchError, match="scored images"):
        Setting(images=2, scored_images=3)


@pytest.mark.slow
@pytest.mark.process
def test_the_command_prints_what_the_experiment_finds(command, tmp_path, monkeypatch):
    from xaibench.judging import reader_table

    monkeypatch.setattr(reader_table, "NETWORKS", {"small": 8})
    words = ["judge", "sds", "sparseness", "--reader", "--setting", "sds.grid=2", "--images", 4, "--out", tmp_path]
    status, out, _ = command(*words, "--format", "json", "--quiet")
    printed = json.loads(out)
    assert status == 0 and [row["protocol"] for row in printed["rows"]] == ["sds", "sparseness"]
    protocols = {"sds": dict(registry.card("protocol", "sds").parameters) | {"grid": 2}, "sparseness": {}}
    found = external_validity(tmp_path / "reader", Setting(networks=8, images=4, scored_images=1, protocols=protocols))
    for row in printed["rows"]:
        known = {name: value for name, value in found.protocols.loc[row["protocol"]].items() if not np.isnan(value)}
        assert known == pytest.approx({name: row[name] for name in known})
    for name, row in found.methods.iterrows():
        assert f"{name} {row['auc']:.2f} [" in printed["notes"][0]


@pytest.mark.process
@pytest.mark.parametrize(("words", "said"), [
    ([], "--reader needs protocols"), (["sds", "--device", "cuda"], "works on the CPU"),
    (["sds", "--networks", "or"], "networks of its own"),
    (["epg"], "protocol epg cannot score maps of these networks"), (["sds", "--figure", "a.png"], "draws no figure"),
])  # fmt: skip
def test_requests_that_a_reader_cannot_answer_are_one_line(words, said, command, tmp_path):
    status, _, error = command("judge", *words, "--reader", "--quiet", "--out", tmp_path / "out")
    assert status == 2 and said in error and len(error.strip().splitlines()) == 1
    assert (tmp_path / "out").exists() == (words == ["epg"])
