"""What is killed, at any change of the disk or at random, ends as if nothing had happened when it is given again."""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from safetensors import safe_open

sys.path.insert(0, str(Path(__file__).parent))  # test folders are no packages
sys.path.append(str(Path(__file__).parents[1] / "submission"))  # for `made.py` and `records.py`

from harness import counted, in_a_child, killed_at, killed_at_random, leftovers
from made import packed_in
from records import made_record, own_results

from xaibench.cli import main
from xaibench.files import write_json
from xaibench.publication.api import publish
from xaibench.publication.index import read_index
from xaibench.publication.sums import unchanged
from xaibench.results.store import Store
from xaibench.results.validate import validate
from xaibench.submission.publish import publish_submission
from xaibench.submission.record import replay_problems

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]

TINY = ("--model", "tiny", "--dataset", "mini", "--device", "cpu", "--quiet", "--workers", "0")
LITTLE = (*TINY, "--epochs", "2", "--batch-size", "16", "--dataset-option", "count=64")
RUN = ("run", "sds,epg", *TINY, "--methods", "ixg,grad-cam,random", "--images", "6", "--batch-size", "2", "--keep-maps")
SENT = "home/sent"
WORK: dict[str, tuple[str, ...]] = {
    "run": RUN,
    "classifier": ("train", "classifier", *LITTLE, "--seed", "3"),
    "patch-deletion": ("train", "patch-deletion", *LITTLE, "--grid", "4", "--recipe", "start=scratch"),
    "cgc": ("train", "cgc", *LITTLE),
    "lico": ("train", "lico", *LITTLE, "--text-encoder", "words", "--contexts", "3"),
    "adversarial": ("train", "adversarial", *LITTLE, "--epsilon", "8/255", "--steps", "2"),
    "guided": ("train", "guided", *LITTLE, "--lambda", "1e-2,1e-1", "--choose", "score", "--test-images", "8"),
    "masks": ("masks", "make", "--with", "slic", "--dataset", "mini", "--images", "40", "--out", "masks", "--quiet"),
    "publishing": ("publish", "home/results", "--to", "board", "--gallery", "2"),
    "publishing again": ("publish", "home/results", "--to", "home/board", "--title", "Another"),
    "submit": ("submit", "home/others/results", "--card", "home/others/plugin_mine.py", "--to", SENT),
    "publishing a submission": (
        "publish",
        "home/others/mine.zip",
        "--to",
        "home/joined",
        "--replay",
        "home/record.json",
    ),
    "publishing its record later": (
        "publish",
        "home/others/mine",
        "--to",
        "home/later",
        "--replay",
        "home/record.json",
    ),
}
BOARDS = ("board", "home/board", "home/joined", "home/later")
KILLS = int(os.environ.get("XAIBENCH_KILLS", "10"))  # of each piece of work; one in five at random


class Place(NamedTuple):
    """Where a piece of work leaves its files: a folder for all, with a home in it."""

    folder: Path
    words: tuple[str, ...]

    def run(self) -> None:
        """Carries the work out in this process, in the folder."""
        import torch

        import xaibench.evaluation.executor as executor

        torch.set_num_threads(1)
        executor.FLUSH_SECONDS = 0.0  # rows are stored after every batch
        os.chdir(self.folder)
        os.environ["XAIBENCH_HOME"] = str(self.folder / "home")
        sys.path.insert(0, str(self.folder / "home"))  # the module of the tiny network
        sys.argv = ["xaibench", *self.words]
        main()

    def left(self) -> dict[str, Any]:
        """What the work has left, without what differs between equal runs: dates, seconds, locks."""
        found: dict[str, Any] = {}
        for path in sorted(self.folder.rglob("*.safetensors")):
            name = str(path.relative_to(self.folder))
            if "maps" in path.parts:  # whose header has several entries, in a random order
                with safe_open(path, "pt") as file:
                    found[name] = file.metadata(), {key: file.get_tensor(key).tolist() for key in file.keys()}  # noqa: SIM118
            elif "checkpoint" not in path.parts:
                found[name] = path.read_bytes()
        for path in sorted((self.folder / "masks").glob("*.parquet")):
            found[path.name] = path.read_bytes()
        if (self.folder / "results").is_dir():
            rows = Store.open(self.folder / "results").rows().astype(str)
            found["rows"] = sorted(rows.itertuples(index=False, name=None))
            found["problems"] = validate(self.folder / "results")
        for board in (*BOARDS, SENT):
            paths = (path for path in (self.folder / board).rglob("*") if path.is_file())
            found |= {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}
        return found

    def check_boards(self) -> None:
        """A board folder is whole at any moment: the old version or the new one, with all records of replays."""
        for board in (self.folder / name for name in BOARDS):
            if board.exists():
                for submission in read_index(board).submissions:
                    assert all((board / "replays" / f"{name}.json").is_file() for name in submission.replays)
                assert [*validate(board), *unchanged(board).problems, *replay_problems(board)] == []


@pytest.fixture(scope="module")
def trained(small_home, tmp_path_factory) -> Path:
    """A home with the weights that a run and the trainings begin with, the results of a run, and a board folder of
    them."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(small_home, folder / "home", dirs_exist_ok=True)
    for words in (RUN, ("train", "classifier", *TINY, "--dataset-option", "count=64")):
        assert in_a_child(Place(folder, words).run) == 0
    shutil.move(folder / "results", folder / "home" / "results")
    assert in_a_child(Place(folder, ("publish", "home/results", "--to", "home/board", "--gallery", "2")).run) == 0
    submission(folder / "home")
    return folder / "home"


def submission(home: Path) -> None:
    """Puts results and a submission of them into a home, with the record of a replay, and two boards: one of own runs,
    and one that has the submission without the record."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XAIBENCH_HOME", str(home))
        found = packed_in(home / "others")
        write_json(home / "record.json", made_record(found.folder, "all"))
        publish(own_results(found.root / "results", home / "keeper"), home / "joined")
        publish_submission(found.zip, home / "later")


@pytest.mark.parametrize("name", WORK)
def test_nothing_is_lost_doubled_or_different(name, trained, tmp_path):
    def place(folder: str) -> Place:
        shutil.rmtree(tmp_path / folder, ignore_errors=True)
        shutil.copytree(trained, tmp_path / folder / "home")
        return Place(tmp_path / folder, WORK[name])

    whole = place("whole")
    began = time.monotonic()
    assert in_a_child(whole.run) == 0
    seconds, expected = time.monotonic() - began, whole.left()
    assert expected and not leftovers(whole.folder)
    changes = counted(place("killed").run, tmp_path / "changes")
    dice = random.Random(name)
    moments = [(number, after) for number in range(1, changes + 1) for after in (False, True)]
    chosen = sorted(dice.sample(moments, min(len(moments), KILLS * 4 // 5)))
    ways: list[Callable[[Place], bool]] = [lambda here, at=at: killed_at(here.run, *at) for at in chosen]
    ways += [lambda here: killed_at_random(here.run, seconds, dice)] * (KILLS // 5)
    killed = []
    for number, way in enumerate(ways):
        here = place("killed")
        killed.append(way(here))
        here.check_boards()
        refused = name == "submit" and (here.folder / SENT).exists()  # which replaces nothing
        assert in_a_child(here.run) == (2 if refused else 0), (name, number)
        assert here.left() == expected, (name, number)
        assert leftovers(here.folder) == [], (name, number)
    print(f"{name}: {sum(killed)} kills, {changes} changes of the disk, {seconds:.1f} s")
    assert all(killed[: len(chosen)])  # a kill at random may come after the end
