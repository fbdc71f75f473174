"""`xaibench status`: which results are stored, which are missing, and the command that computes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xaibench.cli.output import echo

if TYPE_CHECKING:
    from xaibench.analysis.boards import Board
    from xaibench.analysis.progress import Progress
    from xaibench.results.store import Store

EPILOG = """
\b
Examples:
  xaibench status
  xaibench status --out results/resnet50
"""


def command(
    out: Annotated[Path, typer.Option("--out", help="The results folder.", metavar="DIR")] = Path("results"),
) -> None:
    """Show boards and runs of a results folder, and the commands that compute missing results."""
    from xaibench.analysis.boards import boards, short_key
    from xaibench.analysis.progress import finish_commands, progress
    from xaibench.results.store import Store

    store = Store.open(out)
    every = boards(store)
    runs = progress(store)
    for board in every:
        echo("\n".join(_board_lines(store, board, short_key(board, every))) + "\n")
    if runs:
        echo("runs")
        echo("\n".join(_run_line(item) for item in runs) + "\n")
    commands = finish_commands(runs, out)
    if not commands:
        echo("nothing is missing" if runs else f"no runs in {out} yet")
        return
    echo("to finish:")
    for line in commands:
        echo(f"  {line}")


def _board_lines(store: Store, board: Board, key: str) -> list[str]:
    from xaibench.printing import clean
    from xaibench.registry import shipped_version
    from xaibench.report.text import count
    from xaibench.results.manifest import safe_command

    images = set(board.image_list(store) or [])
    done = store.done(cell.key for cell in board.cells)
    stored = {cell: len(done[cell.key] & images) for cell in board.cells}
    whole = sum(number == len(images) for number in stored.values())
    lines = [
        clean(f"{board.title} (--board {key})"),
        f"  {whole} of {count(len(stored), 'method')} complete on the list of {count(len(images), 'image')}",
    ]
    for cell, number in sorted(stored.items(), key=lambda item: item[0].method_name):
        if number < len(images):
            lines.append(f"  missing: {clean(cell.method_name)} has {number} of {len(images)} images")
    if board.is_tf32_as_float32 and board.run:
        lines.append(f"  to make it again in float32, on a GPU: {safe_command(board.run.command, store.root)}")
    elif board.successor is None and (old := board.outdated(shipped_version)) and board.run:
        again = safe_command(board.run.command, store.root)
        lines.append(f"  made with {clean('; '.join(old))}; to make it again: {again}")
    if board.run:
        lines += [f"  skipped: {clean(name)}: {clean(reason)}" for name, reason in board.run.skipped.items()]
    return lines


def _run_line(item: Progress) -> str:
    from xaibench.printing import clean

    share = f" ({item.done / item.planned:.0%})" if item.planned else ""
    done = f"{item.done} of {item.planned} evaluations{share}"
    return f"  {item.run.run}  {clean(item.state)}  {done}  {clean(item.run.command)}"
