"""status, validate and leaderboard as a user types them."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from xaibench.cli import leaderboard, status, validate
from xaibench.errors import XaibenchError


@pytest.fixture
def run():
    app = typer.Typer()
    for name, module in (("status", status), ("validate", validate), ("leaderboard", leaderboard)):
        app.command(name, epilog=module.EPILOG)(module.command)
    runner = CliRunner()

    def invoke(*words: object):
        result = runner.invoke(app, [str(word) for word in words])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def whole(kit, store):
    cells = [kit.cell("ig"), kit.cell("rise"), kit.cell("random", "control")]
    ids = kit.ids(6)
    scores = [dict.fromkeys(ids, value) for value in (0.2, 0.4, 0.0)]
    kit.record(store, cells, scores, ids, started="2026-01-01T00:00:00+00:00")
    return store


def test_status_of_finished_work(run, whole):
    result = run("status", "--out", whole.root)
    assert result.stdout.rstrip().endswith("nothing is missing")
    assert "3 of 3 methods complete on the list of 6 images" in result.stdout
    assert "18 of 18" in result.stdout


def test_status_of_a_killed_run_ends_with_the_command(run, kit, whole):
    cells, ids = [kit.cell("ig"), kit.cell("rise")], kit.ids(10)
    kit.record(whole, cells, [dict.fromkeys(ids[6:8], 0.3), {}], ids, "running", skipped={"rollout": "needs tokens"},
               started="2026-01-02T00:00:00+00:00")  # fmt: skip
    out = run("status", "--out", whole.root).stdout
    assert out.rstrip().splitlines()[-2:] == ["to finish:", f"  xaibench run idsds --model resnet50 --out {whole.root}"]
    assert "3 of 3 methods complete on the list of 6 images" in out  # the list of the killed run is nobody's
    assert "killed  14 of 20" in out


def test_status_says_that_a_later_run_finished_a_killed_one(run, kit, whole):
    cells, ids = [kit.cell("ig"), kit.cell("rise")], kit.ids(6)
    kit.record(whole, cells, [{}, {}], ids, "running", started="2026-01-02T00:00:00+00:00")
    out = run("status", "--out", whole.root).stdout
    assert "killed, finished later  12 of 12" in out and out.rstrip().endswith("nothing is missing")


def test_status_wants_no_command_whose_work_another_does(run, kit, whole):
    cells = [kit.cell("ig"), kit.cell("rise")]
    for day, (images, command) in enumerate([(8, "xaibench run sds"), (12, "xaibench run epg")], start=2):
        started = f"2026-01-0{day}T00:00:00+00:00"
        one = kit.record(whole, cells, [{}, {}], kit.ids(images), "interrupted", started=started)
        one.command = command
        one.save(whole)
    out = run("status", "--out", whole.root).stdout
    assert out.rstrip().splitlines()[-2:] == ["to finish:", f"  xaibench run epg --out {whole.root}"]


def test_status_forgets_the_old_version_of_an_edited_plugin(run, kit, whole):
    ids = kit.ids(3)
    kit.record(whole, [kit.cell("mine", source="1")], [{}], ids, "interrupted", started="2026-01-02T00:00:00+00:00")
    new = kit.cell("mine", source="2")
    kit.record(whole, [new], [dict.fromkeys(ids, 0.1)], ids, started="2026-01-03T00:00:00+00:00")
    assert run("status", "--out", whole.root).stdout.rstrip().endswith("nothing is missing")


def test_status_without_results(run, tmp_path):
    with pytest.raises(XaibenchError, match="no results"):
        run("status", "--out", tmp_path / "none")


def test_validate_says_what_it_counted(run, whole):
    result = run("validate", whole.root)
    assert (result.exit_code, result.stdout) == (0, "18 rows in 3 cells: no problems\n")


def test_validate_exits_with_1(run, whole):
    path = whole.shards()[0]
    path.write_bytes(path.read_bytes()[:100])
    result = run("validate", whole.root)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"rows/{path.name}: unreadable")
    assert lines[1].startswith("runs/")


def test_leaderboard_table(run, whole):
    result = run("leaderboard", "idsds", "--out", whole.root)
    rows = [line.split() for line in result.stdout.splitlines()]
    header = next(row for row in rows if row[:1] == ["rank"])
    assert header[:7] == ["rank", "method", "mean", "ci_low", "ci_high", "n_images", "n_undefined"]
    assert next(row for row in rows if row[1:2] == ["rise"])[:3] == ["1", "rise", "0.4000"]
    assert next(row for row in rows if "random" in row)[:2] == ["random", "0.0000"]
    assert "board " in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("form", ["csv", "json", "md", "html"])
def test_leaderboard_for_machines_keeps_notes_off_stdout(run, whole, form):
    result = run("leaderboard", "idsds", "--out", whole.root, "--format", form)
    assert result.stderr.startswith("board ")
    if form == "csv":
        assert [row["method"] for row in csv.DictReader(io.StringIO(result.stdout))] == ["rise", "ig", "random"]
    elif form == "json":
        assert json.loads(result.stdout)["rows"][0]["method"] == "rise"
    elif form == "html":
        assert result.stdout.startswith("<section>\n<h2>idsds") and result.stdout.endswith("</section>\n")
        assert result.stdout.count('<th scope="row"') == 3
    else:
        assert result.stdout.startswith("**idsds")


def test_leaderboard_draws(run, whole, tmp_path):
    result = run("leaderboard", "idsds", "--out", whole.root, "--figure", tmp_path / "board.png")
    assert (tmp_path / "board.png").read_bytes().startswith(b"\x89PNG")
    assert f"figure: {tmp_path / 'board.png'}" in result.stdout


@pytest.mark.process
def test_the_verbs_import_nothing_heavy():
    script = (
        "import sys, xaibench.cli.status, xaibench.cli.validate, xaibench.cli.leaderboard;"
        "heavy = ('torch', 'pandas', 'pyarrow', 'matplotlib', 'numpy', 'scipy');"
        "print([name for name in heavy if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True,
                            cwd=Path(__file__).parents[2])  # fmt: skip
    assert result.stdout.strip() == "[]"


EVIL = "\x1b]0;title\x07\x1b[31mred\x9b2J\u202e"


@pytest.mark.parametrize("words", [("status",), ("leaderboard", "idsds"), ("leaderboard", "idsds", "--format", "csv")])
def test_a_foreign_folder_drives_no_terminal(kit, store, command, words):
    record = kit.record(store, [kit.cell(EVIL), kit.cell("x")], [{"a": 0.1}, {}], ["a"])
    record.command, record.skipped = f"xaibench {EVIL}", {EVIL: EVIL}
    record.save(store)
    status, out, error = command(*words, "--out", store.root)
    assert status == 0 and "red" in out and "\n" in out
    assert all(character.isprintable() or character == "\n" for character in out + error)
