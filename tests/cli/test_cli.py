"""The command line, in this process: what each verb prints, where, and with which exit status."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

import xaibench

pytestmark = pytest.mark.process  # whole runs or large networks: not in the fast tier

RUN = ("run", "idsds", "--model", "tiny", "--dataset", "mini", "--methods", "ixg,grad-cam,random,oracle", "--quiet")


def test_version(command):
    assert command("--version")[:2] == (0, f"xaibench {xaibench.__version__}\n")


@pytest.mark.parametrize(
    "verb", ["run", "leaderboard", "status", "validate", "ls", "show method", "train patch-deletion"]
)
def test_help_has_worked_examples(command, verb):
    status, out, _ = command(*verb.split(), "--help")
    assert status == 0 and f"xaibench {verb}" in out and "Example" in out


def test_ls_is_one_plain_name_a_line_when_not_on_a_terminal(command):
    status, out, err = command("ls", "methods", "ig-*")
    assert (status, err) == (0, "")
    assert out.splitlines() == ["ig-abs", "ig-sg", "ig-sg-abs", "ig-sg-sq", "ig-u", "ig-u-abs"]
    assert command("ls", "protocols", "*sds")[1].splitlines() == ["idsds", "sds"]
    assert command("ls", "models", "no-such-*")[:2] == (0, "")


def test_show_prints_a_card(command):
    status, out, _ = command("show", "method", "ig-u")
    assert status == 0 and "steps = 50" in out and "Axiomatic Attribution" in out
    assert "undefined_cost: 0.0" in command("show", "protocol", "idsds")[1]
    assert "layer4" in command("show", "model", "resnet18")[1]


def test_show_dataset_draws_a_contact_sheet(command, home, tmp_path):
    from PIL import Image

    status, out, _ = command("show", "dataset", "mini", "--images", 4, "--out", tmp_path / "sheet.png")
    assert status == 0 and "sheet.png" in out
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert min(sheet.size) > 200


def test_run_then_status_leaderboard_validate(command, home, tmp_path):
    status, out, err = command(*RUN, "--images", 6)
    assert status == 0, err
    board = out.splitlines()
    assert "idsds (grid 4, zero baseline, label, logit)" in board[0]
    assert "profile quick (3 steps, 6 masks)" in " ".join(board[:4])
    assert any(line.split()[:2] in (["1", "ixg"], ["1", "grad-cam"]) for line in board)
    assert "The model gets" in out and "results: results" in out
    assert list((tmp_path / "results" / "figures").glob("idsds-*.png"))
    again = command(*RUN, "--images", 6)
    assert again[0] == 0 and "nothing was missing" in again[1]

    status, out, _ = command("status")
    assert status == 0 and out.rstrip().endswith("nothing is missing")
    assert command("validate", "results") == (0, "24 rows in 4 cells: no problems\n", "")

    rows = list(csv.DictReader(io.StringIO(command("leaderboard", "idsds", "--format", "csv")[1])))
    assert list(rows[0])[:7] == ["rank", "method", "mean", "ci_low", "ci_high", "n_images", "n_undefined"]
    assert {row["method"] for row in rows if not row["rank"]} == {"random", "oracle"}
    board = json.loads(command("leaderboard", "idsds", "--format", "json")[1])
    assert board["accuracy"]["images"] == 6 and len(board["rows"]) == 4
    assert "| rank | method |" in command("leaderboard", "idsds", "--format", "md")[1]


def test_status_ends_with_the_command_that_finishes_the_work(command, home, monkeypatch):
    from xaibench.datasets.critters import Critters

    command(*RUN, "--images", 1)  # the weights are there from now on
    load = Critters.load
    seen = []

    def stopped(self, image_id):
        seen.append(image_id)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return load(self, image_id)

    monkeypatch.setattr(Critters, "load", stopped)
    status, out, err = command(*RUN, "--images", 6, "--batch-size", 2)
    assert status == 130 and out == "" and "goes on from there" in err and "Traceback" not in err
    monkeypatch.setattr(Critters, "load", load)
    out = command("status")[1]
    assert "interrupted" in out
    last = out.rstrip().splitlines()[-1].strip()
    assert last == f"xaibench {' '.join(RUN)} --images 6 --batch-size 2"
    assert command(*last.split()[1:])[0] == 0
    assert command("status")[1].rstrip().endswith("nothing is missing")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run idsd --model tiny", "unknown protocol 'idsd'; did you mean idsds"),
        ("run idsds --model resnet5", "unknown model 'resnet5'; did you mean resnet50"),
        ("run idsds --model tiny --dataset criters", "unknown dataset 'criters'; did you mean critters"),
        ("run idsds --model tiny --methods gradcam", "unknown method 'gradcam'; did you mean grad-cam"),
        (
            "run idsds --model tiny --methods rollout",
            "method rollout needs a vision transformer; tiny is of the family cnn",
        ),
        ("run idsds --model tiny --dataset mini --profile huge", "no profile 'huge'; it has fast, paper, quick"),
        ("run idsds --model tiny --dataset mini --grid 5", "32x32 pixels do not divide into 5x5 equal cells"),
        ("run idsds --model tiny --dataset mini --baseline grey", "baseline is zero or random or blur, not 'grey'"),
        ("run idsds --model tiny --dataset mini --dataset-option rule=two", "no rule named 'two'"),
        ("run idsds --model tiny --dataset mini --dataset-option depth=2", "has no option 'depth'"),
        ("run idsds --model tiny --dataset mini --device gpu", "device 'gpu' cannot be used here"),
        ("run idsds --model tiny --dataset mini --precision half", "unknown precision 'half'"),
        ("run idsds --model tiny --dataset mini --batch-size many", "--batch-size is auto or a number from 1"),
        ("run idsds --model tiny --dataset mini --workers some", "--workers is auto or a number from 0, not 'some'"),
        ("train classifier --model tiny --dataset mini --epochs 3 --precision float64", "cannot train in precision"),
        (
            "run sds --model tiny --dataset mini --weights nowhere.pth",
            "neither plain, nor aligned, nor self-aligned, nor a file",
        ),
        ("run sds --model resnet50 --dataset imagenet", "needs --data-root"),
        ("run idsds --model tiny --dataset mini --plugin nothing.py", "plug-in nothing.py does not exist"),
        ("run idsds --model timm:resnet999", "unknown timm model 'resnet999'"),
        ("show method igu", "unknown method 'igu'; did you mean ig-u"),
        ("leaderboard idsds --out nowhere", "no results in nowhere"),
        ("status --out nowhere", "no results in nowhere"),
        ("train patch-deletion --model tiny --dataset mini --epochs 0", "epochs: Input should be greater than"),
        ("train patch-deletion --model tiny --dataset mini --probability 2", "--probability: Input should be less"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(command, home, words, message):
    status, out, err = command(*words.split())
    assert status == 2 and out == ""
    assert err.startswith("xaibench: ") and len(err.splitlines()) == 1 and message in err


def test_idsds_without_weights_names_training_and_the_published_file(command, home, photos):
    (photos / "ape").rename(photos / "n01440764")
    (photos / "bee").rename(photos / "n01443537")
    status, _, err = command("run", "idsds", "--model", "resnet50", "--dataset", "imagenet", "--data-root", photos)
    assert status == 2
    assert "xaibench train patch-deletion --model resnet50 --dataset imagenet --data-root DIR" in err
    assert "resnet50_imagenet1000_lr0.001_epochs30_step10_checkpoint_best.pth.tar" in err and "--download" in err


def test_train_prints_where_the_weights_are_and_run_takes_them(command, home):
    status, out, err = command(
        "train", "patch-deletion", "--model", "tiny", "--dataset", "mini", "--grid", 2, "--epochs", 1, "--quiet"
    )
    assert status == 0, err
    assert "validation accuracy" in out
    judge = out.rstrip().splitlines()[-1].split("xaibench ")[1]
    status, out, err = command(*judge.split(), "--methods", "ixg", "--images", 2, "--quiet")
    assert status == 0 and "aligned weights tiny-mini-aligned-" in " ".join(out.split()), err


def test_runs_and_trainings_say_how_a_checkpoint_is_taken_for_weights(command, home, tmp_path):
    import torch
    from xaibench_test_network import build

    state = {f"backbone.{name}": tensor for name, tensor in build(10).half().state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"root": Path("data")}}, tmp_path / "last.ckpt")
    for words in (
        ("run", "sds", "--methods", "ixg", "--images", 1),
        ("train", "patch-deletion", "--epochs", 1, "--recipe", "start=plain"),
    ):
        status, _, err = command(
            *words, "--model", "tiny", "--dataset", "mini", "--weights", tmp_path / "last.ckpt", "--quiet"
        )
        lines = err.splitlines()
        assert status == 0 and len(lines) == 2 and all(line.startswith("xaibench: weights ") for line in lines), err
        assert lines[0].endswith("last.ckpt: take 11 tensors whose names begin with 'backbone.'")
        assert lines[1].endswith("last.ckpt are float16, and taken exactly as float32")


def test_fine_tuning_starts_from_the_plain_weights_and_deletes_cells(command, home, photos):
    for part in ("train", "val"):
        (photos / part).mkdir()
    for name in ("ape", "bee"):
        (photos / name).rename(photos / "train" / name)
        (photos / "val" / name).mkdir()
        (photos / "train" / name / "0.png").rename(photos / "val" / name / "0.png")
    common = (
        "--model",
        "tiny",
        "--dataset",
        "imagefolder",
        "--data-root",
        photos,
        "--epochs",
        1,
        "--batch-size",
        4,
        "--quiet",
    )
    status, _, err = command("train", "patch-deletion", *common)
    assert status == 2 and "no plain weights of tiny on imagefolder here" in err
    assert command("train", "classifier", *common, "--recipe", "start=scratch")[0] == 0
    status, out, err = command("train", "patch-deletion", *common)
    assert status == 0, err
    status, out, err = command("run", "idsds", *common[:6], "--methods", "ixg,oracle", "--quiet")
    assert status == 0 and "(aligned, last map 56x56)" in " ".join(out.split()), err
