"""Writes what the golden tests compare with: `python tests/golden/record.py [keys] [trainings] [rows] [names]
[results]`.

Keys only move by a decision written in docs/results.md: whoever runs this because a golden test fails says there which
keys moved and why, since stored results and trained weights under the old ones are then computed and trained anew.

Without words it writes keys.json, trainings.json and rows.csv. `names` writes the public names (docs/stability.md),
`shapes` the shapes of the tensors of networks, `results` the folder results_0_1, which stands for what version 0.1
wrote and is left as it is by later ones.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]


def write_json(name: str, value: object) -> None:
    """Writes a file of this folder, one line for each innermost dictionary."""
    parts = []
    for key, item in value.items():
        inner = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in item.items()] if isinstance(item, dict) else None
        parts.append(f" {json.dumps(key)}: " + ("{\n" + ",\n".join(inner) + "\n }" if inner else json.dumps(item)))
    (HERE / name).write_text("{\n" + ",\n".join(parts) + "\n}\n")


@contextmanager
def home() -> Iterator[Path]:
    """A home as the tests have it, current, with an empty working folder."""
    import cases

    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "home"
        cases.make_home(path)
        (Path(folder) / "work").mkdir()
        os.environ["XAIBENCH_HOME"] = str(path)
        os.chdir(Path(folder) / "work")
        try:
            yield path
        finally:
            os.chdir(before)


def shapes() -> None:
    """Writes shapes.json."""
    import internals
    import weights

    with internals.own_registry():
        internals.add_cards(HERE / "material" / "cards")
        write_json("shapes.json", {model: internals.network_shapes(model) for model in weights.SHAPES})


def keys(path: Path) -> None:
    """Writes keys.json."""
    import cases
    import internals

    found = {}
    for number, case in enumerate(cases.KEYS):
        with internals.own_registry():
            found[case] = {name: cases.pinned(c) for name, c in cases.cells_of(case, path, Path(f"k{number}")).items()}
    write_json("keys.json", found)


def trainings(path: Path) -> None:
    """Writes trainings.json."""
    import cases
    import internals

    found = {}
    for case in cases.TRAININGS:
        with internals.own_registry():
            found[case] = cases.training_by_command(case, path)
    start = cases.start_of(path)
    write_json("trainings.json", found | {case: folder(start) for case, folder in cases.WITHOUT_A_VERB.items()})


def rows(path: Path) -> None:
    """Writes rows.csv."""
    import cases
    import internals

    with (HERE / "rows.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, [*cases.IDENTITY, "score"], lineterminator="\n")
        table.writeheader()
        for number, case in enumerate(cases.ROWS):
            with internals.own_registry():
                table.writerows(cases.rows_of(case, path, Path(f"r{number}")))


def names() -> None:
    """Writes public_names.txt."""
    import names as public

    public.FILE.write_text("\n".join(public.lines()) + "\n")


def results() -> None:
    """Writes results_0_1: the weights of its network, and what its two commands store, without locks and figures."""
    import cases
    import internals
    import old
    import weights

    folder = old.FOLDER
    weights.write_weights(folder / "network.safetensors", "golden_tiny", weights.facts_of("old_tiny", "critters"))
    shutil.rmtree(folder / "results", ignore_errors=True)
    with internals.own_registry():
        for words in old.COMMANDS:
            cases.cli(*old.filled(words, folder))
    for name in ("locks", "figures"):
        shutil.rmtree(folder / "results" / name, ignore_errors=True)
    for path in (folder / "results" / "runs").glob("*.json"):
        path.write_text(path.read_text().replace(str(folder), old.PLACE))
    boards = {}
    with internals.own_registry():
        for protocol in old.PROTOCOLS:
            boards[protocol] = old.means(
                cases.cli("leaderboard", protocol, "--out", folder / "results", "--format", "json")
            )
    (folder / "boards.json").write_text(json.dumps(boards, indent=1, sort_keys=True) + "\n")


def main(wanted: list[str]) -> None:
    """Writes what is named."""
    unknown = set(wanted) - {"shapes", "keys", "trainings", "rows", "names", "results"}
    if unknown:
        raise SystemExit(f"nothing is called {', '.join(sorted(unknown))}; see the text of this file")
    import torch

    torch.set_num_threads(1)
    if "shapes" in wanted:
        shapes()
    if "names" in wanted:
        names()
    with home() as path:
        if "results" in wanted:
            results()
        for name, write in (("keys", keys), ("trainings", trainings), ("rows", rows)):
            if not wanted or name in wanted:
                write(path)


if __name__ == "__main__":
    main(sys.argv[1:])
