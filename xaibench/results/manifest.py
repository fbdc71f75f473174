"""The record of one run: its command and request, versions and device, how long it took, and how it ended."""

from __future__ import annotations

import dataclasses
import json
import secrets
import shlex
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xaibench.files import write_json
from xaibench.locks import is_held
from xaibench.provenance import own_commit, package_versions
from xaibench.results.records import Accuracy, RunRecord, is_record, read_record

if TYPE_CHECKING:
    from xaibench.results.store import Store

STATES = ("running", "complete", "partial", "interrupted", "failed")
KILLED = "killed"
"""The state of a run whose record says `running` and whose process is gone: it could not record its end."""
LARGEST_CONFIG = 1 << 16  # characters of JSON


def new_run_id() -> str:
    """UTC time to the second and a random suffix, such as 20260131T120000Z-5f3a9c; sorts by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


@dataclass
class RunManifest:
    """One run, stored as runs/<run>.json. Change its fields and `save` after each change.

    Args:
        command: the exact command (`command_line`); given again it computes only what is missing.
        whole: the command of the whole run, where this is a part of one (`--shard`).
        config: the request in plain values, without fields that have their defaults; None in records made before 0.2.
        objects: parts of the request that were objects of a Python session, such as `model Net`; a command cannot name
            these.
        protocols, boards, cells: names and keys of what was requested.
        images: {"list": hash of `Store.save_list`, "count": its length}.
        classes: names of the data set's classes by index, so that boards can show them without the data.
        status: running, complete, partial (its own part of the images is complete, other parts are not), interrupted or
            failed.
        started, finished: ISO times, UTC; seconds: wall time of computing.
        device, precision, batch_size, chunk_size, workers: as used, after `auto` was decided.
        arithmetic: how float32 was computed, `ieee` or `tf32`; None in records made before this was under control.
        accuracy: {"correct": int, "images": int} of the model over the evaluated images.
        forward_equivalents: passes per image, all methods together.
        costs: what the maps of each method cost per image (`records.MethodCosts`), where this run made any.
        training: the record of the model's training by xaibench, or None.
        fitted: settings that protocols chose on held-out images, such as a threshold, by cell.
        masks: how the masks of --masks were made, or None.
        stop: what --until-stable asked for and found (`evaluation.until_stable`), or None; `images` are then those that
            it took.
        warnings: lines shown to the user; skipped: {method: reason}.
    """

    command: str
    config: dict[str, Any] | None = None
    objects: list[str] = field(default_factory=list)
    whole: str | None = None
    protocols: list[str] = field(default_factory=list)
    boards: list[str] = field(default_factory=list)
    cells: list[str] = field(default_factory=list)
    images: dict[str, Any] = field(default_factory=lambda: {"list": None, "count": 0})
    classes: list[str] = field(default_factory=list)
    run: str = field(default_factory=new_run_id)
    status: str = "running"
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    finished: str | None = None
    seconds: float | None = None
    versions: dict[str, str] = field(default_factory=package_versions)
    git_commit: str | None = field(default_factory=own_commit)
    device: str | None = None
    precision: str | None = None
    arithmetic: str | None = None
    batch_size: int | None = None
    chunk_size: int | None = None
    workers: int | None = None
    accuracy: dict[str, int] | None = None
    forward_equivalents: float | None = None
    costs: dict[str, dict[str, float]] = field(default_factory=dict)
    training: dict[str, Any] | None = None
    fitted: dict[str, dict[str, float]] = field(default_factory=dict)
    masks: dict[str, Any] | None = None
    stop: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def is_tf32_as_float32(self) -> bool:
        """Whether the rows of this run say float32 and were convolved in TF32: those of a GPU before `arithmetic` was
        recorded (for one without TF32, older than Ampere, this cannot be told)."""
        on_gpu = (self.device or "").startswith("cuda")
        return on_gpu and self.precision == "float32" and self.arithmetic is None

    @property
    def lock(self) -> str:
        """The name of the lock that is held while the run runs."""
        return f"run-{self.run}"

    def finish(self, status: str) -> None:
        """Set the status, the finishing time and the seconds since the start; ValueError for an unknown status."""
        if status not in STATES:
            raise ValueError(f"status is none of {', '.join(STATES)}: {status!r}")
        now = datetime.now(UTC)
        self.status, self.finished = status, now.isoformat()
        self.seconds = round((now - datetime.fromisoformat(self.started)).total_seconds(), 3)

    def save(self, store: Store) -> Path:
        """Write runs/<run>.json atomically, NaN as null; XaibenchError as for `Store.append`."""
        path = store.root / "runs" / f"{self.run}.json"
        write_json(path, dataclasses.asdict(self))
        return path

    @classmethod
    def load(cls, path: Path) -> RunManifest:
        """The manifest in a file; unknown fields, as those of a newer xaibench, are left out.

        A request that cannot be one (no table, or a very large one) is left out, too. Raises XaibenchError naming the
        file and what is wrong if it is not a manifest.
        """
        content = read_record(path, RunRecord, "the record of a run")
        names = {item.name for item in dataclasses.fields(cls)}
        config = content.get("config")
        if not isinstance(config, dict) or len(json.dumps(config)) > LARGEST_CONFIG:
            content["config"] = None
        if not is_record(content.get("accuracy"), Accuracy):
            content["accuracy"] = None
        return cls(**{name: value for name, value in content.items() if name in names})


def load_runs(store: Store) -> list[RunManifest]:
    """All runs of a store, oldest first; the status of those whose process is gone is KILLED."""
    runs = [RunManifest.load(path) for path in (store.root / "runs").glob("*.json")]
    for run in runs:
        if run.status == "running" and not is_held(store.root / "locks", run.lock):
            run.status = KILLED
    return sorted(runs, key=lambda run: (run.started, run.run))


def finish_command(manifest: RunManifest, root: Path | None = None) -> str:
    """The command that finishes a run: its own, since a run computes only what is missing; of a part that is done, that
    of the whole run, as what is missing then belongs to other parts. See `safe_command`."""
    whole = manifest.whole if manifest.whole and manifest.status == "partial" else manifest.command
    return safe_command(whole, root)


def safe_command(recorded: str, root: Path | None = None) -> str:
    """A recorded command as one that can be given to a shell, whoever recorded it: quoted anew, into the folder `root`
    where that is given, which may have been moved since. A comment where it is no command of xaibench.

    >>> safe_command("xaibench run sds --out results; echo x", Path("moved"))
    'xaibench run sds echo x --out moved'
    """
    try:
        words = shlex.split(recorded)
    except ValueError:
        words = []
    if words[:1] != ["xaibench"]:
        return "# no command of xaibench is recorded"
    return shlex.join(words if root is None else _into(words, root))


LENGTH = ("--images", "--until-stable", "--confidence", "--margin", "--shard")  # options that say which images


def longer_command(recorded: str, images: int, root: Path | None = None) -> str:
    """The command of a run over fewer images as one over `images` of them. See `safe_command`.

    >>> longer_command("xaibench run sds --images 8 --until-stable top-1 --methods ig", 48)
    'xaibench run sds --methods ig --images 48'
    """
    command = safe_command(recorded, root)
    if command.startswith("#"):
        return command
    return shlex.join([*_without(shlex.split(command), LENGTH), "--images", str(images)])


def _into(words: list[str], root: Path) -> list[str]:
    """The words of a command with the folder `root` as `--out`."""
    places = [number for number, word in enumerate(words) if word == "--out" or word.startswith("--out=")]
    given = "results"
    for number in places:
        given = words[number].partition("=")[2] if "=" in words[number] else (words[number + 1 :] or [""])[0]
    if Path(given).resolve() == root.resolve():
        return words
    return [*_without(words, ("--out",)), "--out", str(root)]


def _without(words: list[str], options: tuple[str, ...]) -> list[str]:
    """The words of a command without these options and their values."""
    kept, skip = [], False
    for word in words:
        if skip or word.startswith(tuple(f"{option}=" for option in options)):
            skip = False
        elif word in options:
            skip = True
        else:
            kept.append(word)
    return kept
