"""`xaibench validate`: everything that is wrong with a results folder, or a board folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xaibench.cli.output import echo

if TYPE_CHECKING:
    from xaibench.submission.check import Checked
    from xaibench.submission.draw import Draw

EPILOG = """
\b
Examples:
  xaibench validate results
  # a board folder that `xaibench publish` wrote: also whether every file is as it was published
  xaibench validate board
  # a submission (`xaibench submit`), as a board receives it: nothing of it is run
  xaibench validate my-method.zip
  # also: its images are those of the board and of the photos, and it changes no result that the board has
  xaibench validate my-method.zip --board board --data-root imagenet
  # draw 20 results and compute them again; --trust lets the code of the submission run here
  xaibench validate my-method.zip --replay 20 --trust --data-root imagenet --record replays/my-method.json
  # drawn by a number that everybody can look up, here the hash of the commit that merged the submission
  xaibench validate my-method.zip --replay 60 --trust --fresh 0f3c6d1b2a4e5f60718293a4b5c6d7e8f9012345
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
    fresh: Annotated[
        str | None,
        typer.Option("--fresh", metavar="HEX", help="Draw by this public number, published after the submission."),
    ] = None,
    record: Annotated[
        Path | None, typer.Option("--record", metavar="FILE", help="A new file for the record of the replay.")
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
    from xaibench.files import make_folder
    from xaibench.submission.archive import is_submission, no_submission, unpacked

    of_replays = {"--trust": trust, "--fresh": fresh, "--record": record, "--weights": weights}
    of_submissions = {"--board": board, "--replay": replay, "--data-root": data_root} | of_replays
    if not is_submission(path):
        if given := [name for name, value in of_submissions.items() if value]:
            raise no_submission(path, f"{given[0]} is")
        _folder(path)
        return
    if replay is None and (given := [name for name, value in of_replays.items() if value]):
        raise XaibenchError(f"{given[0]} is of a replay; say how many results are drawn by --replay")
    if record is not None and record.exists():
        raise XaibenchError(f"--record {record} is there already; every record is kept, so name another file")
    if record is not None:
        make_folder(record.parent)  # not found out after hours
    draw = _draw(replay, fresh) if replay is not None else None
    with unpacked(path) as root:
        checked = _check(root, board, data_root)
        if draw is not None:
            from xaibench.submission.process import Limits, Where
            from xaibench.submission.replay import replay as replayed

            echo(f"computing again, in a process that has at most {time_limit:g} s", err=True)
            found = replayed(
                root, checked.submission, draw, trust=trust, hidden=(path,),
                where=Where(data_root, weights, device), limits=Limits(time_limit, int(memory_limit * 2**30)),
            )  # fmt: skip
            _report(found, record)


def _folder(path: Path) -> None:
    """Checks a results folder or a board folder."""
    from xaibench.printing import clean
    from xaibench.publication.index import is_board_folder
    from xaibench.publication.sums import SUMS, unchanged
    from xaibench.report.text import count
    from xaibench.results.validate import inspect
    from xaibench.submission.record import replay_problems

    found, problems, published = inspect(path), [], ""
    if is_board_folder(path):
        compared = unchanged(path)
        problems = compared.problems or replay_problems(path)
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


def _check(root: Path, board: Path | None, data_root: Path | None) -> Checked:
    """Checks an unpacked submission, prints what was found, and ends with 1 where there is a problem."""
    from xaibench.printing import clean
    from xaibench.report.text import count
    from xaibench.submission.check import check
    from xaibench.submission.manifest import submission_hash

    found = check(root, board, data_root)
    for problem in found.problems:
        echo(clean(problem))
    if found.problems:
        raise typer.Exit(1)
    echo(f"submission {submission_hash(root)}: {', '.join(found.submission.methods)}")
    for note in found.notes:
        echo(f"not known: {clean(note)}")
    echo(f"{count(found.rows, 'row')} in {count(found.cells, 'cell')}: no problems")
    return found


def _draw(replay: str, fresh: str | None) -> Draw:
    """The draw that --replay and --fresh ask for."""
    from xaibench.errors import XaibenchError
    from xaibench.submission.draw import Draw

    if replay != "all" and (not replay.isascii() or not replay.isdigit() or not 1 <= int(replay[:9]) <= 10**8):
        raise XaibenchError(f"--replay is a number of results, or all, not {replay!r}")
    number = None if replay == "all" else int(replay)
    return Draw(number) if fresh is None else Draw.of_public(number, fresh)


def _report(found: dict[str, Any], record: Path | None) -> None:
    """Prints how drawn results compare, writes the record, and ends with 1 where any differ."""
    from xaibench.files import write_json

    for row in found["rows"]:
        if not row["equal"]:
            alike = " (its status, label or prediction is another)" if row["submitted"] == row["replayed"] else ""
            echo(f"{row['cell']} {row['image_id']}: submitted {row['submitted']}, replayed {row['replayed']}{alike}")
    if record is not None:
        write_json(record, found)
    unequal = sum(not row["equal"] for row in found["rows"])
    source = "drawn here" if found["fresh_source"] == "drawn" else "given by --fresh"
    echo(f"replayed {found['replayed']} of {found['results']} results, by the number {found['fresh']} ({source}): "
         f"{len(found['rows']) - unequal} of {len(found['rows'])} rows are equal (within {found['tolerance']:g} of the "
         "largest score)")  # fmt: skip
    chances = ", ".join(f"{float(share):.0%}: {chance:.1%}" for share, chance in found["found"].items())
    echo(f"how likely this draw finds a forgery of a share of the results: {chances}")
    for key, one in found["cells"].items():
        echo(f"{one['method']} ({key}): {one['replayed']} of {one['results']} replayed, {_state(one, found['equal'])}")
    if unequal:
        raise typer.Exit(1)


def _state(result: dict[str, Any], equal: bool) -> str:
    """Whether a result is verified, and why not."""
    if result["verified"]:
        return "verified by replay"
    if not equal:
        return "not verified: rows of the submission differ"
    if not result["public_weights"]:
        return "not verified: its weights are not published by the model's card, or not here"
    return f"not verified: {result['minimum']} are needed"
