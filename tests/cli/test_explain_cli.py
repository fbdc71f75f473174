"""`xaibench explain` and `xaibench show run`: what they print, draw and refuse."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from xaibench.cli import main
from xaibench.results.cells import Cell

pytestmark = pytest.mark.process  # whole runs or large networks: not in the fast tier

RUN = ("run", "idsds", "--model", "tiny", "--dataset", "mini", "--methods", "ixg,grad-cam,random,oracle", "--quiet",
       "--images", 9)  # fmt: skip
SEEN = ("--model", "tiny", "--dataset", "mini", "--weights", "aligned", "--quiet")


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """Plug-ins of other tests are not there, and those of these leave with them."""
    from xaibench import registry

    monkeypatch.setattr(registry, "_decorated", {})


@pytest.fixture(scope="module")
def stored(small_home, tmp_path_factory) -> Path:
    """The results of one run."""
    folder = tmp_path_factory.mktemp("stored")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()):
        patch.setenv("XAIBENCH_HOME", str(small_home))
        patch.syspath_prepend(str(small_home))
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["xaibench", *map(str, RUN)])
        main()
    return folder / "results"


@pytest.fixture
def run(stored, home, tmp_path):
    """These results in the default folder of a test."""
    shutil.copytree(stored, tmp_path / "results")


@pytest.mark.parametrize("verb", ["explain", "show run"])
def test_help_has_worked_examples(command, verb):
    status, out, _ = command(*verb.split(), "--help")
    assert status == 0 and f"xaibench {verb}" in out and "Example" in out


def test_explain_prints_the_prediction_and_draws(command, run, photos, tmp_path):
    photo = photos / "ape" / "2.png"
    status, out, err = command("explain", photo, *SEEN, "--methods", "grad-cam,ixg", "--out", "panel.png")
    assert (status, err) == (0, "")
    first, last = out.splitlines()
    assert first.startswith("2.png: ") and len(first.split(", ")) == 3 and last == "figure: panel.png"
    with Image.open("panel.png") as picture:
        assert picture.width > 800
    status, out, _ = command("explain", photo, photos / "bee" / "1.png", *SEEN, "--style", "map", "--target", 1)
    assert status == 0 and "figure: 2-explained.png" in out and out.count("0.") + out.count("<0.01") >= 6
    assert (tmp_path / "2-explained.png").is_file()


def test_explain_an_image_of_the_embedded_data_set(command, run, tmp_path):
    status, out, err = command("explain", "test/000003", *SEEN, "--methods", "all", "--out", "p.svg")
    assert status == 0, err
    assert out.startswith("test/000003: ") and "skipped: rollout needs a vision transformer" in out
    assert (tmp_path / "p.svg").is_file()


def test_a_method_that_raises_is_told_and_the_others_are_drawn(command, run, photos, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import xaibench\n@xaibench.method('cli-breaks')\ndef f(evidence):\n    raise ValueError('\\x1b[31mno\\nway')\n"
    )
    words = ("explain", photos / "ape" / "0.png", *SEEN, "--methods", "ixg,cli-breaks", "--plugin", "mine.py")
    status, out, err = command(*words, "--out", "p.png")
    assert status == 2 and "figure: p.png" in out and (tmp_path / "p.png").is_file()
    assert err.count("\n") == 1 and "cli-breaks failed: ValueError" in err and "\x1b" not in err
    assert "the other maps are in p.png" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--methods", "gradcam"), "did you mean grad-cam"),
        (("--target", "no such class"), "is no class"),
        (("--out", "x.bmp"), ".png"),
        (("--weights", "plane.pth"), "nor a file"),
    ],
)
def test_mistakes_are_one_line(command, run, words, message):
    status, _, err = command("explain", "test/000001", *SEEN, *words)
    assert status == 2 and message in err and err.count("\n") == 1 and err.startswith("xaibench: ")


def test_a_missing_photo_is_one_line(command, run):
    status, _, err = command("explain", "no.png", *SEEN)
    assert status == 2 and "photo no.png is no file" in err and err.count("\n") == 1


@pytest.mark.slow
def test_show_run_draws_kept_maps_and_makes_others_again(command, run, tmp_path):
    status, out, err = command("show", "run", "--quiet")
    assert status == 0, err
    assert "maps: made again" in out and out.count("test/") == 9
    (figure,) = (tmp_path / "results" / "figures").glob("gallery-idsds-*.png")
    assert out.rstrip().endswith(f"figure: results/figures/{figure.name}")
    before = figure.read_bytes()
    assert command(*RUN, "--keep-maps")[0] == 0
    status, out, _ = command("show", "run", "results", "--quiet")
    assert status == 0 and "maps: as kept by the run" in out
    with Image.open(figure) as now:
        assert now.size[0] == 1360
    assert len(before) > 10_000


def renamed(results: Path, name: str) -> None:
    """Gives the protocol of a results folder another name everywhere, with the keys that this makes."""
    keys = {}
    for path in (results / "cells").glob("*.json"):
        content = json.loads(path.read_text())
        content["context"]["protocol"]["name"] = name
        cell = Cell(content["context"], content["method"])
        keys |= {content["key"]: cell.key, content["board"]: cell.board}
        path.unlink()
        path.with_name(f"{cell.key}.json").write_text(json.dumps(content | {"key": cell.key, "board": cell.board}))
    for path in (results / "rows").glob("*.parquet"):
        rows = pq.read_table(path)
        pq.write_table(
            rows.set_column(0, rows.schema.field("cell"), [[keys[key] for key in rows["cell"].to_pylist()]]), path
        )
    for path in (results / "runs").glob("*.json"):
        text = path.read_text()
        for old, new in keys.items():
            text = text.replace(old, new)
        path.write_text(text)


def test_a_foreign_name_becomes_no_path(command, run, tmp_path):
    assert command(*RUN, "--keep-maps")[0] == 0
    renamed(tmp_path / "results", "x/../../../../NAME")
    inside = set(tmp_path.parent.rglob("*"))
    status, _, err = command("show", "run", "results", "--quiet", "--methods", "ixg,grad-cam")  # whose maps are kept
    assert status == 0, err
    (drawn,) = {path for path in tmp_path.parent.rglob("*") if path.is_file()} - inside
    assert drawn.parent == tmp_path / "results" / "figures" and drawn.name.startswith("gallery-x-NAME-")


@pytest.mark.slow
def test_show_run_options_and_mistakes(command, run, tmp_path):
    words = ("show", "run", "results", "--quiet", "--images", 1, "--methods", "random,ixg", "--out", "g.pdf")
    status, out, _ = command(*words, "--protocol", "idsds", "--model", "ti*", "--style", "map")
    assert status == 0 and out.count("test/") == 3 and (tmp_path / "g.pdf").read_bytes().startswith(b"%PDF")
    for wrong, message in (
        (("--methods", "ig"), "no method 'ig'"), (("--run", "1999"), "no run '1999'"), (("--out", "g.bmp"), ".png"),
        (("--protocol", "sds"), "no results of 'sds'"), (("--board", "zz"), "fits"),
    ):  # fmt: skip
        status, _, err = command("show", "run", "results", *wrong)
        assert status == 2 and message in err and err.count("\n") == 1, err
    assert command("show", "run", "nowhere")[0] == 2
