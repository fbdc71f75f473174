"""The request of a training: files, the command line and Python give the same one."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from pathlib import Path

import pytest

from xaibench.configuration import argument_of
from xaibench.errors import XaibenchError
from xaibench.models.state import read_header
from xaibench.training.api import plan_training
from xaibench.training.classifier import Classification
from xaibench.training.config import TrainingConfig
from xaibench.training.fit_level import FitLevel
from xaibench.training.resources import TrainingResources
from xaibench.training.tasks import TASKS

EVERY_TASK = [
    {"task": "classifier"},
    {"task": "classifier", "task_options": {"fit": "over"}},
    {"task": "patch-deletion", "task_options": {"grid": 8, "baseline": "blur", "probability": 0.25}},
    {"task": "random-masks", "task_options": {"share": 0.3}},
    {"task": "part-deletion", "task_options": {"probability": 0.1}},
    {"task": "guided", "task_options": {"lambda": 0.005, "loss": "l1", "layer": "final", "fraction": 0.1}},
    {"task": "lico", "task_options": {"terms": ["ot"], "text_encoder": "words"}},
    {"task": "cgc", "task_options": {"lambda": 0.25}},
    {"task": "adversarial", "task_options": {"epsilon": "4/255", "norm": "l2"}},
]
RECIPE = {"start": "scratch", "schedule": "step", "milestones": [1, 2], "learning_rate": 1e-05}
DATA = {"model": "critters_cnn", "dataset": "critters", "seed": 3, "dataset_options": {"rule": "one:beak"}}


@pytest.mark.parametrize("task", EVERY_TASK, ids=lambda task: task["task"])
def test_a_file_gives_the_same_request_and_the_same_training(task, tmp_path):
    config = TrainingConfig.parse(DATA | task | {"recipe": RECIPE, "plugins": [], "data_root": "some/folder"})
    toml, plain = tmp_path / "train.toml", tmp_path / "train.json"
    toml.write_text(config.to_toml())
    plain.write_text(json.dumps(config.changed()))
    folder = plan_training(config).path
    for file in (toml, plain):
        again = TrainingConfig.parse(TrainingConfig.read_file(file))
        assert again == config and again.make_task() == config.make_task()
        assert plan_training(again).path == folder
    other = plan_training(config.with_fields(seed=4)).path
    assert other != folder and other.name.rpartition("-")[0] == folder.name.rpartition("-")[0]


@pytest.mark.parametrize("task", EVERY_TASK, ids=lambda task: task["task"])
def test_the_command_that_a_request_gives_makes_the_same_request(task, command):
    config = TrainingConfig.parse(DATA | task | {"recipe": RECIPE, "image_size": 32, "name": "mine", "workers": 2})
    words = config.to_arguments()
    status, out, err = command("train", config.task, *words, "--print-config")
    assert status == 0, err
    assert TrainingConfig.parse(tomllib.loads(out)) == config


def test_options_as_by_default_are_left_out():
    """So a request is one, however it was written."""
    long = {"task": "guided", "task_options": {"lambda": [0.001], "loss": "energy", "layer": "INPUT", "dilate": 0}}
    assert TrainingConfig.parse(DATA | long) == TrainingConfig.parse(DATA | {"task": "guided"})


@pytest.mark.parametrize("name", TASKS)
def test_defaults_of_options_are_those_of_the_task_itself(name):
    """Each default is written twice, for the help and for Python: they must not part."""
    options = {"text_encoder": "words"} if name == "lico" else {}
    task = TrainingConfig(model="tiny", dataset="mini", task=name, task_options=options).make_task()
    if isinstance(task, Classification):
        known = {"classifier": None, "patch-deletion": "grid 4, zero baseline, probability 0.5",
                 "random-masks": "up to 10% of the pixels replaced, zero baseline",
                 "part-deletion": "parts dropped with probability 0.2"}  # fmt: skip
        assert (str(task.alignment) if task.alignment else None) == known[name]
    else:
        assert dataclasses.replace(task) == type(task)()


def test_every_option_has_help():
    for cls in (TrainingConfig, *TASKS.values()):
        for name, info in cls.model_fields.items():
            assert info.description and info.description.endswith("."), (cls.__name__, name)
    hidden = [name for name, info in TrainingConfig.model_fields.items() if argument_of(info).hidden]
    assert hidden == ["task", "task_options"]


@pytest.mark.parametrize("name", TASKS)
def test_options_of_a_task_and_of_every_training_have_different_names(name):
    shared = set(TrainingConfig.model_fields) | {"epochs", "learning_rate", "batch_size", "config", "quiet"}
    assert not shared & set(TASKS[name].model_fields)


FILE = """
model = "tiny"
dataset = "mini"
seed = 5
device = "cpu"

[recipe]
epochs = 1
batch_size = 16
weight_decay = 0.0

[task_options]
fit = "under"
"""


@pytest.fixture
def file(home, tmp_path):
    (tmp_path / "train.toml").write_text(FILE)
    return tmp_path / "train.toml"


def printed(command, *words):
    status, out, err = command("train", *words, "--print-config")
    assert status == 0, err
    return tomllib.loads(out)


def test_the_command_line_wins_entry_by_entry(file, command):
    found = printed(command, "classifier", "--config", file, "--seed", 6, "--epochs", 4, "--recipe", "momentum=0.5")
    assert found["seed"] == 6 and found["model"] == "tiny" and found["task_options"] == {"fit": "under"}
    assert found["recipe"] == {"epochs": 4, "batch_size": 16, "weight_decay": 0.0, "momentum": 0.5}
    found = printed(command, "classifier", "--config", file, "--fit", "over", "--model", "resnet18")
    assert (found["task_options"], found["model"], found["seed"]) == ({"fit": "over"}, "resnet18", 5)
    found = printed(command, "classifier", "--config", file, "--fit", "normal")
    assert "task_options" not in found


def test_what_is_printed_can_be_given_back(file, command, tmp_path):
    words = ("--lambda", "1e-3,0.5", "--recipe", "milestones=[1,2]", "--dataset-option", "rule=one:beak",
             "--model", "tiny", "--dataset", "mini", "--plugin", "a.py", "--plugin", "b.py", "--match=l1")  # fmt: skip
    status, first, err = command("train", "guided", *words, "--print-config")
    assert status == 0, err
    (tmp_path / "again.toml").write_text(first)
    status, again, err = command("train", "guided", "--config", tmp_path / "again.toml", "--print-config")
    assert (status, again) == (0, first)
    assert TrainingConfig.parse(tomllib.loads(first)).options.lambdas == (0.001, 0.5)


def test_the_page_shows_what_its_command_prints(command):
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    words = re.search(r"^xaibench train (.* --print-config) > train.toml$", page, re.MULTILINE)[1].split()
    shown = re.search(r"^```toml title=\"train.toml\"\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[1]
    assert command("train", *words)[1] == shown


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("modle = 'tiny'", (), "'modle' is no field of TrainingConfig; did you mean model?"),
        ("[task_options]\nfits = 'over'", ("--model", "a", "--dataset", "b"), "no option 'fits'; did you mean fit?"),
        ("[recipe]\nepoch = 3", ("--model", "tiny", "--dataset", "mini"), "no field 'epoch'; did you mean epochs?"),
        ("task = 'guided'", (), "is for task guided: xaibench train guided --config"),
        ("seed = -1", ("--model", "a", "--dataset", "b"), "seed is at least 0, not -1"),
        ("seed = ", (), "cannot be read"),
        ("dataset = 'mini'", (), "missing --model; see `xaibench train classifier --help`"),
        ("workers = -1", ("--model", "a", "--dataset", "b"), "--workers is auto or a number from 0, not -1"),
        ("", ("--epochs", "2", "--recipe", "epochs=3"), "--epochs 2 and --recipe epochs=3 disagree"),
    ],
)
def test_mistakes_in_a_file_are_one_line(home, command, tmp_path, text, words, message):
    (tmp_path / "a.toml").write_text(text)
    status, _, err = command("train", "classifier", "--config", tmp_path / "a.toml", *words)
    assert status == 2 and message in err and len(err.strip().splitlines()) == 1


def test_mistakes_in_python_are_one_line_too():
    for fields, message in (
        ({"task": "guide"}, "no training task is called 'guide'; did you mean guided?"),
        ({"task": "cgc", "task_options": {"weight": 1}}, "training task cgc has no option 'weight'"),
        ({"modle": "x"}, "'modle' is no field of TrainingConfig; did you mean model?"),
    ):
        with pytest.raises(XaibenchError) as caught:
            TrainingConfig.parse(DATA | fields)
        assert message in str(caught.value) and "\n" not in str(caught.value)


def test_the_request_lies_beside_the_weights_and_makes_them_again(file, command, home):
    status, out, err = command("train", "classifier", "--config", file, "--fit", "normal", "--quiet", "--workers", 0)
    assert status == 0, err
    config = TrainingConfig(
        model="tiny", dataset="mini", seed=5, device="cpu", recipe={"epochs": 1, "batch_size": 16, "weight_decay": 0.0}
    )
    training = plan_training(config)
    assert str(training.path) in out and training.path.is_file()
    stored = training.path.with_name("training.toml")
    found = TrainingConfig.parse(TrainingConfig.read_file(stored))
    assert found.with_fields(workers="auto") == config and plan_training(found).path == training.path
    assert "config" not in read_header(training.path) and set(read_header(training.path)) == {
        *training.key_fields, "classes", "metrics"
    }  # fmt: skip


def test_planning_trains_nothing(home, monkeypatch):
    monkeypatch.setattr("xaibench.training.train.train", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr("xaibench.training.api.build_model", lambda *_: pytest.fail("a network was made"))
    monkeypatch.setattr("xaibench.training.api.build_network", lambda *_: pytest.fail("a network was made"))
    before = set(home.glob("models/*"))
    for task in EVERY_TASK:
        options = task.get("task_options", {})
        config = TrainingConfig(
            **DATA | {"task": task["task"], "task_options": options, "recipe": {"start": "scratch"}}
        )
        assert not plan_training(config).path.exists()
    assert set(home.glob("models/*")) == before


def test_a_request_that_does_not_describe_the_task_is_not_written(home):
    config = TrainingConfig(model="tiny", dataset="mini", seed=77, recipe={"epochs": 1})
    training = plan_training(config, FitLevel("under"))
    training.run(TrainingResources(quiet=True))
    assert training.path.is_file() and not training.path.with_name("training.toml").exists()
