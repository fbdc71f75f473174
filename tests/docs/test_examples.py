"""The worked examples of the documentation, run as they stand: files are written, commands are given in order.

Commands of xaibench and scripts run in this process, each command without what earlier ones plugged in; `python -m`
runs in its own.
Only the big models and the many images are replaced by the small ones of the tests.
"""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from xaibench.models.state import read_header

pytestmark = pytest.mark.process  # whole runs or large networks: not in the fast tier

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
SMALL = {
    "--model resnet50": "--model tiny --dataset mini",
    "--model resnet18": "--model tiny",
    "--model critters_cnn --dataset critters-spurious": "--model tiny --dataset mini",
}


@pytest.fixture
def follow(home, tmp_path, command):
    """follow(page): writes its files and gives its commands in an empty folder; (command, what it printed) for each."""

    def go(page: str) -> list[tuple[str, str]]:
        printed = []
        for language, title, body in BLOCK.findall((DOCS / page).read_text()):
            if title:
                path = tmp_path / title
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(body)
            if language == "bash":
                for line in body.replace("\\\n", " ").splitlines():
                    printed.append((line, give(line)))
        return printed

    def give(line: str) -> str:
        for large, small in SMALL.items():
            line = line.replace(large, small)
        program, *words = shlex.split(line)
        if program == "xaibench":
            status, out, err = command(*words)
            assert status == 0, f"{line}\n{out}\n{err}"
            return out
        assert program == "python", line
        if words[0].endswith(".py"):
            with redirect_stdout(StringIO()) as out:
                runpy.run_path(str(tmp_path / words[0]), run_name="__main__")
            return out.getvalue()
        paths = [str(DOCS.parent), str(home), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return go


def ranked(printed: str) -> dict[str, str]:
    """The rank of each ranked method on a printed board."""
    rows = [line.split() for line in printed.splitlines()]
    return {row[1]: row[0] for row in rows if len(row) > 3 and row[0].isdigit() and not row[1].isdigit()}


def test_objects_in_a_script_are_ranked_and_not_computed_again(follow, tmp_path):
    ((_, printed),) = follow("own-objects.md")
    assert "mine" in printed and "grad-cam" in printed and "8 images" in printed
    ((_, again),) = follow("own-objects.md")
    assert again == printed
    assert len(list((tmp_path / "results" / "rows").glob("*.parquet"))) == 1, "a process of its own has the same keys"


def test_a_new_method_is_ranked_beside_the_others(follow, tmp_path):
    first, bars, foreign = [text for _, text in follow("new-method.md")]
    assert set(ranked(first)) == {"my-method", "ixg", "grad-cam"} and "random" in first
    assert set(ranked(bars)) >= {"bars", "my-method"} and "computed" in bars
    assert {"coarse-occlusion", "eigen-grad-cam-mine", "ixg"} <= set(ranked(foreign))


@pytest.mark.slow
def test_a_new_model_is_trained_or_brings_its_weights(follow):
    trained, _, ready, registered = [text for _, text in follow("new-model.md")]
    assert "my_models.py:make (aligned" in " ".join(trained.split()) and "trained by xaibench" in trained
    assert "my_models.py:ready (its own weights" in " ".join(ready.split()) and "trained by xaibench" not in ready
    assert "my-net (plain" in " ".join(registered.split()) and "grad-cam" in ranked(registered)


@pytest.mark.slow
def test_a_new_protocol_has_a_board(follow):
    first, both, board, masks = [text for _, text in follow("new-protocol.md")]
    assert "top-cell (grid 4" in first and set(ranked(first)) == {"ig", "grad-cam"}
    assert re.search(r"oracle +1\.0", first)
    assert "top-cell (grid 2" in both and "sds (grid 2" in both
    assert "top-cell (grid 2" in board
    assert "rank-accuracy (labels" in masks and "seg-epg (labels" in masks
    assert re.search(r"oracle +1\.0", masks.split("seg-epg (labels")[0]), "the mask of the class is the best map"


def test_scores_of_maps_that_were_computed_elsewhere(follow):
    (printed,) = [text for _, text in follow("functional.md")]
    assert "share on the object: 0.25" in printed and re.search(r"maxima on the object: \d of 8", printed)


def test_a_survey_is_tested_and_published_numbers_are_checked(follow, tmp_path):
    single, _, _, published = [" ".join(text.split()) for _, text in follow("survey.md")]
    assert (tmp_path / "survey.png").is_file() and (tmp_path / "choices.png").is_file()
    assert "5 pairs of answers of 3 respondents and 2 images" in single and "1 pair left out" in single
    assert "0.0069" in published and "4.4e-10" in published and "37.5859" in published


@pytest.mark.slow
def test_boards_of_one_model_agree_and_have_a_pareto_front(follow, tmp_path):
    texts = [" ".join(text.split()) for _, text in follow("agreement.md")]
    first, agree, _, seeds, _, ranks, pareto, csv = texts
    assert "passes seconds" in first and all(f" {name} " in agree for name in ("ids", "sds", "epg"))
    assert "seed 0 seed 1" in seeds and all(name in ranks for name in ("mean_rank", "blur baseline, seed 0", "seed 1"))
    assert (tmp_path / "ranks.svg").is_file()
    assert "on_front" in pareto and "method,seconds,mean" in csv
    assert (tmp_path / "agreement.svg").is_file() and (tmp_path / "pareto.svg").is_file()


@pytest.mark.slow
def test_a_new_data_set_is_shown_and_judged(follow, tmp_path):
    card, sheet, run = [text for _, text in follow("new-dataset.md")]
    assert "at 64 pixels" in card and "no contact sheet" in card
    assert (tmp_path / "stripes.png").is_file() and "contact sheet" in sheet
    assert "stripes (32 px)" in run and set(ranked(run)) == {"ig", "grad-cam"}


@pytest.mark.slow
def test_a_new_loss_schedule_and_recipe_are_trained_with(follow, home):
    listed, card, guided, tests, recipe, trained = [text for _, text in follow("new-loss.md")]
    assert "outside" in listed.split() and "power = 2" in card
    assert "outside at Input" in guided and "2 passed" in tests
    (header,) = [
        read_header(p)
        for p in (home / "models").glob("tiny-mini-guided-*/weights.safetensors")
        if read_header(p)["task"].get("loss_options") == {"power": 1} and "chosen" not in read_header(p)
    ]
    assert header["task"]["loss"] == "outside" and header["task"]["loss_source"]
    assert "adamw" in recipe
    header = read_header(Path(re.search(r"weights: (.*)", trained).group(1)))
    assert header["recipe"]["schedule_options"] == {"power": 3} and header["recipe"]["optimizer"] == "adamw"


@pytest.mark.slow
def test_a_board_folder_is_published_read_and_withdrawn_from(follow, tmp_path):
    _, first, valid, board, read, second, third = [text for _, text in follow("use-publish.md")]
    assert "version 1 in board: 1 board, 4 results" in first and "next: xaibench leaderboard sds --out board" in first
    assert "32 rows in 4 cells: no problems" in valid and set(ranked(board)) == {"ig", "ixg", "grad-cam"}
    assert "'cell': 'key of the result; joins this table with the rows'" in read and "[32 rows x" in read
    assert "version 2 in board: 1 board, 4 results" in second
    assert "version 3 in board: 1 board, 3 results" in third
    assert "a defect in its hooks" in (tmp_path / "board" / "README.md").read_text()


def test_the_site_of_a_board(follow, tmp_path):
    printed = follow("site.md")
    assert "open results/site/index.html" in printed[-1][1]
    assert (tmp_path / "results" / "site" / "gallery.html").is_file()


@pytest.mark.slow
def test_a_region_of_a_segmentation_network_is_explained(follow):
    ((_, printed),) = follow("segmentation.md")
    assert printed.startswith("SDS: ") and -1 <= float(printed.split()[1]) <= 1
