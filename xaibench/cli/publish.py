"""`xaibench publish`: a folder of boards, rows and records that others can read, check and extend."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xaibench.cli.output import echo
from xaibench.errors import XaibenchError

EPILOG = """
\b
Examples:
  # everything in results/: boards, rows, image lists and records of runs, without your paths and names
  xaibench publish results --to board --title "Critters, 11 networks" --license cc-by-4.0
  xaibench publish results --to board --dry-run                      # what it would be, and how large
  xaibench publish results --to board --protocol idsds --model 'resnet*'
  # read it: it is a results folder
  xaibench validate board && xaibench leaderboard idsds --out board
  # later results make a new version; the old one stays in board/versions
  xaibench publish more-results --to board
  # a submission of others (`xaibench submit`), with the record of its replay, beside what is there
  xaibench validate my-method.zip --board board --replay 60 --trust --record replay.json
  xaibench publish my-method.zip --to board --replay replay.json
  # to the Hub, as a data set with a viewer; the token is that of the environment
  HF_TOKEN=... xaibench publish results --to board --hub my-name/my-boards --private
  HF_TOKEN=... xaibench publish board --hub my-name/my-boards          # as it is
  # what turned out to be wrong is listed as withdrawn
  xaibench publish board --withdraw resnet18 --reason "trained on the test images"
  xaibench publish board --withdraw depth --reason "the arms had other seeds"    # a comparison, by name or title
"""


def command(
    results: Annotated[
        Path, typer.Argument(help="The results folder or a submission; with --withdraw the board folder.")
    ],
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="The board folder; made if missing.")] = None,
    protocol: Annotated[str | None, typer.Option("--protocol", help="Only boards of it (wildcards allowed).")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Only boards of this model (wildcards allowed).")] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Only boards of this data set (wildcards allowed).")
    ] = None,
    board: Annotated[str | None, typer.Option("--board", metavar="KEY", help="The board whose key begins so.")] = None,
    replay: Annotated[
        Path | None,
        typer.Option("--replay", metavar="FILE", help="Of a submission: the record that `validate --record` wrote."),
    ] = None,
    replaced: Annotated[
        list[str] | None,
        typer.Option("--replace", metavar="METHOD", help="Of a submission: it is a newer version of the board's."),
    ] = None,
    comparison: Annotated[
        list[Path] | None,
        typer.Option("--comparison", metavar="FILE", help="What `xaibench compare NAME --format json` printed."),
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="The title of the card.")] = None,
    license_: Annotated[
        str | None,
        typer.Option("--license", help="What others may do with it, as the Hub names it, such as cc-by-4.0."),
    ] = None,
    gallery: Annotated[
        int, typer.Option("--gallery", metavar="N", min=0, max=1000, help="Images per data set with their kept maps.")
    ] = 8,
    gallery_model: Annotated[
        str | None,
        typer.Option("--gallery-model", metavar="NAME", help="Maps of this model alone (wildcards allowed)."),
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option("--data-root", metavar="DIR", help="Where the photos are, if they were moved.")
    ] = None,
    allow_name: Annotated[
        list[str] | None,
        typer.Option("--allow-name", metavar="NAME", help="A name of you or this machine that may be published."),
    ] = None,
    withdraw: Annotated[
        list[str] | None,
        typer.Option(
            "--withdraw", metavar="NAME", help="A model, method, comparison or board's key to list as withdrawn."
        ),
    ] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why it is withdrawn.")] = None,
    hub: Annotated[
        str | None, typer.Option("--hub", metavar="NAME/REPO", help="Also push it to this data set of the Hub.")
    ] = None,
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="What a new repository of the Hub is.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be published, and write nothing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Write a board folder: boards (CSV, Markdown, JSON, figures), rows, image lists and records of runs.

    Nothing incomplete, mixed or damaged is published, and no path, name or address of yours. What is in the folder
    already stays, as a version; the same results give the same bytes.
    """
    from xaibench.publication import api
    from xaibench.publication.collect import Selection
    from xaibench.submission.archive import is_submission, no_submission

    _check(to, withdraw, reason, hub, private)
    if (replay or replaced) and not (to is not None and is_submission(results)):
        raise no_submission(results, "--replay and --replace are")
    request = api.Request(
        Selection(protocol, model, dataset, board), title, license_, gallery, gallery_model, data_root,
        tuple(allow_name or ()), tuple(comparison or ()), dry_run, quiet,
    )  # fmt: skip
    report = lambda step: None if quiet else echo(step, err=True)  # noqa: E731
    target = to or results
    found = None
    if withdraw:
        found = api.withdraw(target, withdraw, reason or "", request)
    elif to is not None and is_submission(results):
        from xaibench.submission.publish import publish_submission

        found = publish_submission(results, target, request, report, replay=replay, replaced=replaced or ())
    elif to is not None:
        _check_records(results)
        found = api.publish(results, target, request, report)
    if found:
        for note in found.notes:
            echo(note, err=True)
        _summary(found, target, dry_run)
    if hub and not dry_run:
        from xaibench.publication.hub import push

        report(f"pushing {target} to {hub}")
        echo(f"pushed: {push(target, hub, private)}")


def _check_records(results: Path) -> None:
    """Raises XaibenchError where records of replays in a board folder are not those of its rows."""
    from xaibench.publication.index import is_board_folder
    from xaibench.submission.record import replay_problems

    for problem in replay_problems(results) if is_board_folder(results) else ():
        raise XaibenchError(f"not published: {results / problem.path}: {problem.text}; fetch that board folder anew")


def _check(
    to: Path | None, withdraw: list[str] | None, reason: str | None, hub: str | None, private: bool | None
) -> None:
    """Raises XaibenchError for options that do not go together."""
    if bool(withdraw) != bool(reason):
        raise XaibenchError("--withdraw NAME needs --reason TEXT, and the other way round")
    if withdraw and to is not None:
        raise XaibenchError("--withdraw takes the board folder as its argument, without --to")
    if to is None and not withdraw and hub is None:
        raise XaibenchError("name the folder to publish to by --to DIR")
    if private is not None and hub is None:
        raise XaibenchError("--private and --public are about --hub NAME/REPO")


def _summary(found, target: Path, dry_run: bool) -> None:
    """What was published, and the next commands."""
    from xaibench.report.text import count

    index = found.index
    results = sum(len(one.cells) for one in index.boards)
    version = f"version {index.version}"
    if not found.changed:
        echo(f"{target} has this already: {version}")
    else:
        echo(
            f"{'would be ' if dry_run else ''}{version} in {target}: {count(len(index.boards), 'board')}, "
            f"{count(results, 'result')}, {count(found.files, 'file')}, {found.bytes / 1e6:.1f} MB"
        )
    if index.license == "unknown":
        echo("no licence is said; --license cc-by-4.0 lets others use it and name you")
    if not dry_run and index.boards:
        echo(f"next: xaibench leaderboard {index.boards[0].protocol} --out {target}")
        echo(f"      xaibench site build {target}")
