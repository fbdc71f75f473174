"""The command line: one file per verb, each a thin layer over the Python functions of the same name."""

from __future__ import annotations

import sys

from xaibench.errors import XaibenchError

INTERRUPTED = 130  # what typer makes of Ctrl-C


def main() -> None:
    """Entry point of the command `xaibench`: a user's mistake is one line on standard error and exit status 2."""
    from xaibench.cli.app import app

    try:
        app()
    except XaibenchError as error:
        print(f"xaibench: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except SystemExit as end:
        if end.code == INTERRUPTED:
            print("xaibench: interrupted; what is done is stored, the same command goes on from there", file=sys.stderr)
        raise
