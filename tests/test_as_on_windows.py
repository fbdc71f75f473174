"""Commands where xaibench finds what it would find on Windows, as far as Linux allows: `as_on_windows.py` says how."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import xaibench
from xaibench.files import is_reserved
from xaibench.results.store import Store

pytestmark = [pytest.mark.process, pytest.mark.slow]  # a minute: trainings, runs, and processes that import torch

SUBJECT = ("--model", "tiny", "--dataset", "mini")
RUN = ("run", "sds,ids", *SUBJECT, "--methods", "ixg,grad-cam,random", "--keep-maps", "--quiet")
COMMANDS = [
    ("--version",),
    ("ls", "methods"),
    ("doctor",),
    ("train", "part-deletion", *SUBJECT, "--epochs", "1"),
    (*RUN, "--images", "4", "--workers", "0"),
    (*RUN, "--images", "8", "--workers", "1"),
    ("leaderboard", "sds"),
    ("leaderboard", "sds", "--format", "html"),
    ("status",),
    ("validate", "results"),
    ("results", "upgrade", "results"),
    ("judge", "sds", "--networks", "and", "--images", "4"),
    ("judge", "--networks", "and", "--images", "4"),
    ("explain", "photos/ape/0.png", *SUBJECT, "--methods", "grad-cam,ixg", "--out", "panel.png"),
    ("publish", "results", "--to", "board", "--title", "A board"),
    ("publish", "results", "--to", "board", "--title", "Another title"),
    ("validate", "board"),
    ("site", "build", "board", "--to", "site"),
    ("site", "build", "board", "--to", "site"),
    ("cache", "ls"),
    ("cache", "clear", "maps", "--yes"),
]
TEXTS = {".json", ".csv", ".md", ".html", ".txt", ".toml", ".svg", ".js", ".css"}


def test_commands_as_on_windows(home, photos, tmp_path):
    given = {"PYTHONPATH": os.pathsep.join([str(Path(xaibench.__file__).parents[1]), str(home)]), "PYTHONUTF8": "0"}
    script = Path(__file__).with_name("as_on_windows.py")
    ended = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", script, json.dumps(COMMANDS)],
        env=os.environ | given | {"PYTHONIOENCODING": "cp1252", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=600,
        check=False,
    )
    printed, said = ended.stdout.decode("cp1252"), ended.stderr.decode("cp1252")
    ends = [line for line in printed.splitlines() if line.startswith("exit ")]
    assert ends == [f"exit 0: {' '.join(words)}" for words in COMMANDS], said[-3000:]
    assert ended.returncode == 0 and "Traceback" not in said and "spawned" in said
    assert "·" in printed and "\\u" not in printed

    written = [path for folder in (home, tmp_path) for path in folder.rglob("*") if "__pycache__" not in path.parts]
    names = {str(path).lower() for path in written}
    assert len(names) == len(written) > 50
    assert not [path for path in written if is_reserved(path.name) or set(path.name) & set('<>:"|?*\\')]
    assert not [path for path in written if path.name[-1] in ". "]
    texts = [path for path in written if path.suffix in TEXTS]
    assert len(texts) > 20 and not [path for path in texts if b"\r" in path.read_bytes()]

    # Scores and keys are those of this system.
    methods, columns = ["ixg", "grad-cam", "random"], ["cell", "image_id", "metric"]
    here = xaibench.run("sds,ids", model="tiny", dataset="mini", methods=methods, images=8, out="here", quiet=True)
    one, other = (
        rows.sort_values(columns).reset_index(drop=True)
        for rows in (here.rows, Store.open(Path("results")).rows(here.cells))
    )
    assert len(one) == len(other) == 72
    assert one[[*columns, "score"]].equals(other[[*columns, "score"]])
