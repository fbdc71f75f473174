"""`--name`: a training becomes a model that every command knows, with the weights of that training and no others."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from xaibench import registry
from xaibench.cards import Alignment
from xaibench.models.open import build_model, load_weights
from xaibench.models.state import file_digest, read_header, read_state
from xaibench.results.store import Store
from xaibench.training.api import plan_training
from xaibench.training.config import TrainingConfig
from xaibench.training.find import WeightsRequest, find_weights
from xaibench.training.named import toml_value
from xaibench.training.resources import TrainingResources
from xaibench.training.tasks import alignment_fields


def plan(model, dataset, given=None, **fields):
    """The training of a request; given: an object in the place of its task."""
    return plan_training(TrainingConfig(model=model, dataset=dataset, **fields), given)


CELLS = Alignment(grid=4, baseline="zero", probability=0.5)
TRAIN = ("--model", "tiny", "--dataset", "mini", "--epochs", 1, "--device", "cpu", "--quiet")


@pytest.fixture(scope="module")
def small_home(untrained_home):
    """The small home without what other tests trained: names and weights of these tests are for these tests."""
    return untrained_home


def files(home):
    return set((home / "models").glob("*/weights.safetensors"))


@pytest.fixture
def named(home, command):
    """The model `mine`: tiny on mini with binary cross entropy, seed 7."""
    changes = ("--recipe", "loss=binary-cross-entropy", "--seed", 7, "--name", "mine")
    status, out, err = command("train", "classifier", *TRAIN, *changes)
    assert status == 0, err
    return out


def test_the_card_is_the_models_with_the_file_in_it(home, named):
    card, base = registry.card("model", "mine"), registry.card("model", "tiny")
    path = home / card.plain.file
    header = read_header(path)
    assert header["seed"] == 7 and card.plain.dataset == "mini" and card.aligned is None
    assert (card.target, card.cam_layer, card.mean) == (base.target, base.cam_layer, base.mean)
    assert card.tags == ("trained",) and card.probability == "sigmoid" and card.title == "plain tiny on mini"
    assert "seed: 7" in card.notes and "loss binary-cross-entropy" in card.notes and "accuracy" in card.notes
    assert "--model mine --dataset mini" in named and "s an epoch" in named and str(path) in named


@pytest.mark.slow
@pytest.mark.process
def test_a_run_in_another_process_takes_this_file_and_trains_nothing(home, named, command, tmp_path):
    before = files(home)
    weights = home / registry.card("model", "mine").plain.file
    code = "import sys; from xaibench.cli import main; sys.argv[0] = 'xaibench'; main()"
    words = ["run", "sds,epg", "--model", "mine", "--dataset", "mini", "--methods", "saliency", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--out", str(tmp_path / "results")], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "mine (plain" in done.stdout and files(home) == before
    cells = Store.open(tmp_path / "results").cells().values()
    assert {cell.context["weights"]["digest"] for cell in cells} == {file_digest(weights)}


def test_it_is_listed_shown_and_explained(home, named, command, tmp_path):
    assert "mine" in command("ls", "models")[1].split()
    status, out, err = command("show", "model", "mine")
    assert status == 0 and "plain tiny on mini" in out and "parameters (1000 classes)" in out, err
    Image.new("RGB", (40, 40), (200, 30, 90)).save(tmp_path / "photo.png")
    words = ("--dataset", "mini", "--methods", "saliency", "--out", tmp_path / "seen.png", "--quiet")
    status, out, err = command("explain", tmp_path / "photo.png", "--model", "mine", *words)
    assert status == 0 and (tmp_path / "seen.png").is_file(), err


def test_the_same_training_keeps_its_name_and_another_cannot_have_it(home, named, command):
    card = home / "cards" / "models" / "mine.toml"
    before = card.read_bytes(), files(home)
    again = ("--recipe", "loss=binary-cross-entropy", "--name", "mine")
    assert command("train", "classifier", *TRAIN, *again, "--seed", 7)[0] == 0
    assert (card.read_bytes(), files(home)) == before
    for name, seed, words in (
        ("mine", 8, "there is a model of that name already"),
        ("tiny", 7, "there is a model of that name already"),
        ("resnet18", 7, "there is a model of that name already"),
        ("a/b", 7, "letters, digits, _ and -"),
        ("../x", 7, "letters, digits, _ and -"),
        ("", 7, "letters, digits, _ and -"),
    ):
        status, _, err = command("train", "classifier", *TRAIN, *again[:2], "--name", name, "--seed", seed)
        assert status == 2 and words in err and len(err.splitlines()) == 1, (name, err)
    assert (card.read_bytes(), files(home)) == before, "refused before anything is trained"


def test_a_fine_tuning_starts_from_the_file(home, named):
    path = home / registry.card("model", "mine").plain.file
    assert registry.card("dataset", "mini").recipe["start"] == "scratch"
    for alignment in (CELLS, None):
        training = plan("mine", "mini", **alignment_fields(alignment))
        assert training.start == path and training.start_digest == file_digest(path)
        assert training.recipe.start == "plain" and training.recipe.loss == "binary-cross-entropy"
        assert training.recipe.learning_rate == registry.card("dataset", "mini").recipe["learning_rate"]
    assert plan("mine", "mini", recipe={"start": "scratch"}).start is None


@pytest.mark.process
def test_aligned_trainings_are_what_idsds_asks_for(home, command):
    words = ("--grid", 2, "--name", "cut")
    assert command("train", "patch-deletion", *TRAIN, *words)[0] == 0
    card, data = registry.card("model", "cut"), registry.card("dataset", "mini")
    path = home / card.plain.file
    assert card.aligned.alignment == CELLS.model_copy(update={"grid": 2})
    grids = {grid: WeightsRequest("aligned", CELLS.model_copy(update={"grid": grid})) for grid in (2, 4)}
    assert find_weights(card, data, grids[2], False) == path == find_weights(card, data, WeightsRequest("plain"), False)
    assert find_weights(card, data, grids[4], False) is None
    before = files(home)
    run = ("run", "idsds", "--model", "cut", "--dataset", "mini", "--grid", 2, "--methods", "saliency", "--quiet")
    status, out, err = command(*run)
    assert status == 0 and "cut (aligned" in out and files(home) == before, err


def test_a_file_that_is_gone_and_other_data_are_one_line(home, named, command):
    run = ("run", "sds", "--model", "mine", "--methods", "saliency", "--quiet")
    status, _, err = command(*run, "--dataset", "critters")
    assert status == 2 and "was trained on mini, not on critters" in err and len(err.splitlines()) == 1
    status, _, err = command(*run, "--dataset", "mini", "--training-seed", 3)
    assert status == 2 and "is what one training gave" in err
    path = home / registry.card("model", "mine").plain.file
    moved = path.rename(path.with_suffix(".moved"))
    status, _, err = command(*run, "--dataset", "mini")
    moved.rename(path)
    assert status == 2 and f"weights {path} of model mine are gone" in err and len(err.splitlines()) == 1


def test_a_plugged_in_model_is_found_by_its_file(home, command, tmp_path):
    (tmp_path / "mynet.py").write_text(
        "import xaibench\nfrom xaibench_test_network import build\n\n"
        "@xaibench.model('plugged', cam_layer='4')\ndef make(num_classes):\n    return build(num_classes)\n"
    )
    plug = ("--model", "plugged", "--plugin", tmp_path / "mynet.py")
    assert command("train", "classifier", *plug, *TRAIN[2:], "--name", "kept")[0] == 0
    assert registry.card("model", "kept").target == f"{tmp_path / 'mynet.py'}:make"
    registry.forget(next(m for m in sys.modules if m.startswith("xaibench_plugin_mynet")))
    del sys.modules[next(m for m in sys.modules if m.startswith("xaibench_plugin_mynet"))]
    status, out, err = command("run", "sds", "--model", "kept", "--dataset", "mini", "--methods", "saliency", "--quiet")
    assert status == 0 and "kept (plain" in out, err


def test_probability_is_that_of_the_loss(home, named):
    data = registry.card("dataset", "mini")
    path = home / registry.card("model", "mine").plain.file
    for loss, expected in (("binary-cross-entropy", "sigmoid"), ("cross-entropy", "softmax")):
        model = build_model(registry.card("model", "tiny"), 10, data.geometry)
        key_fields = read_header(path)
        state = read_state(path)
        state.header.update(key_fields | {"recipe": key_fields["recipe"] | {"loss": loss}})
        assert load_weights(model, state, "plain", registry.card("model", "tiny")).probability == expected
    stranger = build_model(registry.card("model", "tiny"), 10, data.geometry)
    torch.save(stranger.net.state_dict(), home / "stranger.pth")
    card = registry.card("model", "tiny").model_copy(update={"probability": "sigmoid"})
    model = build_model(card, 10, data.geometry)
    assert load_weights(model, read_state(home / "stranger.pth"), "x", card).probability == "sigmoid"


@pytest.mark.parametrize(
    "value",
    [
        'a "quoted" \\ word\nand a line', "ü ∑ 😀", 3, 1e-5, True, [1.5, 2.0], {"a b": {"c.d": [1, "x"]}}, {}, [],
    ],
)  # fmt: skip
def test_values_of_cards_survive_toml(value):
    assert tomllib.loads(f"value = {toml_value(value)}")["value"] == value


def test_metrics_of_every_epoch_have_their_times(home):
    training = plan("tiny", "mini", recipe={"epochs": 2}, seed=91)
    training.run(TrainingResources(quiet=True))
    rows = pq.read_table(training.path.with_name("metrics.parquet")).to_pylist()
    assert all(0 < row["train_seconds"] < row["seconds"] for row in rows)
    assert not any("seconds" in key for key in read_header(training.path)["metrics"])
