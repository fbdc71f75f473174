"""The results folder that version 0.1 wrote: the commands that made it, and what is read of its boards.

Paths in its recorded commands begin with a placeholder, which a copy fills with its own place.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parent / "results_0_1"
PLACE = "@FIXTURE@"
PROTOCOLS = ("sds", "epg", "pointing-game")
MODEL = (
    "--model", "old_tiny", "--weights", f"{PLACE}/network.safetensors", "--image-size", "32", "--plugin",
    f"{PLACE}/code/old_method.py", "--cards", f"{PLACE}/cards", "--out", f"{PLACE}/results", "--device", "cpu",
    "--precision", "float64", "--quiet",
)  # fmt: skip
"""In float64, so that ranks of near ties are the same on every processor."""
COMMANDS = (
    ("run", "sds,epg", *MODEL, "--methods", "ixg,grad-cam,old-method,random", "--images", "4"),
    ("run", "pointing-game", *MODEL, "--methods", "ixg,grad-cam", "--images", "2", "--keep-maps"),
)
CODE = ("--plugin", f"{PLACE}/code/old_method.py", "--cards", f"{PLACE}/cards")
"""The options that name other people's code, which is never run because a results folder says so."""


def filled(words: Sequence[str], folder: Path) -> list[str]:
    """Words with a folder in the place of the placeholder."""
    return [word.replace(PLACE, str(folder)) for word in words]


def copied(folder: Path) -> Path:
    """A copy of the fixture whose recorded commands name the copy; returns its results folder."""
    shutil.copytree(FOLDER, folder)
    for path in (folder / "results" / "runs").glob("*.json"):
        path.write_text(path.read_text().replace(PLACE, str(folder)))
    return folder / "results"


def means(printed: str) -> dict[str, float]:
    """The mean of each method, from a board printed as JSON."""
    return {row["method"]: row["mean"] for row in json.loads(printed)["rows"]}
