"""The process of its own in which scores are computed again: what it sees, its surroundings, and its limits."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from xaibench.errors import XaibenchError
from xaibench.files import write_json
from xaibench.home import home
from xaibench.printing import clean
from xaibench.submission.computed import read_computed
from xaibench.submission.manifest import Submission

BLIND = ("cells", "runs", "lists", "source")  # what the process sees: not the rows
KEPT = ("PATH", "LANG", "LC_ALL", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
"""Variables that the process is given as they are; tokens are not among them."""
LAST = 4096  # bytes of what it printed that are looked at


@dataclass(frozen=True)
class Limits:
    """Of the process: seconds of wall time, bytes of memory, bytes of a file that it writes."""

    seconds: float = 3600
    memory: int = 16 << 30
    file: int = 1 << 30


@dataclass(frozen=True)
class Where:
    """What a submission does not bring: the folder of the photos, the file of the weights, and the device."""

    data_root: Path | None = None
    weights: Path | None = None
    device: str = "cpu"


HERE, USUAL = Where(), Limits()


def rows_apart(
    root: Path, submission: Submission, wanted: Mapping[str, list[str]], digests: Mapping[str, str], foreign: bool,
    where: Where, limits: Limits, hidden: tuple[Path, ...],
) -> list[dict[str, Any]]:  # fmt: skip
    """The rows that a process of its own computes, which sees a copy of the submission without its rows."""
    with TemporaryDirectory(prefix="xaibench-replay-") as folder:
        blind, request, result = Path(folder) / "submission", Path(folder) / "request.json", Path(folder) / "rows.json"
        for name in BLIND:
            shutil.copytree(root / name, blind / name)
        (blind / "rows").mkdir()
        card = blind / submission.card
        write_json(request, {
            "folder": blind, "wanted": dict(wanted), "digests": dict(digests), "foreign": foreign,
            "plugins": [card] if foreign and card.suffix == ".py" else [],
            "cards": [blind / "source"] if foreign and card.suffix == ".toml" else [],
            "data_root": where.data_root and where.data_root.resolve(),
            "weights": where.weights and where.weights.resolve(),
            "device": where.device, "hidden": [path.resolve() for path in (root, *hidden)],
        })  # fmt: skip
        run_limited(
            [sys.executable, "-m", "xaibench.submission.worker", str(request), str(result)], Path(folder), limits
        )
        return read_computed(result, wanted)


def run_limited(command: list[str], folder: Path, limits: Limits) -> None:
    """Runs a command in a folder, within limits, with the few variables of `surroundings`.

    Raises XaibenchError with its last line where it fails or takes too long; then it and what it started are ended. So
    it does on Windows, which has no such limits.
    """
    try:
        import resource
    except ImportError:
        raise XaibenchError(
            "not replayed: this system cannot limit what a process takes; replay submissions on Linux, or in WSL"
        ) from None

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (limits.memory, limits.memory))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file, limits.file))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=surroundings(folder), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            preexec_fn=limited, start_new_session=True,
        )  # fmt: skip
        try:
            process.wait(limits.seconds)
        except subprocess.TimeoutExpired:
            raise XaibenchError(f"not replayed: its process took more than {limits.seconds:g} s") from None
        finally:
            with suppress(ProcessLookupError):  # also what it started and left
                os.killpg(process.pid, 9)
            process.wait()
    if process.returncode:
        with log.open("rb") as output:
            output.seek(max(log.stat().st_size - LAST, 0))
            lines = output.read().decode(errors="replace").strip().splitlines()
        raise XaibenchError(f"not replayed: {clean(lines[-1])[:500] if lines else 'its process ended without a word'}")


def surroundings(folder: Path) -> dict[str, str]:
    """The variables of the process: a home of its own, empty, in place of the user's, whose files hold tokens.

    Weights and packages of the user are found all the same: the folder of xaibench and that of `pip install --user` are
    named. Caches of libraries (torch, timm, matplotlib) are made in the empty home.
    """
    own = {"HOME": folder / "home", "TMPDIR": folder / "temporary"}
    for path in own.values():
        path.mkdir(mode=0o700, exist_ok=True)
    found = {name: os.environ[name] for name in KEPT if name in os.environ}
    if paths := os.environ.get("PYTHONPATH"):
        found["PYTHONPATH"] = os.pathsep.join(str(Path(path).resolve()) for path in paths.split(os.pathsep) if path)
    found["PYTHONDONTWRITEBYTECODE"] = "1"  # nothing is written beside modules of others
    named = own | {"XAIBENCH_HOME": home().resolve(), "PYTHONUSERBASE": site.getuserbase()}
    return found | {name: str(path) for name, path in named.items()}
