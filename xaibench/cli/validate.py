"""`xaibench validate`: everything that is wrong with a results folder, or a board folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from xaibench.cli.output import echo

EPILOG = """
\b
Examples:
  xaibench validate results
  # a board folder that `xaibench publish` wrote: also whether every file is as it was published
  xaibench validate board
  # a submission (`xaibench submit`), as a board receives it: nothing of it is run
  xaibench validate my-method.zip
  # draw 20 results and compute them again; --trust lets the code of the submission run here
  xaibench validate my-method.zip --replay 20 --trust --data-root imagenet --record replay.json
  xaibench validate my-method.zip --board board          # also: it changes no result that the board has
  xaibench validate downloads/their-results && xaibench leaderboard idsds --out downloads/their-results
"""


def command(
    path: Annotated[
        Path, typer.Argument(help="The folder, or a submission; nothing in it is changed.", metavar="PATH")
    ],
    board: Annotated[
        Path | None, typer.Option("--board", metavar="DIR", help="Of a submission: the board that it is for.")
    ] = None,
    replay: Annotated[
        str | None,
        typer.Option("--replay", metavar="N|all", help="Of a submission: draw N results, and compute them again."),
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Let the code of the submission run here.")] = False,
    record: Annotated[
        Path | None, typer.Option("--record", metavar="FILE", help="Where the record of the replay goes.")
    ] = None,
    data_root: Annotated[Path | None, typer.Option("--data-root", metavar="DIR", help="The photos.")] = None,
    weights: Annotated[Path | None, typer.Option("--weights", metavar="FILE", help="The model's weights.")] = None,
    device: Annotated[str, typer.Option("--device", help="Where scores are computed again.")] = "cpu",
    time_limit: Annotated[
        float, typer.Option("--time-limit", metavar="SECONDS", min=1, help="Of the process that replays.")
    ] = 3600,
    memory_limit: Annotated[
        float, typer.Option("--memory-limit", metavar="GIB", min=1, help="Of the process that replays.")
    ] = 16,
) -> None:
    """Check a results folder, a board folder or a submission; print one problem a line and exit with 1 if any.

    Files of a board folder that were changed, removed or added since it was published are problems too.
    """
    from xaibench.errors import XaibenchError
    from xaibench.submission.archive import is_submission

    if is_submission(path):
        from xaibench.submission.replay import Limits, Where

        count = _count(replay)
        with _checked(path, board) as (root, submission):
            if replay is not None:
                limits = Limits(time_limit, int(memory_limit * 2**30))
                _replay(path, root, submission, count, trust, Where(data_root, weights, device), limits, record)
    elif board is not None or replay is not None:
        raise XaibenchError(f"--board and --replay are about submissions, and {path} is none")
    else:
        _folder(path)


def _folder(path: Path) -> None:
    """Checks a results folder or a board folder."""
    from xaibench.printing import clean
    from xaibench.publication.index import is_board_folder
    from xaibench.publication.sums import SUMS, unchanged
    from xaibench.report.text import count
    from xaibench.results.validate import inspect

    found, problems, published = inspect(path), [], ""
    if is_board_folder(path):
        compared = unchanged(path)
        problems = compared.problems
        if compared.files is None:
            echo(f"board.json: an earlier version without {SUMS}: files that were changed are not noticed; publishing "
                 "to it again lists them")  # fmt: skip
        else:
            published = f", {count(compared.files, 'file')} as published"
    for problem in (*found.problems, *problems):
        echo(clean(problem))
    if found.problems or problems:
        raise typer.Exit(1)
    echo(f"{count(found.rows, 'row')} in {count(found.cells, 'cell')}{published}: no problems")


@contextmanager
def _checked(path: Path, board: Path | None) -> Iterator[tuple[Path, Any]]:
    """A submission, unpacked and without problems: its folder, and what it says of itself."""
    from xaibench.printing import clean
    from xaibench.report.text import count
    from xaibench.submission.archive import unpacked
    from xaibench.submission.check import check
    from xaibench.submission.manifest import submission_hash

    with unpacked(path) as root:
        found = check(root, board)
        for problem in found.problems:
            echo(clean(problem))
        if found.problems:
            raise typer.Exit(1)
        echo(f"submission {submission_hash(root)}: {', '.join(found.submission.methods)}")
        echo(f"{count(found.rows, 'row')} in {count(found.cells, 'cell')}: no problems")
        yield root, found.submission


def _count(replay: str | None) -> int | None:
    """How many results --replay asks for; None for all."""
    from xaibench.errors import XaibenchError

    if replay in (None, "all"):
        return None
    if not replay.isascii() or not replay.isdigit() or not 1 <= int(replay[:9]) <= 10**8:
        raise XaibenchError(f"--replay is a number of results, or all, not {replay!r}")
    return int(replay)


def _replay(
    path: Path, root: Path, submission: Any, count: int | None, trust: bool, where: Any, limits: Any,
    record: Path | None,
) -> None:  # fmt: skip
    """Computes drawn results again, prints how they compare, and writes the record."""
    from xaibench.files import write_json
    from xaibench.submission.replay import replay

    found = replay(root, submission, count, trust=trust, where=where, limits=limits, hidden=(path,))
    for row in found["rows"]:
        if not row["equal"]:
            echo(f"{row['cell']} {row['image_id']}: submitted {row['submitted']}, replayed {row['replayed']}")
    if record is not None:
        write_json(record, found)
    unequal = sum(not row["equal"] for row in found["rows"])
    echo(f"replayed {found['replayed']} of {found['results']} results, drawn by {found['fresh']}: "
         f"{len(found['rows']) - unequal} of {len(found['rows'])} rows are equal (within {found['tolerance']:g} of the "
         "largest score)")  # fmt: skip
    chances = ", ".join(f"{float(share):.0%}: {chance:.1%}" for share, chance in found["found"].items())
    echo(f"how likely this draw finds a forgery of a share of the results: {chances}")
    for key, one in found["cells"].items():
        state = "verified by replay" if one["verified"] else "not verified"
        why = "" if one["verified"] or not found["equal"] else (
            ": none of it was drawn" if one["public_weights"] else ": its weights are not published by the model's card"
        )  # fmt: skip
        echo(f"{one['method']} ({key}): {one['replayed']} replayed, {state}{why}")
    if unequal:
        raise typer.Exit(1)
