"""Comparisons of designs: which runs they are, what is not run again, and the command from end to end."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from xaibench import registry
from xaibench.cards import ComparisonArm, ComparisonCard
from xaibench.comparison.config import ComparisonConfig
from xaibench.comparison.steps import Step, steps
from xaibench.errors import XaibenchError

pytestmark = pytest.mark.process  # whole runs or large networks: not in the fast tier

CARD = {"name": "mine", "title": "t", "question": "q?"}


def request(**fields):
    """The request of a comparison by its models and number of trainings; steps take the card from elsewhere."""
    return ComparisonConfig(comparison="any", **fields)


def test_every_card_names_arms_that_exist():
    for name in registry.names("comparison"):
        card = registry.card("comparison", name)
        todo, pairs = steps(card, request())
        assert {arm for pair in pairs for arm in pair} == {step.name for step in todo}
        assert set(card.arms) <= {arm for pair in card.pairs for arm in pair} | {
            arm.start for arm in card.arms.values()
        }
        assert card.paper and card.question.endswith("?")


def test_the_first_training_of_every_arm_comes_first():
    todo, pairs = steps(registry.card("comparison", "width"), request(trainings=2))
    assert [(step.name, step.number) for step in todo] == [
        ("resnet50", 0), ("wide_resnet50_2", 0), ("resnet50", 1), ("wide_resnet50_2", 1)
    ]  # fmt: skip
    assert pairs == [("resnet50", "wide_resnet50_2")]
    assert todo[0].run_arguments == {"model": "resnet50"} and todo[0].description == "resnet50, training 0"


def test_arms_without_a_model_are_of_each_model():
    card = registry.card("comparison", "softmax")
    todo, pairs = steps(card, request(models=("resnet18", "vgg11"), trainings=1))
    assert [step.model for step in todo] == ["resnet18"] * 3 + ["vgg11"] * 3
    assert ("vgg11: logit", "vgg11: probability") in pairs and len(pairs) == 4
    assert steps(card, request(trainings=1))[1][0] == ("logit", "probability")


def test_an_arm_that_is_one_training_is_run_once():
    todo, _ = steps(registry.card("comparison", "seed"), request())
    assert [step.number for step in todo] == [0, 1, 2]


def test_mistakes_are_one_line():
    with pytest.raises(XaibenchError, match="names its models itself"):
        steps(registry.card("comparison", "depth"), request(models=("vgg11",)))
    open_card = ComparisonCard(**CARD, pairs=(("x", "y"),), arms={"x": ComparisonArm(), "y": ComparisonArm()})
    with pytest.raises(XaibenchError, match="needs --model"):
        steps(open_card, request())
    with pytest.raises(XaibenchError, match="resnet50"):
        steps(ComparisonCard(**CARD, pairs=(("resnet5", "resnet18"),)), request())
    assert Step("a", 1, ComparisonArm(), "resnet18").description == "a, training 1"


def test_a_request_goes_to_a_file_and_back(command, tmp_path):
    words = ("depth", "--model", "a,b", "--images", 3, "--setting", "grid=2", "--recipe", "milestones=[1,2]")
    status, first, err = command("compare", *words, "--print-config")
    assert status == 0, err
    found = ComparisonConfig.parse(tomllib.loads(first))
    assert found == ComparisonConfig(
        comparison="depth", models=("a", "b"), images=3, settings={"grid": 2}, recipe={"milestones": [1, 2]}
    )
    (tmp_path / "compare.toml").write_text(first)
    assert command("compare", "--config", tmp_path / "compare.toml", "--print-config")[1] == first
    other = command("compare", "width", "--config", tmp_path / "compare.toml", "--images", 4, "--print-config")[1]
    assert tomllib.loads(other) == tomllib.loads(first) | {"comparison": "width", "images": 4}
    (tmp_path / "compare.toml").write_text("modles = ['a']")
    status, _, err = command("compare", "depth", "--config", tmp_path / "compare.toml")
    assert status == 2 and "'modles' is no field of ComparisonConfig; did you mean models" in err
    status, _, err = command("compare")
    assert status == 2 and "`xaibench ls comparisons` lists them" in err and err.count("\n") == 1


OWN = """
title = "Width"
question = "Does width matter?"
pairs = [["tiny", "wide"]]

[arms]
wide = { model = "wide" }
"""


@pytest.fixture
def two_models(home):
    """The network `tiny`, the same twice as wide, and a comparison of the two."""
    wide = home / "cards" / "models" / "wide.toml"
    wide.write_text((home / "cards" / "models" / "tiny.toml").read_text() + "parameters = { width = 16 }\n")
    own = home / "cards" / "comparisons" / "own.toml"
    own.parent.mkdir(exist_ok=True)
    own.write_text(OWN)
    yield
    wide.unlink()
    own.unlink()


ASKED = ("--dataset", "mini", "--methods", "ixg,saliency,random", "--images", 8, "--protocol", "sds")


def test_a_comparison_runs_what_is_missing_and_agrees_with_the_boards(two_models, command):
    status, out, err = command("compare", "own", *ASKED, "--trainings", 2, "--format", "json")
    assert status == 0 and "own 4/4: wide, training 1" in err
    found = json.loads(out)
    assert [row["training"] for row in found["trainings"]] == [0, 1, 0, 1]
    assert any("2 trainings an arm" in note and "--trainings 5" in note for note in found["notes"])
    means: dict[str, list[float]] = {"tiny": [], "wide": []}
    for row in boards(command):
        name = "tiny" if "tiny" in row["title"] else "wide"
        means[name].append(next(r["mean"] for r in row["rows"] if r["method"] == "ixg"))
    assert [len(values) for values in means.values()] == [2, 2]
    ixg = next(row for row in found["pairs"][0]["rows"] if row["method"] == "ixg")
    assert ixg["before"] == pytest.approx(sum(means["tiny"]) / 2) and ixg["after"] == pytest.approx(
        sum(means["wide"]) / 2
    )
    figures = sorted(path.name for path in Path("results/figures").glob("compare-*"))
    assert figures == ["compare-own-sds-accuracy.png", "compare-own-sds.png"]
    rows = len(list(Path("results").rglob("*.parquet")))
    status, again, _ = command("compare", "own", *ASKED, "--trainings", 2, "--format", "json")
    assert status == 0 and json.loads(again) == found and len(list(Path("results").rglob("*.parquet"))) == rows


def boards(command):
    """All boards of the results folder, by the leaderboard."""
    _, out, err = command("leaderboard", "sds", "--format", "json")
    yield json.loads(out)
    for key in re.findall(r"--board (\w+)", err):
        yield json.loads(command("leaderboard", "sds", "--board", key, "--format", "json")[1])


@pytest.mark.parametrize("format_", ["table", "md", "csv"])
def test_a_comparison_in_words(two_models, command, format_):
    status, out, err = command("compare", "own", *ASKED, "--trainings", 1, "--format", format_, "--quiet")
    assert status == 0 and "tiny -> wide" in out.replace("\\", "")
    assert "one training an arm" in out + err
    assert out.count("saliency") >= 1 and ("Does width matter?" in out or format_ == "csv")
    if format_ == "csv":
        assert out.splitlines()[0].endswith(",enough_trainings") and out.splitlines()[1].endswith(",False")


@pytest.mark.slow
def test_several_models_in_one_run_and_one_leaderboard(two_models, command):
    words = ("--dataset", "mini", "--methods", "ixg,saliency,random", "--images", 8, "--quiet")
    status, out, _ = command("run", "sds", "--model", "tiny,wid?", *words)
    assert status == 0 and "model 2/2: wide" in out and "xaibench leaderboard sds --by model" in out
    status, out, _ = command("leaderboard", "sds", "--by", "model", "--format", "json")
    found = json.loads(out)
    assert status == 0 and found["images"] == 8 and {row["model"] for row in found["models"]} == {"tiny", "wide"}
    alone = {
        (b["title"].split(" · ")[1].split()[0], r["method"]): r["mean"] for b in boards(command) for r in b["rows"]
    }
    assert {(row["model"], row["method"]): row["mean"] for row in found["rows"]} == pytest.approx(alone)
    ranked = [row for row in found["rows"] if row["kind"] == "method"]
    assert [row["rank"] for row in ranked] == sorted(row["rank"] for row in ranked) and ranked[0]["rank"] == 1
    best = max((row for row in ranked if row["model"] == "wide"), key=lambda row: row["mean"])
    assert next(row for row in found["models"] if row["model"] == "wide")["best_method"] == best["method"]
    for format_ in ("table", "md", "csv"):
        status, out, _ = command("leaderboard", "sds", "--by", "model", "--format", format_, "--figure", "m.png")
        assert status == 0 and "wide" in out and Path("m.png").is_file()


def test_models_with_other_lists_are_compared_on_the_images_that_they_share(two_models, command):
    words = ("--dataset", "mini", "--methods", "ixg,random", "--quiet")
    command("run", "sds", "--model", "tiny", *words, "--images", 4)
    command("run", "sds", "--model", "wide", *words, "--images", 8)
    found = json.loads(command("leaderboard", "sds", "--by", "model", "--format", "json")[1])
    assert found["images"] == 4 and "on the 4 images that all models have" in found["notes"][0]
    first = json.loads(command("leaderboard", "sds", "--model", "tiny", "--format", "json")[1])
    tiny = {row["method"]: row["mean"] for row in found["rows"] if row["model"] == "tiny"}
    assert tiny == pytest.approx({row["method"]: row["mean"] for row in first["rows"]})


def test_what_cannot_be_compared_is_one_line(two_models, command):
    command("run", "sds", "--model", "tiny", "--dataset", "mini", "--methods", "ixg", "--images", 4, "--quiet")
    status, _, err = command("leaderboard", "sds", "--by", "model")
    assert status == 2 and "run others" in err and err.count("\n") == 1
    status, _, err = command("run", "sds", "--model", "tiny,no*such", "--dataset", "mini")
    assert status == 2 and "no model matches" in err
    status, _, err = command("compare", "dept")
    assert status == 2 and "depth" in err and err.count("\n") == 1


@pytest.mark.slow
def test_the_seed_of_a_training_is_another_training(home, command):
    words = ("run", "sds", "--model", "tiny", "--dataset", "mini", "--methods", "ixg", "--images", 4, "--quiet")
    first, other = command(*words)[1], command(*words, "--training-seed", 1)[1]
    assert "training seed 1" in other and "training seed" not in first.split("also stored")[0]
    assert "computed 4 images" in other
    assert "label_smoothing 0.1" in command(*words, "--recipe", "label_smoothing=0.1")[1]
    across = json.loads(command("leaderboard", "sds", "--by", "model", "--format", "json")[1])
    assert {row["model"] for row in across["models"]} == {
        "tiny", "tiny (training seed 1)", "tiny (label_smoothing 0.1)"
    }  # fmt: skip
    status, _, err = command("run", "sds", "--model", "tiny", "--dataset", "imagefolder", "--data-root", ".",
                             "--training-seed", 1)  # fmt: skip
    assert status == 2 and err.count("\n") == 1
