"""`xaibench train guided` from end to end on a tiny network: baseline, front, export, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from xaibench.models.state import read_header
from xaibench.training.guidance.pareto import front

LITTLE = (
    "--model", "tiny", "--dataset", "mini", "--epochs", "2", "--batch-size", "16", "--choose", "score",
    "--device", "cpu", "--workers", "0",
)  # fmt: skip


def weights_in(out):
    return re.search(r"^weights: (.*)$", out, re.M).group(1)


@pytest.fixture
def guided(home, command):
    """Two lambdas, on a baseline that is trained first: (stdout, stderr, folder)."""
    status, out, err = command("train", "guided", *LITTLE, "--lambda", "1e-2,1e-1", "--name", "test_guided_model")
    assert status == 0, err
    return out, err, home


@pytest.mark.process
def test_the_front_is_trained_evaluated_exported_and_named(guided, command, tmp_path):
    out, _, _ = guided
    table = pq.read_table(re.search(r"every epoch: (.*)", out).group(1)).to_pylist()
    assert [(row["lambda"], row["epoch"]) for row in table] == [(None, 0), (0.01, 1), (0.01, 2), (0.1, 1), (0.1, 2)]
    assert [n for n, row in enumerate(table[1:]) if row["on_front"]] == front(table[1:], ("accuracy", "epg", "iou"))
    assert all((row["test_epg"] is not None) == (row["on_front"] or row["epoch"] == 0) for row in table)
    (chosen,) = [row for row in table if row["chosen"]]
    assert chosen["on_front"] and chosen["accuracy"] == max(row["accuracy"] for row in table[1:])
    assert Path(re.search(r"figure: (.*)", out).group(1)).read_bytes()[:4] == b"\x89PNG"
    header = read_header(Path(weights_in(out)))
    assert header["task"]["lambda"] == [0.01, 0.1] and header["chosen"]["lambda"] == chosen["lambda"]
    assert header["metrics"]["epg"] == chosen["epg"] and header["chosen"]["test"]["epg"] == chosen["test_epg"]
    # the named model is judged like any other, and its EPG is the one that was printed
    words = ("--model", "test_guided_model", "--dataset", "mini", "--methods", "ixg", "--images", "40")
    status, _, err = command("run", "epg", *words, "--device", "cpu", "--quiet", "--out", tmp_path / "r")
    assert status == 0, err
    stored = [pq.read_table(p) for p in (tmp_path / "r").rglob("*.parquet")]
    rows = [row for part in stored for row in part.to_pylist() if row.get("metric") == "epg"]
    assert len({row["image_id"] for row in rows}) == 40
    assert sum(row["score"] or 0 for row in rows) / len(rows) == pytest.approx(chosen["test_epg"], abs=1e-4)


@pytest.mark.process
def test_the_same_command_again_computes_nothing(guided, command, monkeypatch):
    from xaibench.training.guidance.evaluation import Evaluation

    monkeypatch.setattr(Evaluation, "__call__", lambda *_: pytest.fail("evaluated again"))
    status, out, err = command("train", "guided", *LITTLE, "--lambda", "1e-2,1e-1", "--name", "test_guided_model")
    assert status == 0, err
    assert weights_in(out) == weights_in(guided[0])


@pytest.mark.process
def test_the_plain_weights_of_the_model_stay_the_plain_ones(guided, command):
    status, out, err = command("run", "sds", "--model", "tiny", "--dataset", "mini", "--methods", "ixg", "--quiet")
    assert status == 0 and "plain" in out, err


@pytest.mark.slow
@pytest.mark.process
def test_seeds_and_subsets_are_runs_of_their_own(home, command):
    words = ("--lambda", "0.02", "--fraction", "0.5", "--subsets", "2", "--repeats", "2")
    status, out, err = command("train", "guided", *LITTLE, *words, "--epochs", "1", "--quiet")
    assert status == 0 and err == ""
    table = pq.read_table(re.search(r"every epoch: (.*)", out).group(1)).to_pylist()
    assert {(row["seed"], row["subset"]) for row in table} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    headers = [read_header(path) for path in (home / "models").glob("tiny-mini-guided-*/weights.safetensors")]
    single = [header for header in headers if header["task"]["lambda"] == 0.02]
    assert {(h["seed"], h["task"]["annotations"]["seed"]) for h in single} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert len({header["start"] for header in single}) == 2  # a baseline per seed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--lambda", "big"), "not a list of numbers"),
        (("--lambda", "1e-3,1e-3"), "several different ones"),
        (("--lambda", "-1"), "--lambda is a number from 0"),
        (("--loss", "enrgy"), "no localisation loss"),
        (("--attribution", "gradcam"), "no attribution to guide by"),
        (("--attribution", "b-cos"), "B-cos"),
        (("--layer", "Mid7"), "no stage 'Mid7'"),
        (("--fraction", "2"), "fraction"),
        (("--subsets", "2"), "--subsets"),
        (("--choose", "best"), "--choose"),
        (("--recipe", "start=scratch"), "start=scratch"),
        (("--name", "a b"), "--name"),
        (("--name", "resnet18"), "there is a model of that name"),
        (("--batch-size", "64"), "lower --batch-size"),
    ],
)
def test_mistakes_are_one_line(home, command, words, said):
    status, _, err = command("train", "guided", *LITTLE, "--quiet", *words)
    assert status == 2 and said in err and len(err.strip().splitlines()) == 1 and "Traceback" not in err


@pytest.mark.slow
@pytest.mark.process
def test_the_input_is_a_stage_in_small_letters_too(home, command):
    status, _, err = command("train", "guided", *LITTLE, "--epochs", "1", "--layer", "input", "--quiet")
    assert status == 0, err
