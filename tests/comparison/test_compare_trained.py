"""Comparisons whose arms are trained for tasks of their own: the same weights and scores as command by command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xaibench import registry
from xaibench.cards import ComparisonProtocol
from xaibench.comparison.config import ComparisonConfig
from xaibench.comparison.steps import steps
from xaibench.errors import XaibenchError

OWN = """
title = "Guidance"
question = "Does guidance matter?"
pairs = [["baseline", "control"], ["control", "guided"], ["control", "attacked"]]
models = ["tiny"]
judges = [{ protocol = "epg", images = 8 }, { protocol = "epg", images = 8, metric = "epg-alpha" }]
dataset = "mini"
methods = ["ixg", "b-cos"]

[arms.baseline]

[arms.control]
way = "guided"
options = { lambda = 0.0, choose = "score" }
recipe = { epochs = 1, learning_rate = 1e-3, batch_size = 16 }

[arms.guided]
way = "guided"
options = { lambda = 0.5, loss = "l1", choose = "score" }
recipe = { epochs = 1, learning_rate = 1e-3, batch_size = 16 }

[arms.attacked]
way = "adversarial"
options = { steps = 1 }
recipe = { epochs = 1 }
"""
DATA = ("--dataset", "mini", "--device", "cpu")


@pytest.fixture
def own(home):
    path = home / "cards" / "comparisons" / "ownways.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(OWN)
    data = home / "cards" / "datasets" / "mini.toml"
    without = data.read_text()
    data.write_text(f'tags = ["boxes", "groups"]\n{without}')
    yield
    path.unlink()
    data.write_text(without)


def test_every_task_of_every_card_is_one():
    for name in registry.names("comparison"):
        card = registry.card("comparison", name)
        todo, _ = steps(card, ComparisonConfig(comparison=name, trainings=1))
        assert [step for step in todo if step.arm.way] == [step for step in todo if step.training]
        assert all(step.training.make_task() for step in todo if step.training)
        for method in card.methods:
            registry.card("method", method)
        for one in card.judges:
            assert registry.card("protocol", one.protocol).parameters.keys() >= one.settings.keys()


@pytest.mark.slow
@pytest.mark.process
def test_arms_are_the_trainings_that_commands_make(own, command):
    status, out, err = command("compare", "ownways", "--trainings", 1, "--format", "json", "--workers", 0)
    assert status == 0, err
    first, other = json.loads(out)
    assert (first["metric"], other["metric"]) == ("epg", "epg-alpha")
    assert {row["best_method"] for row in first["trainings"]} == {"ixg"}  # b-cos does not fit tiny
    arms = {row["arm"]: row for row in first["trainings"]}
    names = ("epg", "epg-accuracy", "epg-epg-alpha", "epg-epg-alpha-accuracy")
    assert {path.name for path in Path("results/figures").iterdir()} >= {f"compare-ownways-{n}.png" for n in names}
    assert arms["baseline"]["epoch_seconds"] > 0 and arms["control"]["epoch_seconds"] > 0
    found = {row["images"] for pair in first["pairs"] for row in pair["answers"]}
    assert {"all images", "other-background"} <= found and 0 <= arms["guided"]["worst_group"] <= 1

    train = ("train", "guided", "--model", "tiny", *DATA, "--lambda", "0.5", "--loss", "l1", "--epochs", 1,
             "--learning-rate", "1e-3", "--batch-size", 16, "--quiet", "--name", "by_hand",
             "--choose", "score")  # fmt: skip
    status, out, err = command(*train)
    assert status == 0, err
    status, _, err = command("run", "epg", "--model", "by_hand", *DATA, "--methods", "ixg", "--images", 8, "--quiet")
    assert status == 0, err
    board = json.loads(command("leaderboard", "epg", "--model", "by_hand", "--format", "json")[1])
    assert arms["guided"]["best"] == pytest.approx(board["rows"][0]["mean"], abs=1e-6)
    assert arms["guided"]["best"] != pytest.approx(arms["control"]["best"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.process
def test_each_training_starts_from_the_baseline_of_its_seed_and_none_is_made_twice(own, command, home):
    words = ("compare", "ownways", "--trainings", 2, "--workers", 0, "--methods", "ixg")
    files = "models/tiny-mini-*/weights.safetensors"
    before = set(home.glob(files))
    status, out, err = command(*words, "--protocol", "epg")
    assert status == 0 and "4/8" in err and "2 trainings an arm" in out
    made = set(home.glob(files))
    again = command(*words, "--format", "csv", "--quiet")
    assert set(home.glob(files)) == made
    assert again[1].count("method,before") == 1 and again[1].count("epg-alpha") > 0
    from xaibench.models.state import file_digest, read_header

    starts = {file_digest(path): read_header(path) for path in made if not read_header(path).get("task")}
    trained = [header for header in map(read_header, made - before) if header.get("task")]
    assert 1 in {header["seed"] for header in trained}
    assert all(starts[header["start"]]["seed"] == header["seed"] for header in trained)

    from xaibench.analysis.stored import StoredResults
    from xaibench.comparison.stored import stored_comparison

    shown = [line.split(",") for line in again[1].splitlines() if line.startswith("ixg,")]
    config = ComparisonConfig(comparison="ownways", trainings=2, methods=["ixg"])
    for study in stored_comparison(config, StoredResults("results")):
        assert all(pair.trainings == (2, 2) for pair in study.pairs) and not any("stored" in n for n in study.notes)
        for row in study.table.to_dict("records"):
            assert any(float(line[3]) == pytest.approx(row["change"]) for line in shown)


def test_an_arm_holds_the_request_of_its_training(own, home):
    path = home / "cards" / "comparisons" / "ownways.toml"
    path.write_text(OWN.replace('way = "adversarial"', 'way = "adversarial"\nstart = "baseline"').replace(
        "[arms.baseline]", "[arms.baseline]\nrecipe = { epochs = 3 }"))  # fmt: skip
    config = ComparisonConfig(comparison="ownways", trainings=2, recipe={"epochs": 7}, device="cpu", download=True)
    todo, _ = steps(registry.card("comparison", "ownways"), config)
    one = next(step for step in todo if step.description == "attacked, training 1")
    assert one.training.to_toml() == (
        'task = "adversarial"\nmodel = "tiny"\ndataset = "mini"\ndownload = true\ndevice = "cpu"\nseed = 1\n\n'
        "[task_options]\nsteps = 1\n\n[recipe]\nepochs = 7\n"
    )
    assert one.baseline_recipe == {"epochs": 3} and one.run_arguments == {"model": "tiny"}
    plain = next(step for step in todo if step.name == "baseline")
    assert plain.training is None and plain.run_arguments == {"model": "tiny", "recipe": {"epochs": 3}}


def test_weights_are_looked_up_once_for_all_protocols(own, home, monkeypatch):
    from xaibench.comparison import run as module
    from xaibench.training import arm
    from xaibench.training.arm import TrainedArm

    calls = []

    def train_arm(subject, resources, report):
        calls.append(("train", subject.config.task_options.get("loss", "energy"), subject.config.seed))
        return TrainedArm(Path("w.safetensors"), 1.0)

    def run_arms(card, protocol, prepared, config, arguments, report):
        calls.append(("run", protocol.metric, [one.arguments.get("weights") for one in prepared]))
        return {}, ["nothing ran"]

    monkeypatch.setattr(arm, "train_arm", train_arm)
    monkeypatch.setattr(module, "_run_arms", run_arms)
    with pytest.raises(XaibenchError, match="no pair of arms left to compare: nothing ran"):
        list(module.run_comparison(ComparisonConfig(comparison="ownways", trainings=1, device="cpu")))
    assert [call[0] for call in calls] == ["train"] * 3 + ["run"]
    assert calls[-1] == ("run", "", [None] + ["w.safetensors"] * 3)


@pytest.mark.slow
@pytest.mark.process
def test_a_model_with_weights_is_its_own_baseline(own, command, home):
    path = home / "cards" / "comparisons" / "ownways.toml"
    path.write_text(
        OWN.replace("[arms.baseline]", "[arms.baseline]\nrecipe = { epochs = 1 }").replace(
            'way = "guided"', 'way = "guided"\nstart = "baseline"'
        )
    )
    assert command("train", "classifier", "--model", "tiny", *DATA, "--quiet", "--name", "given")[0] == 0
    words = ("compare", "ownways", "--model", "given", "--trainings", 2, "--protocol", "epg", "--workers", 0)
    status, out, err = command(*words, "--format", "json", "--quiet")
    assert status == 0, err
    assert " (given) · epg" in json.loads(out)[0]["title"]  # other models than the card's are another comparison
    rows = [(row["arm"], row["training"]) for row in json.loads(out)[0]["trainings"]]
    assert [n for arm, n in rows if arm == "baseline"] == [0] and [n for arm, n in rows if arm == "guided"] == [0, 1]


def test_mistakes_are_found_before_anything_is_trained(own, command, home):
    path = home / "cards" / "comparisons" / "ownways.toml"
    path.write_text(OWN.replace('loss = "l1"', 'loss = "l2"'))
    before = set(home.glob("models/*"))
    status, _, err = command("compare", "ownways", "--trainings", 1)
    assert status == 2 and "arm guided" in err and "l2" in err and err.strip().count("\n") == 0
    assert set(home.glob("models/*")) == before


@pytest.mark.slow
@pytest.mark.process
def test_a_training_that_loses_too_much_is_left_out_and_said(own, command, home, monkeypatch):
    monkeypatch.setattr("xaibench.training.guidance_search.representative", lambda *_: None)
    path = home / "cards" / "comparisons" / "ownways.toml"
    path.write_text(OWN.replace('loss = "l1", choose = "score"', 'loss = "rrr"'))
    status, out, err = command("compare", "ownways", "--trainings", 1, "--workers", 0, "--format", "json")
    assert status == 0, err
    study = json.loads(out)[0]
    assert [(pair["before"], pair["after"]) for pair in study["pairs"]] == [("baseline", "control"),
                                                                         ("control", "attacked")]  # fmt: skip
    assert any("guided, training 0 is left out" in note and "smaller lambda" in note for note in study["notes"])
    path.write_text(OWN.replace('lambda = 0.0, choose = "score"', "lambda = 0.0"))
    status, _, err = command("compare", "ownways", "--trainings", 1, "--workers", 0, "--quiet")
    assert status == 2 and "no pair of arms left" in err


def test_a_protocol_that_is_fitted_to_more_images_than_there_are_is_refused_before_any_training(own, command, home):
    words = ("compare", "ownways", "--protocol", "box-iou", "--setting", "threshold=fit", "--workers", 0)
    before = {*home.rglob("*")}
    status, _, err = command(*words)
    assert status == 2 and "32 held-out images are needed" in err
    assert {*home.rglob("*")} == before


def test_asked_for_by_name_a_protocol_keeps_the_settings_of_the_card():
    card = registry.card("comparison", "guidance")
    chosen = card.choose_protocols(["box-iou", "sds"])
    assert chosen[0] == card.judges[1] and chosen[1] == ComparisonProtocol(protocol="sds")
    assert card.choose_protocols(None) == list(card.judges)
