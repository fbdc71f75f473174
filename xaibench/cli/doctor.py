"""`xaibench doctor`: whether xaibench can work here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xaibench.cli.output import echo

EPILOG = """
\b
Examples:
  xaibench doctor
  # for a bug report, or a script: exit status 1 where there is a problem
  xaibench doctor --json > doctor.json
  xaibench doctor --out /scratch/results
"""
MARKS = {"ok": "ok", "missing": "--", "problem": "!!"}


def command(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The results folder that is looked at.")] = Path(
        "results"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check versions, device, memory, folders, extras, data sets and weights; exit with 1 where there is a problem.

    What is only missing (an extra, a GPU, downloads) is no problem: it is marked -- with the command that gets it.
    """
    from xaibench.maintenance.doctor import examine, is_sound, python_of
    from xaibench.printing import clean
    from xaibench.report.text import count, json_text

    found = examine(out)
    if as_json:
        echo(json_text({"sound": is_sound(found), "python": python_of(), "findings": [vars(item) for item in found]}))
    else:
        width = max(len(item.name) for item in found)
        for group in dict.fromkeys(item.group for item in found):
            echo(group)
            for item in found:
                if item.group == group:
                    advice = f"  -> {item.advice}" if item.advice else ""
                    echo(clean(f"  {MARKS[item.state]} {item.name:<{width}}  {item.text}{advice}"))
        problems = sum(item.state == "problem" for item in found)
        echo(f"{count(problems, 'problem')}" if problems else "no problems")
    if not is_sound(found):
        raise typer.Exit(1)
