"""A process of its own that computes scores again: `python -m xaibench.submission.worker REQUEST RESULT`.

It is no sandbox: its limits stop accidents and simple cheating, not an attacker. It sees cells, records and code, never
the rows that its scores are compared with.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from xaibench.errors import XaibenchError
from xaibench.evaluation.recompute import recomputed_rows
from xaibench.evaluation.replay import Places
from xaibench.files import read_json, write_json
from xaibench.printing import clean
from xaibench.results.manifest import load_runs
from xaibench.results.store import Store
from xaibench.submission.computed import COLUMNS

REFUSED = frozenset({
    "socket.connect", "socket.bind", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork",
    "os.forkpty", "os.spawn",
})  # fmt: skip
"""Events of Python's audit that end foreign code: the network, and other programs."""
CHANGES = frozenset({
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
})  # fmt: skip
"""Events that change files, by the names among their arguments."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def compute(request: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that a request of `replay.py` asks for."""
    store = Store.open(request["folder"])
    cells, runs = store.cells(), load_runs(store)
    if request["foreign"]:
        _guard([Path(path) for path in request["hidden"]], Path(request["folder"]).parent)
    rows = []
    for board in dict.fromkeys(cells[key].board for key in request["wanted"]):
        wanted = {key: ids for key, ids in request["wanted"].items() if cells[key].board == board}
        run = next((run for run in reversed(runs) if set(wanted) & set(run.cells)), None)
        places = Places(*(Path(request[name]) if request[name] else None for name in ("data_root", "weights")),
                        plugins=[Path(path) for path in request["plugins"]],
                        cards=[Path(path) for path in request["cards"]])  # fmt: skip
        found = recomputed_rows([cells[key] for key in wanted], run, wanted, request["digests"], places,
                                device=request["device"])  # fmt: skip
        rows += [{name: row[name] for name in COLUMNS} for row in found]
    return rows


def _guard(hidden: list[Path], own: Path) -> None:
    """Ends the process where Python code reads the submission's rows, changes files outside of its own folder, connects
    anywhere, or starts a program.

    Code in other languages does not pass here.
    """
    roots, places = [os.path.realpath(path) for path in hidden], [os.path.realpath(own), "/dev"]

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if event in REFUSED:
            _end(f"its code asks for {event}")
        if event in CHANGES or event in ("open", "os.listdir", "os.scandir"):
            for name in arguments[: 2 if event in ("os.rename", "os.link", "os.symlink") else 1]:
                if isinstance(name, str | bytes | os.PathLike):
                    path = os.path.realpath(os.fsdecode(name))
                    if _below(path, roots):
                        _end("its code reads the rows of its own submission")
                    if (event in CHANGES or (event == "open" and arguments[2] & WRITING)) and not _below(path, places):
                        _end("its code changes files outside of its own folder")

    sys.addaudithook(look)


def _below(path: str, roots: list[str]) -> bool:
    return any(path == root or path.startswith(root + os.sep) for root in roots)


def _end(reason: str) -> None:
    os.write(2, f"{reason}\n".encode())
    os._exit(3)


def main() -> None:
    """Reads a request and writes its rows; a failure is one line on standard error."""
    try:
        write_json(Path(sys.argv[2]), compute(read_json(Path(sys.argv[1]))))
    except XaibenchError as error:
        print(clean(error), file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
